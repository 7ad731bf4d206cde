//! The features of a server beyond RFC 959, from its reply to FEAT (RFC 2389 §3).

use super::reply::Reply;
use crate::common::digest::{Digests, from_hex};

/// How the server computes the digest of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DigestCommand {
    /// HASH (draft-bryan-ftpext-hash). The client must select the algorithm by OPTS HASH, unless
    /// the server has already selected it (`is_chosen`).
    Hash {
        algorithm: Algorithm,
        is_chosen: bool,
    },
    /// XSHA256, XSHA1 or XMD5. These commands are older, and have no standard.
    Extended(Algorithm),
}

/// A digest that the client can compute and servers offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Sha1,
    Md5,
}

impl Algorithm {
    /// All algorithms, in the order of preference.
    const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha1, Algorithm::Md5];

    /// The name of the algorithm in HASH and in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha1 => "SHA-1",
            Algorithm::Md5 => "MD5",
        }
    }

    /// The request for a hasher to compute this digest.
    pub(super) fn wanted(self) -> Digests {
        let none = Digests::default();
        match self {
            Algorithm::Sha256 => Digests {
                sha256: Some([0; 32]),
                ..none
            },
            Algorithm::Sha1 => Digests {
                sha1: Some([0; 20]),
                ..none
            },
            Algorithm::Md5 => Digests {
                md5: Some([0; 16]),
                ..none
            },
        }
    }

    /// Parses a word as a digest of this algorithm.
    fn digest(self, word: &str) -> Option<Digests> {
        let mut digests = Digests::default();
        match self {
            Algorithm::Sha256 => digests.sha256 = Some(from_hex(word).ok()?),
            Algorithm::Sha1 => digests.sha1 = Some(from_hex(word).ok()?),
            Algorithm::Md5 => digests.md5 = Some(from_hex(word).ok()?),
        }
        Some(digests)
    }
}

impl DigestCommand {
    /// The algorithm of the digest that the command returns.
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            DigestCommand::Hash { algorithm, .. } | DigestCommand::Extended(algorithm) => algorithm,
        }
    }

    /// The verb of the command.
    pub(super) fn verb(self) -> &'static str {
        match self {
            DigestCommand::Hash { .. } => "HASH",
            DigestCommand::Extended(Algorithm::Md5) => "XMD5",
            DigestCommand::Extended(Algorithm::Sha1) => "XSHA1",
            DigestCommand::Extended(Algorithm::Sha256) => "XSHA256",
        }
    }
}

/// The features that the server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Features {
    /// MLSD and MLST (RFC 3659 §7).
    pub(super) mlst: bool,
    /// SIZE (RFC 3659 §4).
    pub(super) size: bool,
    /// MDTM (RFC 3659 §3).
    pub(super) mdtm: bool,
    /// MFMT (draft-somers-ftp-mfxx): sets the time of a file.
    pub(super) mfmt: bool,
    /// REST with STOR and RETR (RFC 3659 §5).
    pub(super) rest: bool,
    /// UTF8: names of files are UTF-8 (RFC 2640).
    pub(super) utf8: bool,
    /// The command for the digest of a file; `None` if the server has none.
    pub(super) digest: Option<DigestCommand>,
}

impl Features {
    /// The features to assume for a server without FEAT: it may know the commands that are older
    /// than FEAT.
    pub(super) fn unknown() -> Features {
        Features {
            mlst: false,
            size: true,
            mdtm: true,
            mfmt: false,
            rest: true,
            utf8: false,
            digest: None,
        }
    }

