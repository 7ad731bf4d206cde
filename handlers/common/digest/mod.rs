//! Computes digests of bytes while they are transferred, without a second read, and only those that
//! were requested.

mod hex;
mod identity;
mod lanes;
mod queue;

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

// MD5 determines the speed of an upload. The crate `md-5` takes 1.5 times as long.
use fast_md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub use hex::{HexError, from_hex, to_hex};
pub use identity::FileIdentity;
pub use lanes::{CHUNK, Chunk, Feed};
pub use queue::{
    BYTES_PER_SLICE, DigestKey, DigestProgress, DigestQueue, DigestSource, DigestTask,
    SLICES_PER_TURN, SlicePermit,
};

/// Digests of some bytes, either announced by a sender or computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// MD5 (RFC 1321). It detects damage, but does not protect against malice.
    pub md5: Option<[u8; 16]>,
    /// SHA-1 (FIPS 180-4), for protocols that ask for it. Like MD5, it does not protect against
    /// malice.
    pub sha1: Option<[u8; 20]>,
    /// SHA-256 (FIPS 180-4).
    pub sha256: Option<[u8; 32]>,
    /// BLAKE3.
    pub blake3: Option<[u8; 32]>,
}

impl Digests {
    /// Whether no digest is set.
    pub fn is_empty(&self) -> bool {
        *self == Digests::default()
    }

    /// The digests of both. If both have a digest of one kind, the one of `self` is used.
    pub fn union(&self, other: &Digests) -> Digests {
        Digests {
            md5: self.md5.or(other.md5),
            sha1: self.sha1.or(other.sha1),
            sha256: self.sha256.or(other.sha256),
            blake3: self.blake3.or(other.blake3),
        }
    }

    /// Returns the name of a digest that both have with different values.
    pub fn difference(&self, other: &Digests) -> Option<&'static str> {
        fn differ<const N: usize>(one: Option<[u8; N]>, other: Option<[u8; N]>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        if differ(self.md5, other.md5) {
            return Some("MD5");
        }
        if differ(self.sha1, other.sha1) {
            return Some("SHA-1");
        }
        if differ(self.sha256, other.sha256) {
            return Some("SHA-256");
        }
        differ(self.blake3, other.blake3).then_some("BLAKE3")
    }
}

/// A digest that is being computed.
enum Running {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Running::Md5(_) => "MD5",
            Running::Sha1(_) => "SHA-1",
            Running::Sha256(_) => "SHA-256",
            Running::Blake3(_) => "BLAKE3",
        })
    }
}

impl Running {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Running::Md5(hasher) => hasher.update(bytes),
            Running::Sha1(hasher) => hasher.update(bytes),
            Running::Sha256(hasher) => hasher.update(bytes),
            Running::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }
}

/// Computes digests while bytes are transferred.
#[derive(Debug, Default)]
pub struct Hasher {
    running: Vec<Running>,
}

impl Hasher {
    /// Creates a hasher for the kinds of digests in `wanted`. The values in `wanted` do not matter.
    pub fn of(wanted: &Digests) -> Hasher {
        let md5 = wanted.md5.map(|_| Running::Md5(Md5::new()));
        let sha1 = wanted.sha1.map(|_| Running::Sha1(Sha1::new()));
        let sha256 = wanted.sha256.map(|_| Running::Sha256(Sha256::new()));
        let blake3 = wanted.blake3.map(|_| Running::Blake3(Box::default()));
        Hasher {
            running: [md5, sha1, sha256, blake3].into_iter().flatten().collect(),
        }
    }

    /// Whether no digest is computed.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Adds bytes to the digests.
    pub fn update(&mut self, bytes: &[u8]) {
        for running in &mut self.running {
            running.update(bytes);
        }
    }

