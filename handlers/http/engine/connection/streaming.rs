//! A response whose body is produced and sent piece by piece.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use socketserver::{Next, StreamRequest, Wait};

use super::{ConnectionState, Flow, HttpHandler};
use crate::engine::produce::{Produce, Produced};

/// Placeholder for a chunk's size, which is filled in once the chunk's data is known.
const CHUNK_HEAD: &[u8] = b"00000000\r\n";

/// A response that is being sent piece by piece.
pub(super) struct Streaming {
    pieces: Box<dyn Produce>,
    /// Whether each piece is sent as a chunk. Otherwise the response has a `Content-Length`, or the
    /// end of the connection ends the body (HTTP/1.0).
    chunked: bool,
    keep_alive: bool,
    /// The earliest time to produce the next piece. `None` means immediately.
    due: Option<Instant>,
    has_begun: bool,
    /// Whether the last piece was empty. Then the client's state must be polled, because no send
    /// can fail and so show that the client is gone.
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
    /// Sends the next piece of the response, if its time has come.
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
            // The client is not polled here: a client that has only closed its side still gets the
            // whole response, and a client that is gone is noticed when the next piece is sent.
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
                // The client is gone, so the rest would be produced in vain.
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
                0 => chunk.clear(), // an empty chunk would end the body
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

/// Waits until the next piece is due. The response is in flight until its last piece is sent, so a
/// shutdown lets it continue until the grace period is over.
pub(super) fn pause(time: Duration) -> Next {
    Wait::new().in_message().after(time).into()
}

/// The state of the client while its response is produced.
pub(super) enum Peer {
    /// The client has not closed its side.
    Here,
    /// The client has closed its side. It may still read the response, or it may be gone: only a
    /// send shows which.
    HalfClosed,
    /// The client has reset the connection.
    Gone,
}

/// Polls the socket for the state of the client.
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
    // A signal must not end the response.
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