    /// Parses the reply to FEAT. Each line between the first and the last is a feature.
    pub(super) fn read(reply: &Reply) -> Features {
        let mut features = Features {
            size: false,
            mdtm: false,
            rest: false,
            ..Features::unknown()
        };
        let (mut hash, mut extended) = (None, Vec::new());
        for line in reply.lines.iter().skip(1) {
            let line = String::from_utf8_lossy(line);
            let (name, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            match name.to_ascii_uppercase().as_str() {
                "MLST" | "MLSD" => features.mlst = true,
                "SIZE" => features.size = true,
                "MDTM" => features.mdtm = true,
                "MFMT" => features.mfmt = true,
                "REST" => features.rest = value.trim().eq_ignore_ascii_case("STREAM"),
                "UTF8" => features.utf8 = true,
                "HASH" => hash = best_hash(value),
                "XSHA256" => extended.push(Algorithm::Sha256),
                "XSHA1" | "XSHA" => extended.push(Algorithm::Sha1),
                "XMD5" => extended.push(Algorithm::Md5),
                _ => {}
            }
        }
        let is_offered = |algorithm: &Algorithm| extended.contains(algorithm);
        let best = Algorithm::ALL.into_iter().find(is_offered);
        features.digest = hash.or(best.map(DigestCommand::Extended));
        features
    }
}

/// Finds the preferred algorithm in a list such as `SHA-1;SHA-256*;MD5`. A `*` marks the algorithm
/// that the server has selected.
fn best_hash(list: &str) -> Option<DigestCommand> {
    let offered: Vec<&str> = list.split(';').map(str::trim).collect();
    Algorithm::ALL.into_iter().find_map(|algorithm| {
        let is_it = |name: &&&str| {
            name.trim_end_matches('*')
                .eq_ignore_ascii_case(algorithm.name())
        };
        let name = offered.iter().find(is_it)?;
        Some(DigestCommand::Hash {
            algorithm,
            is_chosen: name.ends_with('*'),
        })
    })
}

/// Finds the digest in the reply to a command of [`DigestCommand`]: the first word with the right
/// number of hexadecimal digits. The name of the file may look like a digest too, but it comes
/// after the digest.
pub(super) fn digest_in(reply: &Reply, algorithm: Algorithm) -> Option<Digests> {
    let lines = reply.lines.iter().map(|line| String::from_utf8_lossy(line));
    lines.into_iter().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.find_map(|word| algorithm.digest(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::digest::to_hex;

    fn features(lines: &[&str]) -> Features {
        let lines = [&["Features:"], lines, &["End"]].concat();
        let lines = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        Features::read(&Reply { code: 211, lines })
    }

    #[test]
    fn the_features_are_read() {
        let all = features(&[
            " UTF8",
            " SIZE",
            " MDTM",
            " MFMT",
            " REST STREAM",
            " MLST type*;size*;modify*;",
            " HASH SHA-1;SHA-256*;MD5",
            " XMD5",
        ]);
        assert!(all.mlst && all.size && all.mdtm && all.mfmt && all.rest && all.utf8);
        let chosen = DigestCommand::Hash {
            algorithm: Algorithm::Sha256,
            is_chosen: true,
        };
        assert_eq!(all.digest, Some(chosen));
        let none = features(&["EPSV", " REST"]);
        assert!(!none.mlst && !none.size && !none.rest && none.digest.is_none());
    }

    #[test]
    fn the_best_digest_is_taken() {
        let of = |lines: &[&str]| {
            features(lines)
                .digest
                .map(|d| (d.verb(), d.algorithm().name()))
        };
        assert_eq!(of(&[" hash md5*;sha-1"]), Some(("HASH", "SHA-1")));
        assert_eq!(of(&[" XMD5", " XSHA256 x"]), Some(("XSHA256", "SHA-256")));
        assert_eq!(of(&[" XMD5 filename"]), Some(("XMD5", "MD5")));
        assert_eq!(of(&[" HASH CRC32*", " XSHA1"]), Some(("XSHA1", "SHA-1")));
    }

    #[test]
    fn digests_are_found_in_replies() {
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        for text in [
            md5,
            &format!("MD5 0-3 {md5} a b"),
            &format!("{md5} {}", "0".repeat(32)),
        ] {
            let reply = Reply {
                code: 213,
                lines: vec![text.as_bytes().to_vec()],
            };
            let digest = digest_in(&reply, Algorithm::Md5).and_then(|digests| digests.md5);
            assert_eq!(digest.map(|digest| to_hex(&digest)).as_deref(), Some(md5));
            assert_eq!(digest_in(&reply, Algorithm::Sha256), None);
        }
        // The lines of the reply of proftpd.
        let lines = [
            b"Computing".to_vec(),
            format!("MD5 0-3 {md5} a").into_bytes(),
        ]
        .into();
        assert!(digest_in(&Reply { code: 213, lines }, Algorithm::Md5).is_some());
    }
}
