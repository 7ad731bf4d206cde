//! The sending of an answer that is made piece by piece.

use std::io::{self, Write};
use std::time::Instant;

use socketserver::StreamRequest;

use super::connection::Turn;
use super::message::{Produce, Produced};

/// The size of a chunk is filled in when its data is there.
const CHUNK_HEAD: &[u8] = b"00000000\r\n";

/// An answer whose head is out, and whose content is still being made.
pub(super) struct Streaming {
    pieces: Box<dyn Produce>,
    /// Each piece is a chunk. If not, the length was told, or the connection's end is the answer's (HTTP/1.0).
    chunked: bool,
    keep_alive: bool,
    /// When the next piece may be made; `None` is at once.
    due: Option<Instant>,
}

impl Streaming {
    pub(super) fn new(pieces: Box<dyn Produce>, keep_alive: bool, http_1_0: bool) -> Streaming {
        let chunked = !http_1_0 && pieces.length().is_none();
        Streaming { pieces, chunked, keep_alive, due: None }
    }

    /// Sends the next piece, if it is time for it. While others are to follow, the connection waits.
    pub(super) fn send_piece(&mut self, request: &mut StreamRequest) -> io::Result<Turn> {
        let now = request.server.clock().now();
        if let Some(due) = self.due.filter(|due| *due > now) {
            if request.rfile.is_eof() {
                return Ok(Turn::Over); // who waits for events, and ends its side, waits no longer
            }
            request.wake_after(due - now);
            return Ok(Turn::Wait);
        }
        let (piece, produced) = self.make_piece()?;
        let length = piece.len();
        request.wfile.send_shared(piece.into(), 0..length)?;
        match produced {
            Produced::Over if self.keep_alive => return Ok(Turn::Again),
            Produced::Over => return Ok(Turn::Over),
            Produced::More => {
                request.stay_in_flight();
                request.call_again();
            }
            Produced::After(time) => {
                self.due = Some(now + time);
                request.wake_after(time);
            }
        }
        Ok(Turn::Wait)
    }

    /// The next piece, as it goes over the wire.
    fn make_piece(&mut self) -> io::Result<(Vec<u8>, Produced)> {
        let mut chunk = if self.chunked { CHUNK_HEAD.to_vec() } else { Vec::new() };
        let begin = chunk.len();
        let produced = self.pieces.produce(&mut chunk)?;
        if self.chunked {
            match chunk.len() - begin {
                0 => chunk.clear(), // an empty chunk would be the last
                size => {
                    write!(&mut chunk[..], "{size:08x}")?;
                    chunk.extend_from_slice(b"\r\n");
                }
            }
            if produced == Produced::Over {
                chunk.extend_from_slice(b"0\r\n\r\n");
            }
        }
        Ok((chunk, produced))
    }
}
