//! The digests that a client can ask for, by the names that protocols give them.

/// A way to compute a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// BLAKE3.
    Blake3,
    /// SHA-1 (FIPS 180-4): tells damage, but proves nothing against malice.
    Sha1,
    /// MD5 (RFC 1321): as SHA-1.
    Md5,
}

impl Algorithm {
    /// All of them, those first that are to be preferred.
    pub const ALL: [Algorithm; 4] = [
        Algorithm::Sha256,
        Algorithm::Blake3,
        Algorithm::Sha1,
        Algorithm::Md5,
    ];

    /// The name in `?hash=NAME`: that of the program that checks it, without its `sum`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Blake3 => "blake3",
            Algorithm::Sha1 => "sha1",
            Algorithm::Md5 => "md5",
        }
    }

    /// The key in the fields of RFC 9530; `None` for one that isn't in their registry.
    pub fn key(self) -> Option<&'static str> {
        match self {
            Algorithm::Sha256 => Some("sha-256"),
            Algorithm::Blake3 => None,
            Algorithm::Sha1 => Some("sha"),
            Algorithm::Md5 => Some("md5"),
        }
    }

    /// Bytes of a digest.
    pub fn size(self) -> usize {
        match self {
            Algorithm::Sha256 | Algorithm::Blake3 => 32,
            Algorithm::Sha1 => 20,
            Algorithm::Md5 => 16,
        }
    }
}
