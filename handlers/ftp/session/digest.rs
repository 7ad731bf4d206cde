//! HASH (draft-bryan-ftpext-hash), XMD5, XSHA1 and XSHA256: digests of files.
//!
//! A digest is computed in several turns, so that other connections are served between them. The
//! computation stops if the client closes the connection.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver::{Result, StreamRequest};

use super::{Answer, Session};
use crate::common::digest::{Digests, Hasher, to_hex};
use crate::ftp::command::number;
use crate::ftp::path::VirtualPath;
use crate::ftp::reply::{Refused, Reply};
use crate::ftp::storage::View;
use crate::ftp::verbs::{Entry, Verb};

/// Maximum time of computation per turn, before other connections are served.
const COMPUTE_TIME_PER_TURN: Duration = Duration::from_millis(20);
/// Number of bytes that are read from the file at a time.
const READ_SIZE: usize = 256 * 1024;

/// A digest that HASH computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Algorithm {
    #[default]
    Sha256,
    Sha1,
    Md5,
    Blake3,
}

/// All digests, with their names in HASH and FEAT.
const ALGORITHMS: [(Algorithm, &str); 4] = [
    (Algorithm::Sha256, "SHA-256"),
    (Algorithm::Sha1, "SHA-1"),
    (Algorithm::Md5, "MD5"),
    (Algorithm::Blake3, "BLAKE3"),
];

impl Algorithm {
    fn name(self) -> &'static str {
        ALGORITHMS
            .iter()
            .find(|(own, _)| *own == self)
            .map_or("", |(_, name)| *name)
    }

    /// The names of all digests for FEAT. A `*` marks the selected digest.
    pub(super) fn feature(self) -> String {
        let shown = ALGORITHMS.map(|(own, name)| {
            let mark = if own == self { "*" } else { "" };
            format!("{name}{mark}")
        });
        shown.join(";")
    }

    fn hasher(self) -> Hasher {
        let mut wanted = Digests::default();
        match self {
            Algorithm::Sha256 => wanted.sha256 = Some([0; 32]),
            Algorithm::Sha1 => wanted.sha1 = Some([0; 20]),
            Algorithm::Md5 => wanted.md5 = Some([0; 16]),
            Algorithm::Blake3 => wanted.blake3 = Some([0; 32]),
        }
        Hasher::of(&wanted)
    }

    fn hex(self, digests: &Digests) -> String {
        let hex = match self {
            Algorithm::Sha256 => digests.sha256.map(|digest| to_hex(&digest)),
            Algorithm::Sha1 => digests.sha1.map(|digest| to_hex(&digest)),
            Algorithm::Md5 => digests.md5.map(|digest| to_hex(&digest)),
            Algorithm::Blake3 => digests.blake3.map(|digest| to_hex(&digest)),
        };
        hex.unwrap_or_default()
    }
}

/// A digest that is being computed.
pub(super) struct Computation {
    algorithm: Algorithm,
    hasher: Hasher,
    file: File,
    /// The path of the file, for the reply to HASH.
    path: VirtualPath,
    /// The offset of the first byte.
    start: u64,
    /// The offset of the next byte.
    at: u64,
    /// The offset after the last byte.
    end: u64,
    /// Whether the command is HASH. The reply to HASH also contains the range and the name.
    is_hash: bool,
}

impl Session {
    pub(super) fn set_algorithm(&mut self, option: &[u8]) -> Answer {
        let wanted = option.trim_ascii();
        if !wanted.is_empty() {
            let known = ALGORITHMS
                .iter()
                .find(|(_, name)| wanted.eq_ignore_ascii_case(name.as_bytes()));
            let Some((algorithm, _)) = known else {
                return Err(Refused::new(
                    501,
                    "Unknown digest: use one that FEAT lists.",
                ));
            };
            self.parameters.algorithm = *algorithm;
        }
        Ok(Some(Reply::new(200, self.parameters.algorithm.name())))
    }

