//! Tests of handlers without sockets, and of deadlines without waiting.
//!
//! A [`TestConnection`] has the same life as a server's connection. But its peer is the test, its
//! transport is memory, and its clock changes only when the test advances it. A [`TestDatagram`]
//! does the same for datagrams.
//!
//! ```
//! use std::io::Write;
//! use std::time::Duration;
//! use socketserver::testing::TestConnection;
//! use socketserver::{Builder, Next, StreamRequest};
//!
//! let shout = |request: &mut StreamRequest| {
//!     while let Some(line) = request.rfile.take_line(80)? {
//!         request.wfile.write_all(&line.to_ascii_uppercase())?;
//!     }
//!     Ok(Next::Wait)
//! };
//! let builder = Builder::new().idle_timeout(Some(Duration::from_secs(60)));
//! let mut client = TestConnection::new(builder, move |_: &_| shout);
//! client.send(b"hel");
//! assert_eq!(client.received(), b"");
//! client.send(b"lo\n");
//! assert_eq!(client.received(), b"HELLO\n");
//! client.advance(Duration::from_secs(60));
//! assert!(client.is_closed());
//! ```

mod datagram;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::ClientAddress;
use crate::clock::ManualClock;
use crate::handle::ServerHandle;
use crate::handler::{RequestHandlerClass, StreamRequestHandler};
use crate::server::Builder;
use crate::session::{Session, Step};
use crate::trace::Tap;
use crate::transport::{MemoryPeer, MemoryStream, Transport};
pub use datagram::TestDatagram;

/// A connection in memory, seen from the client's side.
///
/// Everything happens in the calls of the test, on its thread. The test cannot send or read while a
/// handler blocks. So a blocking read or write that would wait for the test fails immediately with
/// a timeout error.
pub struct TestConnection {
    session: Option<Box<Session>>,
    peer: MemoryPeer,
    time: ManualClock,
    deadline: Option<Instant>,
    server: ServerHandle,
}

impl TestConnection {
    /// Connects to a server with these settings, of which the socket, the concurrency model and the
    /// clock have no effect here.
    ///
    /// # Panics
    /// When the system refuses the few descriptors that a server needs.
    pub fn new<H: StreamRequestHandler>(
        settings: Builder,
        class: impl RequestHandlerClass<H>,
    ) -> TestConnection {
        TestConnection::from(settings, ClientAddress::Memory, class)
    }

    /// As [`new`](TestConnection::new), for a client with this address.
    ///
    /// # Panics
    /// As for [`new`](TestConnection::new).
    pub fn from<H: StreamRequestHandler>(
        settings: Builder,
        client: ClientAddress,
        class: impl RequestHandlerClass<H>,
    ) -> TestConnection {
        let time = ManualClock::new();
        let (core, service) = settings
            .clock(time.clock())
            .in_memory(class)
            .expect("a socket pair can be had");
        let (stream, peer) = MemoryStream::pair();
        let tap = core.config.trace.as_ref().map(|trace| {
            let core = Arc::clone(&core);
            let on_panic = move |client: &_, panic: &_| core.report_panic(client, panic);
            Tap::new(trace, &client, on_panic)
        });
        let transport = Transport::memory(stream).tapped(tap);
        let session = Session::new(transport, client, &Arc::new(service), &core);
        let server = ServerHandle(core);
        let mut connection = TestConnection {
            session: Some(Box::new(session)),
            peer,
            time,
            deadline: None,
            server,
        };
        connection.run(|session, now| session.advance(now));
        connection
    }

    /// Sends bytes in one segment, and runs the server until it waits.
    pub fn send(&mut self, bytes: &[u8]) -> &mut TestConnection {
        self.peer.send(bytes);
        self.wake();
        self
    }

    /// Sends bytes one by one.
    pub fn send_bytewise(&mut self, bytes: &[u8]) -> &mut TestConnection {
        for byte in bytes {
            self.send(&[*byte]);
        }
        self
    }

    /// Ends the client's side; the server's answers can still be received.
    pub fn finish(&mut self) -> &mut TestConnection {
        self.peer.finish();
        self.wake();
        self
    }

    /// What the server sent since the last call.
    pub fn received(&mut self) -> Vec<u8> {
        self.peer.take()
    }

    /// From now on the client takes only this number of bytes, until the next call.
    pub fn take_only(&mut self, bytes: usize) -> &mut TestConnection {
        self.peer.set_room(bytes);
        self.wake();
        self
    }

    /// Advances the clock. Deadlines that pass take effect in their order.
    pub fn advance(&mut self, by: Duration) -> &mut TestConnection {
        let end = self.time.clock().now() + by;
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end) {
            let now = self.time.clock().now();
            self.time.advance(deadline.saturating_duration_since(now));
            self.run(|session, now| session.expire(now));
        }
        let now = self.time.clock().now();
        self.time.advance(end.saturating_duration_since(now));
        self
    }

    /// Whether the server has closed the connection, or at least its side of it.
    pub fn is_closed(&self) -> bool {
        self.session.is_none() || self.peer.server_finished()
    }

    /// Shuts the server down.
    pub fn shutdown(&mut self) -> &mut TestConnection {
        self.server.shutdown();
        if let Some(mut session) = self.session.take_if(|session| session.is_idle()) {
            session.close_idle();
        }
        self
    }

    /// The server that the handler sees.
    pub fn server(&self) -> &ServerHandle {
        &self.server
    }

    fn wake(&mut self) {
        self.run(|session, now| {
            session.note_readable(true);
            session.advance(now)
        });
    }

    fn run(&mut self, act: impl FnOnce(&mut Session, Instant) -> Step) {
        let Some(session) = &mut self.session else {
            return;
        };
        let clock = self.time.clock();
        session.ready_at = clock.now();
        let mut step = act(session, clock.now());
        while step == Step::Yield {
            step = session.advance(clock.now());
        }
        match step {
            Step::Wait { until, .. } => self.deadline = until,
            Step::Over | Step::Yield => (self.session, self.deadline) = (None, None),
        }
    }
}

impl std::fmt::Debug for TestConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestConnection")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
