//! Digests of files, for those who ask: as a line for `sha256sum -c` (`?hash=sha256`), or as a
//! field of the answer that carries the file (RFC 9530).
//!
//! What isn't known yet is computed in slices, between which others get their turn; what was
//! computed is remembered.

mod computing;
mod fields;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::common::digest::{DigestQueue, Digests, to_hex};
use crate::files::site::entry::Entry;
use computing::{Computing, Progress};
pub(crate) use fields::{Described, DigestPreference, describe};
use socketserver_http::engine::produce::{Produce, Produced};
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::digest_fields::Algorithm;

const MEDIA_TYPE: &str = "text/plain; charset=utf-8";
/// How long a digest is computed for a client that has ended its side. Such a client may wait for
/// the answer (`nc -N`). But most have hung up, and only sending something would show that.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(5);
/// Stands between a digest and a name.
const BETWEEN: &[u8] = b"  ";

/// The digest that `?hash=` names.
///
/// # Errors
/// Names those that there are.
pub(crate) fn named(name: &str) -> Result<Algorithm, &'static str> {
    let found = Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.name() == name);
    found.ok_or("Unknown digest: use sha256, blake3, sha1 or md5.")
}

/// Adds an algorithm to those that are wanted.
fn want(algorithm: Algorithm, among: &mut Digests) {
    match algorithm {
        Algorithm::Sha256 => among.sha256 = Some([0; 32]),
        Algorithm::Blake3 => among.blake3 = Some([0; 32]),
        Algorithm::Sha1 => among.sha1 = Some([0; 20]),
        Algorithm::Md5 => among.md5 = Some([0; 16]),
    }
}

/// The digest by this algorithm.
fn value_of(algorithm: Algorithm, digests: &Digests) -> Option<&[u8]> {
    match algorithm {
        Algorithm::Sha256 => digests.sha256.as_ref().map(<[u8; 32]>::as_slice),
        Algorithm::Blake3 => digests.blake3.as_ref().map(<[u8; 32]>::as_slice),
        Algorithm::Sha1 => digests.sha1.as_ref().map(<[u8; 20]>::as_slice),
        Algorithm::Md5 => digests.md5.as_ref().map(<[u8; 16]>::as_slice),
    }
}

/// A file's digest and name, as the programs that check digests write and read them.
///
/// # Errors
/// The file can't be read.
pub(crate) fn line(
    entry: &Entry,
    algorithm: Algorithm,
    queue: &DigestQueue,
) -> io::Result<Response> {
    let mut wanted = Digests::default();
    want(algorithm, &mut wanted);
    let name = entry.path.file_name().unwrap_or_default().as_bytes();
    Ok(match Computing::begin(entry, &wanted, queue)? {
        Progress::Done(digests) => {
            let mut line = Vec::new();
            write(&mut line, algorithm, &digests, name);
            Response::new(200).content(MEDIA_TYPE, line)
        }
        Progress::Working(computing) => Response::new(200).stream(
            MEDIA_TYPE,
            Line {
                computing,
                algorithm,
                name: name.to_vec(),
                half_closed: None,
            },
        ),
    })
}

/// A line whose digest is being computed.
struct Line {
    computing: Computing,
    algorithm: Algorithm,
    name: Vec<u8>,
    /// When it was noticed that the client has ended its side.
    half_closed: Option<Instant>,
}

impl Produce for Line {
    fn hurry(&mut self) {
        self.half_closed.get_or_insert_with(Instant::now);
    }

    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced> {
        let digests = match self.computing.advance()? {
            Ok(digests) => digests,
            Err(_)
                if self
                    .half_closed
                    .is_some_and(|since| since.elapsed() > HALF_CLOSED_TIMEOUT) =>
            {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Err(later) => return Ok(later),
        };
        write(piece, self.algorithm, &digests, &self.name);
        Ok(Produced::Over)
    }

    fn length(&self) -> Option<u64> {
        let length = 2 * self.algorithm.size() + BETWEEN.len() + self.name.len() + 1;
        Some(length as u64)
    }
}

/// The name stands there without its folders: what lies where the line is checked. Names that would
/// need escapes, for a backslash or a line end, can't be asked for (see `target`).
fn write(to: &mut Vec<u8>, algorithm: Algorithm, digests: &Digests, name: &[u8]) {
    to.extend_from_slice(to_hex(value_of(algorithm, digests).unwrap_or_default()).as_bytes());
    to.extend_from_slice(BETWEEN);
    to.extend_from_slice(name);
    to.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_unknown_brings_those_that_are_known() {
        for algorithm in Algorithm::ALL {
            assert_eq!(named(algorithm.name()), Ok(algorithm));
            let sentence = named("").unwrap_err();
            assert!(sentence.contains(algorithm.name()), "{sentence}");
        }
        assert!(named("SHA256").is_err() && named("crc32").is_err());
    }
}