    pub(super) fn hash(&mut self, entry: &Entry, argument: &[u8]) -> Answer {
        let is_hash = entry.verb == Verb::Hash;
        let restart = std::mem::take(&mut self.parameters.restart);
        let algorithm = match entry.verb {
            Verb::Xmd5 => Algorithm::Md5,
            Verb::Xsha1 => Algorithm::Sha1,
            Verb::Xsha256 => Algorithm::Sha256,
            _ => self.parameters.algorithm,
        };
        let (view, path, range) = if is_hash {
            let (view, path) = self.target(entry, argument)?;
            (view, path, Vec::new())
        } else {
            self.target_with_range(entry, argument)?
        };
        let (file, length) = view.open_file(&path)?;
        let start = range.first().copied().unwrap_or(restart);
        let end = range.get(1).copied().unwrap_or(length).min(length);
        if start > end {
            let text = format!("Byte {start} is beyond the end of the range at {end}.");
            return Err(Refused::new(501, text));
        }
        self.computation = Some(Box::new(Computation {
            algorithm,
            hasher: algorithm.hasher(),
            file,
            path,
            start,
            at: start,
            end,
            is_hash,
        }));
        Ok(None)
    }

    /// Parses the argument of XMD5, XSHA1 or XSHA256: a path with or without quotes, and optionally
    /// a range.
    fn target_with_range(
        &self,
        entry: &Entry,
        argument: &[u8],
    ) -> std::result::Result<(Arc<View>, VirtualPath, Vec<u64>), Refused> {
        // If a file with the whole argument as its name exists, the numbers are part of the name.
        let (view, path) = self.target(entry, argument)?;
        if view.metadata(&path).is_ok() {
            return Ok((view, path, Vec::new()));
        }
        let (name, range) = split_range(argument);
        let (view, path) = self.target(entry, name)?;
        Ok((view, path, range))
    }

    /// Continues the computation for one turn, and replies when the digest is complete.
    pub(super) fn compute(&mut self, request: &mut StreamRequest) -> Result<()> {
        if request.rfile.is_eof() && self.queue.is_empty() {
            // The client has closed the connection.
            self.computation = None;
        }
        let Some(computation) = &mut self.computation else {
            return Ok(());
        };
        let until = Instant::now() + COMPUTE_TIME_PER_TURN;
        let mut buffer = vec![0; READ_SIZE];
        while computation.at < computation.end {
            if Instant::now() >= until {
                return Ok(());
            }
            let left = usize::try_from(computation.end - computation.at).unwrap_or(usize::MAX);
            let wanted = buffer.len().min(left);
            match computation
                .file
                .read_at(&mut buffer[..wanted], computation.at)
            {
                Ok(0) => computation.end = computation.at,
                Ok(count) => {
                    computation.hasher.update(&buffer[..count]);
                    computation.at += count as u64;
                }
                Err(error) => {
                    self.computation = None;
                    return Session::reply(request, &Refused::from(error));
                }
            }
        }
        let Some(done) = self.computation.take() else {
            return Ok(());
        };
        let hex = done.algorithm.hex(&done.hasher.finish());
        let reply = if done.is_hash {
            let last = done.end.saturating_sub(1).max(done.start);
            let text = format!("{} {}-{last} {hex} ", done.algorithm.name(), done.start);
            Reply::new(213, [text.as_bytes(), done.path.as_bytes()])
        } else {
            Reply::new(250, hex)
        };
        Session::reply(request, &reply)
    }
}

/// Splits an argument into a path, with or without quotes, and up to two numbers after the path.
fn split_range(argument: &[u8]) -> (&[u8], Vec<u64>) {
    if let Some(rest) = argument.strip_prefix(b"\"")
        && let Some(end) = rest.iter().rposition(|byte| *byte == b'"')
    {
        let numbers = rest[end + 1..].split(|byte| *byte == b' ');
        let numbers = numbers.filter(|word| !word.is_empty()).filter_map(number);
        return (&rest[..end], numbers.take(2).collect());
    }
    let mut name = argument;
    let mut range = Vec::new();
    while range.len() < 2
        && let Some(space) = name.iter().rposition(|byte| *byte == b' ')
        && let Some(last) = number(&name[space + 1..])
    {
        range.insert(0, last);
        name = &name[..space];
    }
    (name, range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_may_follow_the_path() {
        for (argument, name, range) in [
            ("a", "a", &[][..]),
            ("a 1", "a", &[1]),
            ("a 1 20", "a", &[1, 20]),
            ("a b 1 20", "a b", &[1, 20]),
            ("\"a b\" 1 20", "a b", &[1, 20]),
            ("\"a 1\"", "a 1", &[]),
            ("a x", "a x", &[]),
            ("1 2 3", "1", &[2, 3]),
        ] {
            let found = split_range(argument.as_bytes());
            assert_eq!(found, (name.as_bytes(), range.to_vec()), "{argument}");
        }
    }

    #[test]
    fn feat_marks_the_chosen_algorithm() {
        assert_eq!(Algorithm::Sha1.feature(), "SHA-256;SHA-1*;MD5;BLAKE3");
    }
}
