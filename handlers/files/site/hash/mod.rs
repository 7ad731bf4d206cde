//! Digests of files for clients that request them: as a line for `sha256sum -c` (`?hash=sha256`),
//! or as a header of the response with the file (RFC 9530).
//!
//! Digests are computed step by step, so that other connections get their turns in between.
//! Computed digests are cached.

mod computing;
mod fields;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use socketserver_http::engine::produce::{Produce, Produced};
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::digest_fields::Algorithm;

use crate::common::digest::{DigestQueue, Digests, to_hex};
use crate::files::site::entry::Entry;
use computing::{Computing, Progress};
pub(crate) use fields::{Described, DigestPreference, describe};

const MEDIA_TYPE: &str = "text/plain; charset=utf-8";
/// How long a digest is computed for a client that has closed its side. Such a client may still
/// wait for the response (`nc -N`). Most of these clients are gone, but only a send would show
/// that.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(5);
/// Separates a digest and a name.
const BETWEEN: &[u8] = b"  ";

/// The algorithm that `?hash=` names.
///
/// # Errors
/// The name is unknown. The error lists the known names.
pub(crate) fn named(name: &str) -> Result<Algorithm, &'static str> {
    let found = Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.name() == name);
    found.ok_or("Unknown digest: use sha256, blake3, sha1 or md5.")
}

/// Adds an algorithm to the requested ones.
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

/// The response with a file's digest and name, in the format of the programs that verify digests.
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
    /// When the server noticed that the client has closed its side.
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

/// Writes the line. The name is without folders, so that the line can be checked in the folder of
/// the file. Names that would need escapes (with a backslash or a line end) can't be requested; see
/// `target`.
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
