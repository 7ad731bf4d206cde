//! A request's body, taken from the connection piece by piece while it arrives.

use std::io::{self, BufRead, ErrorKind};

use socketserver::RFile;

use crate::protocol::chunked::{ChunkedPart, Decoder};
use crate::protocol::head::{Framing, HeadError};

/// Maximum size of an unread body that is read and dropped, so that the connection can be kept
/// alive, in bytes. With a longer body, the connection is closed.
pub const DROPPED_BODY: u64 = 64 * 1024;

/// The client closed its side within a body.
pub const CUT_SHORT: HeadError = HeadError::bad("the body ended before its end");

/// The state of a body that is being received.
#[derive(Debug)]
pub struct Body {
    /// The part that has not been taken yet.
    rest: Rest,
    /// Bytes of content taken so far.
    taken: u64,
    /// Whether a read has failed. If so, the start of the next request is unknown.
    is_broken: bool,
}

#[derive(Debug)]
enum Rest {
    /// `Content-Length`: this many bytes have not been taken yet.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunks(Decoder),
}

/// How much of a body has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of it. The next request follows.
    Whole,
    /// The rest has not arrived yet.
    Partial,
    /// The client closed its side within the body.
    CutShort,
}

impl Body {
    /// The body that a head announces. `None` if there is no body or an empty one.
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

    /// Bytes of content that were taken so far, without chunk framing.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the complete body was taken.
    pub fn is_whole(&self) -> bool {
        match &self.rest {
            Rest::Length(left) => *left == 0,
            Rest::Chunks(decoder) => decoder.is_done(),
        }
    }

    /// Records that a read has failed, so that the rest can't be dropped.
    pub fn set_broken(&mut self) {
        self.is_broken = true;
    }

    /// Whether the rest is short enough to be read and dropped. The length of a chunked body is not
    /// known in advance: only the bytes taken so far count for it.
    pub fn may_be_dropped(&self) -> bool {
        !self.is_broken
            && self.taken <= DROPPED_BODY
            && !matches!(self.rest, Rest::Length(left) if left > DROPPED_BODY)
    }

    /// Reads bytes that have arrived into `into`. Never waits. Returns 0 at the end of the body,
    /// and `None` if no bytes have arrived. Large reads of a body with `Content-Length` bypass the
    /// connection's buffer, which saves a copy.
    ///
    /// # Errors
    /// Errors of the connection. The error contains a [`HeadError`] if the client is at fault: the
    /// chunks are malformed, or the client closed its side within the body.
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

    /// Takes the bytes that have arrived and passes them to `use_piece`. Never waits.
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

    /// Like [`take`](Body::take), but takes at most `limit` bytes of content.
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