    /// Digests a file from `offset` to its end. Returns the offset of the end.
    ///
    /// # Errors
    /// Those of the file.
    pub fn update_from(&mut self, file: &File, offset: u64) -> io::Result<u64> {
        let length = file.metadata()?.len();
        if self.is_idle() {
            return Ok(length);
        }
        let mut offset = offset;
        self.beside(length.saturating_sub(offset) > CHUNK as u64, |feed| {
            loop {
                let mut chunk = feed.chunk();
                let count = file.read_at(chunk.space(), offset)?;
                if count == 0 {
                    return Ok(offset);
                }
                chunk.fill(count);
                offset += count as u64;
                feed.pass(chunk, |_| {});
            }
        })
    }

    /// Digests a part of a file, on the calling thread.
    ///
    /// # Errors
    /// Those of the file; `UnexpectedEof` if it became shorter.
    pub fn update_range(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        let mut offset = range.start;
        while offset < range.end && !self.is_idle() {
            let mut chunk = Chunk::take();
            let most = usize::try_from(range.end - offset)
                .unwrap_or(CHUNK)
                .min(CHUNK);
            let count = file.read_at(&mut chunk.space()[..most], offset)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            chunk.fill(count);
            self.update(&chunk);
            offset += count as u64;
        }
        Ok(())
    }

    /// Returns the digests of all bytes that were added.
    pub fn finish(self) -> Digests {
        let mut digests = Digests::default();
        for running in self.running {
            match running {
                Running::Md5(hasher) => digests.md5 = Some(hasher.finalize()),
                Running::Sha1(hasher) => digests.sha1 = Some(hasher.finalize().into()),
                Running::Sha256(hasher) => digests.sha256 = Some(hasher.finalize().into()),
                Running::Blake3(hasher) => digests.blake3 = Some(hasher.finalize().into()),
            }
        }
        digests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Digests = Digests {
        md5: Some([0; 16]),
        sha1: Some([0; 20]),
        sha256: Some([0; 32]),
        blake3: Some([0; 32]),
    };

    fn computed(wanted: &Digests, pieces: &[&[u8]]) -> Digests {
        let mut hasher = Hasher::of(wanted);
        pieces.iter().for_each(|piece| hasher.update(piece));
        hasher.finish()
    }

    #[test]
    fn the_digests_are_the_known_ones_however_the_bytes_are_cut() {
        let digests = computed(&ALL, &[b"abc"]);
        assert_eq!(
            to_hex(&digests.md5.unwrap()),
            "900150983cd24fb0d6963f7d28e17f72"
        );
        assert_eq!(
            to_hex(&digests.sha1.unwrap()),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(to_hex(&digests.sha256.unwrap()), sha256);
        let blake3 = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
        assert_eq!(to_hex(&digests.blake3.unwrap()), blake3);
        assert_eq!(digests, computed(&ALL, &[b"a", b"", b"bc"]));
    }

    #[test]
    fn only_what_is_asked_for_is_computed() {
        let wanted = Digests {
            md5: Some([0; 16]),
            ..Digests::default()
        };
        let digests = computed(&wanted, &[b"abc"]);
        assert!(digests.md5.is_some() && digests.sha256.is_none() && digests.blake3.is_none());
        assert!(Hasher::of(&Digests::default()).is_idle());
        assert!(computed(&Digests::default(), &[b"abc"]).is_empty());
    }

    #[test]
    fn a_difference_is_named() {
        let right = computed(&ALL, &[b"abc"]);
        assert_eq!(right.difference(&Digests::default()), None);
        assert_eq!(right.difference(&right.clone()), None);
        assert_eq!(
            right.difference(&Digests {
                sha256: Some([1; 32]),
                ..right.clone()
            }),
            Some("SHA-256")
        );
        assert_eq!(
            right.difference(&Digests {
                md5: Some([1; 16]),
                ..Digests::default()
            }),
            Some("MD5")
        );
        assert_eq!(
            right.difference(&Digests {
                blake3: Some([1; 32]),
                ..right.clone()
            }),
            Some("BLAKE3")
        );
    }
}
