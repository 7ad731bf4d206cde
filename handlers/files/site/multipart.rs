//! `multipart/byteranges` (RFC 9110 §14.6): several ranges of one file in one response.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::vec;

use socketserver_http::engine::file_content::FileContent;
use socketserver_http::engine::produce::{Produce, Produced};

use crate::files::site::entry::Entry;

/// Maximum size of a piece that is read per turn, in bytes.
const PIECE_SIZE: u64 = 64 * 1024;

/// Produces the body parts for the ranges of a file.
pub(crate) struct Parts {
    file: FileContent,
    boundary: String,
    total: u64,
    /// The rest of the part that is being sent.
    current: Range<u64>,
    following: vec::IntoIter<(String, Range<u64>)>,
}

impl Parts {
    /// `ranges` must be within the file.
    pub(crate) fn new(entry: &Entry, ranges: Vec<Range<u64>>) -> Parts {
        let boundary = boundary();
        let head = |range: &Range<u64>| {
            format!(
                "\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Range: bytes {}-{}/{}\r\n\r\n",
                entry.media_type,
                range.start,
                range.end - 1,
                entry.length
            )
        };
        let parts: Vec<_> = ranges
            .into_iter()
            .map(|range| (head(&range), range))
            .collect();
        let sizes = parts
            .iter()
            .map(|(head, range)| head.len() as u64 + range.end - range.start);
        let total = sizes.sum::<u64>() + end(&boundary).len() as u64;
        Parts {
            file: entry.body.clone(),
            boundary,
            total,
            current: 0..0,
            following: parts.into_iter(),
        }
    }

    /// The parameter `boundary` of the media type.
    pub(crate) fn boundary(&self) -> &str {
        &self.boundary
    }

    /// Appends the next bytes of the current part, at most one piece.
    fn read(&mut self, piece: &mut Vec<u8>) -> io::Result<()> {
        let end = self.current.end.min(self.current.start + PIECE_SIZE);
        self.file.read(self.current.start..end, piece)?;
        self.current.start = end;
        Ok(())
    }
}

impl Produce for Parts {
    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced> {
        let full = piece.len() + PIECE_SIZE as usize;
        while piece.len() < full {
            if !self.current.is_empty() {
                self.read(piece)?;
            } else if let Some((head, range)) = self.following.next() {
                piece.extend_from_slice(head.as_bytes());
                self.current = range;
            } else {
                piece.extend_from_slice(end(&self.boundary).as_bytes());
                return Ok(Produced::Over);
            }
        }
        Ok(Produced::More)
    }

    fn length(&self) -> Option<u64> {
        Some(self.total)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

fn end(boundary: &str) -> String {
    format!("\r\n--{boundary}--\r\n")
}

/// Makes a random boundary. If the boundary could be guessed, a file that contains it could forge a
/// part.
fn boundary() -> String {
    let random = || RandomState::new().hash_one(0);
    format!("{:016x}{:016x}", random(), random())
}
