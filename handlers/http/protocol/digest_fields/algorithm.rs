//! The digest algorithms that a client can request, with their names in protocols.

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// BLAKE3.
    Blake3,
    /// SHA-1 (FIPS 180-4). It detects accidental damage, but not deliberate changes.
    Sha1,
    /// MD5 (RFC 1321). It has the same limitation as SHA-1.
    Md5,
}

impl Algorithm {
    /// All algorithms, preferred ones first.
    pub const ALL: [Algorithm; 4] = [
        Algorithm::Sha256,
        Algorithm::Blake3,
        Algorithm::Sha1,
        Algorithm::Md5,
    ];

    /// The name in `?hash=NAME`: the name of the program that verifies the digest, without its
    /// suffix `sum` (`sha256` for `sha256sum`).
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Blake3 => "blake3",
            Algorithm::Sha1 => "sha1",
            Algorithm::Md5 => "md5",
        }
    }

    /// The key in the headers of RFC 9530. `None` if the algorithm is not in the registry of these
    /// headers.
    pub fn key(self) -> Option<&'static str> {
        match self {
            Algorithm::Sha256 => Some("sha-256"),
            Algorithm::Blake3 => None,
            Algorithm::Sha1 => Some("sha"),
            Algorithm::Md5 => Some("md5"),
        }
    }

    /// Length of a digest, in bytes.
    pub fn size(self) -> usize {
        match self {
            Algorithm::Sha256 | Algorithm::Blake3 => 32,
            Algorithm::Sha1 => 20,
            Algorithm::Md5 => 16,
        }
    }
}
