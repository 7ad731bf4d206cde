//! A request's body, taken off the connection piece by piece as it comes.

use std::io::{self, BufRead, ErrorKind};

use socketserver::RFile;

use crate::protocol::chunked::{ChunkedPart, Decoder};
use crate::protocol::head::{Framing, HeadError};

/// An unread body up to this size is read and dropped, so that the connection can go on.
pub const DROPPED_BODY: u64 = 64 * 1024;

/// The client ended its side within a body.
pub const CUT_SHORT: HeadError = HeadError::bad("the body ended before its end");

/// What of a body is still to come.
#[derive(Debug)]
pub struct Body {
    rest: Rest,
    taken: u64,
    /// A read has failed: where the next request begins is not known.
    is_broken: bool,
}

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunks(Decoder),
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of it; what follows is the next request.
    Whole,
    /// More must come.
    Partial,
    /// The client ended its side within the body.
    CutShort,
}

impl Body {
    /// The body that a head announces; `None` if there is nothing to come.
    pub fn announced(framing: Framing) -> Option<Body> {
        let rest = match framing {
            Framing::None | Framing::Length(0) => return None,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunks(Decoder::default()),
        };
        Some(Body {
            rest,
            taken: 0,
            is_broken: false,
        })
    }

    /// Bytes of content that were taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether all of it was taken.
    pub fn is_whole(&self) -> bool {
        match &self.rest {
            Rest::Length(left) => *left == 0,
            Rest::Chunks(decoder) => decoder.is_done(),
        }
    }

    /// A read has failed, so the rest can't be dropped.
    pub fn set_broken(&mut self) {
        self.is_broken = true;
    }

    /// Whether the rest is short enough to be dropped. The length of chunks is not known before.
    pub fn may_be_dropped(&self) -> bool {
        !self.is_broken
            && self.taken <= DROPPED_BODY
            && !matches!(self.rest, Rest::Length(left) if left > DROPPED_BODY)
    }

    /// Takes what has come into `into`, without waiting: 0 at the end of the body, `None` if
    /// nothing is there for now. Large pieces of a body of known length go past the connection's
    /// buffer, without a copy.
    ///
    /// # Errors
    /// Those of the connection. A [`HeadError`] within the error if the client is at fault: the
    /// chunks are malformed, or it ended its side within the body.
    pub fn try_read(&mut self, rfile: &mut RFile, into: &mut [u8]) -> io::Result<Option<usize>> {
        let cut_short = || io::Error::new(ErrorKind::UnexpectedEof, CUT_SHORT);
        if let Rest::Length(left) = &mut self.rest {
            let most = usize::try_from(*left).unwrap_or(usize::MAX).min(into.len());
            if most == 0 {
                return Ok(Some(0));
            }
            let count = rfile.try_read(&mut into[..most])?;
            let taken = count.unwrap_or_default() as u64;
            *left -= taken;
            self.taken += taken;
            return if count == Some(0) {
                Err(cut_short())
            } else {
                Ok(count)
            };
        }
        let mut filled = 0;
        let progress = self.take_up_to(rfile, into.len(), |piece| {
            into[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        });
        match progress.map_err(|malformed| io::Error::new(ErrorKind::InvalidData, malformed))? {
            _ if filled > 0 => Ok(Some(filled)),
            Progress::Whole => Ok(Some(0)),
            Progress::Partial => Ok(None),
            Progress::CutShort => Err(cut_short()),
        }
    }

    /// Takes what has come, and shows it to `use_piece`. Never waits.
    ///
    /// # Errors
    /// The chunks are malformed.
    pub fn take(
        &mut self,
        rfile: &mut RFile,
        use_piece: impl FnMut(&[u8]),
    ) -> Result<Progress, HeadError> {
        self.take_up_to(rfile, usize::MAX, use_piece)
    }

    /// The same, with at most `limit` bytes of content.
    ///
    /// # Errors
    /// As for [`take`](Body::take).
    pub fn take_up_to(
        &mut self,
        rfile: &mut RFile,
        mut limit: usize,
        mut use_piece: impl FnMut(&[u8]),
    ) -> Result<Progress, HeadError> {
        loop {
            let input = rfile.buffer();
            let input = &input[..input.len().min(limit)];
            let (data, count) = match &mut self.rest {
                Rest::Length(0) => return Ok(Progress::Whole),
                Rest::Length(left) => {
                    let count = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    *left -= count as u64;
                    (true, count)
                }
                Rest::Chunks(decoder) => match decoder.next(input)? {
                    ChunkedPart::Data(count) => (true, count),
                    ChunkedPart::Framing(count) => (false, count),
                    ChunkedPart::Partial => (false, 0),
                    ChunkedPart::End => return Ok(Progress::Whole),
                },
            };
            if data {
                use_piece(&input[..count]);
                self.taken += count as u64;
                limit -= count;
            }
            rfile.consume(count);
            if count == 0 {
                // At the limit, bytes may be left in the buffer.
                return Ok(if rfile.is_eof() && limit > 0 {
                    Progress::CutShort
                } else {
                    Progress::Partial
                });
            }
        }
    }
}
