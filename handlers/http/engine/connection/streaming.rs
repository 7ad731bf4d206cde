//! An answer that is made piece by piece.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use socketserver::{Next, StreamRequest, Wait};

use super::{ConnectionState, Flow, HttpHandler};
use crate::engine::produce::{Produce, Produced};

/// The size of a chunk is filled in when its data is there.
const CHUNK_HEAD: &[u8] = b"00000000\r\n";

/// The answer, and what is left of it.
pub(super) struct Streaming {
    pieces: Box<dyn Produce>,
    /// Each piece is a chunk. If not, the length was told, or the connection's end is the answer's
    /// (HTTP/1.0).
    chunked: bool,
    keep_alive: bool,
    /// When the next piece may be made; `None` is at once.
    due: Option<Instant>,
    has_begun: bool,
    /// The last piece was empty. Otherwise sending it shows a client that is gone.
    sent_nothing: bool,
}

impl Streaming {
    pub(super) fn new(pieces: Box<dyn Produce>, http_1_0: bool, keep_alive: bool) -> Streaming {
        let chunked = !http_1_0 && pieces.length().is_none();
        Streaming {
            pieces,
            chunked,
            keep_alive,
            due: None,
            has_begun: false,
            sent_nothing: true,
        }
    }
}

impl HttpHandler {
    /// Sends the next piece of an answer, if it is time for it.
    pub(super) fn send_piece(
        &mut self,
        request: &mut StreamRequest,
        mut streaming: Streaming,
    ) -> io::Result<Flow> {
        let now = request.server.clock().now();
        if !std::mem::replace(&mut streaming.has_begun, true) {
            streaming.pieces.begin(request);
        }
        let ends = request.is_shutting_down() && streaming.pieces.ends_at_shutdown();
        let is_early = |due: &Instant| *due > now && !request.cause().is_woken() && !ends;
        if let Some(due) = streaming.due.filter(is_early) {
            // A client that has only ended its side gets all of the answer. One that is gone shows
            // when the next piece is sent.
            self.state = ConnectionState::Stream(streaming);
            return Ok(Flow::Wait(pause(due - now)));
        }
        let mut chunk = if streaming.chunked {
            CHUNK_HEAD.to_vec()
        } else {
            Vec::new()
        };
        let begin = chunk.len();
        if streaming.sent_nothing {
            match peer(request)? {
                Peer::Here => {}
                Peer::HalfClosed => streaming.pieces.hurry(),
                // No client waits for the rest of the work.
                Peer::Gone => return Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
        let mut produced = streaming.pieces.produce(&mut chunk)?;
        streaming.sent_nothing = chunk.len() == begin;
        if ends {
            produced = Produced::Over;
        }
        if streaming.chunked {
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
        let length = chunk.len();
        request.wfile.send_shared(chunk.into(), 0..length)?;
        if produced == Produced::Over {
            self.end_record(request);
        }
        match produced {
            Produced::Over if streaming.keep_alive => return Ok(Flow::Again),
            Produced::Over => return Ok(Flow::Over),
            Produced::More => {}
            Produced::After(time) => streaming.due = Some(now + time),
        }
        let next = match produced {
            Produced::After(time) => pause(time),
            _ => Next::Again,
        };
        self.state = ConnectionState::Stream(streaming);
        Ok(Flow::Wait(next))
    }
}

/// Waits for the time of the next piece. The answer is in flight until its last piece is sent, so a
/// shutdown doesn't end it before the grace period is over.
pub(super) fn pause(time: Duration) -> Next {
    Wait::new().in_message().after(time).into()
}

/// The state of the client while its answer is made.
pub(super) enum Peer {
    Here,
    /// It has ended its side. It may wait for the answer, or have left: only sending shows which.
    HalfClosed,
    /// It has reset the connection.
    Gone,
}

pub(super) fn peer(request: &StreamRequest) -> io::Result<Peer> {
    #[cfg(target_os = "linux")]
    const END: PollFlags = PollFlags::RDHUP;
    #[cfg(not(target_os = "linux"))]
    const END: PollFlags = PollFlags::empty();
    let Some(socket) = request.fileno() else {
        return Ok(Peer::Here);
    };
    let mut sockets = [PollFd::from_borrowed_fd(socket, END)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // A signal must not end the answer.
    retry_on_intr(|| poll(&mut sockets, Some(&at_once)))?;
    let [socket] = &sockets;
    let events = socket.revents();
    Ok(if events.intersects(PollFlags::ERR | PollFlags::HUP) {
        Peer::Gone
    } else if events.intersects(END) || request.rfile.is_eof() {
        Peer::HalfClosed
    } else {
        Peer::Here
    })
}
