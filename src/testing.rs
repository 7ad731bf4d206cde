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
//! let mut client = TestConnection::new(builder, move |_| shout);
//! client.send(b"hel");
//! assert_eq!(client.received(), b"");
//! client.send(b"lo\n");
//! assert_eq!(client.received(), b"HELLO\n");
//! client.advance(Duration::from_secs(60));
//! assert!(client.is_closed());
//! ```
//!
//! A [`TestServer`] has several connections, which may reach one another.

mod datagram;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::address::ClientAddress;
use crate::clock::ManualClock;
use crate::handle::ServerHandle;
use crate::handler::{RequestHandlerClass, StreamRequestHandler};
use crate::server::Builder;
use crate::session::{Session, Step, StreamService};
use crate::transport::{MemoryPeer, MemoryStream, Transport};
pub use datagram::TestDatagram;

/// After this many turns, connections that have one another served are an endless loop.
const MAX_TURNS: usize = 100_000;

/// A server in memory. Its connections share the handlers' class, the clock, and whatever the
/// handlers share. Cheap to clone; all clones are the same server. It has no sockets, so its handle
/// cannot adopt, connect or listen.
///
/// ```
/// use socketserver::testing::TestServer;
/// use socketserver::{Builder, Group, Next, Result, StreamRequest, StreamRequestHandler};
///
/// struct Chat(Group);
///
/// impl StreamRequestHandler for Chat {
///     fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
///         self.0.join(&request.outbox(1024));
///         Ok(())
///     }
///
///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
///         self.0.broadcast(request.rfile.take_all());
///         Ok(Next::Wait)
///     }
/// }
///
/// let room = Group::new();
/// let server = TestServer::new(Builder::new(), move |_| Chat(room.clone()));
/// let (mut alice, mut bob) = (server.connect(), server.connect());
/// alice.send(b"hello");
/// assert_eq!(bob.received(), b"hello");
/// ```
#[derive(Clone)]
pub struct TestServer(Arc<TestState>);

struct TestState {
    server: ServerHandle,
    service: Arc<StreamService>,
    time: ManualClock,
    /// By the connections' indices. A session that is being served is not here.
    places: Mutex<Vec<Place>>,
}

#[derive(Default)]
struct Place {
    session: Option<Box<Session>>,
    deadline: Option<Instant>,
}

impl TestServer {
    /// A server with these settings, of which the socket, the concurrency model and the clock have
    /// no effect here.
    ///
    /// # Panics
    /// When the system refuses the few descriptors that a server needs.
    pub fn new<H: StreamRequestHandler>(
        settings: Builder,
        class: impl RequestHandlerClass<H>,
    ) -> TestServer {
        let time = ManualClock::new();
        let (core, service) = settings
            .clock(time.clock())
            .in_memory(class)
            .expect("a socket pair can be had");
        TestServer(Arc::new(TestState {
            server: ServerHandle(core),
            service: Arc::new(service),
            time,
            places: Mutex::default(),
        }))
    }

    /// Another client connects.
    pub fn connect(&self) -> TestConnection {
        self.connect_from(ClientAddress::Memory)
    }

    /// Another client connects, which has this address.
    pub fn connect_from(&self, client: ClientAddress) -> TestConnection {
        let TestState {
            server: ServerHandle(core),
            service,
            places,
            ..
        } = &*self.0;
        let (stream, peer) = MemoryStream::pair();
        let transport =
            Transport::memory(stream, core.config.clock.now()).tapped(core.tap(&client));
        let session = Session::new(transport, client, service, core);
        let index = {
            let mut places = places.lock();
            places.push(Place {
                session: Some(Box::new(session)),
                deadline: None,
            });
            places.len() - 1
        };
        self.run(index, Session::advance);
        TestConnection {
            test: self.clone(),
            index,
            peer,
        }
    }

    /// Advances the clock. Deadlines of all connections that pass take effect in their order.
    pub fn advance(&self, by: Duration) {
        let clock = self.0.time.clock();
        let end = clock.now() + by;
        loop {
            let next = {
                let places = self.0.places.lock();
                let deadlines = places.iter().enumerate();
                deadlines
                    .filter_map(|(index, place)| Some((place.deadline?, index)))
                    .min()
            };
            let Some((deadline, index)) = next.filter(|(deadline, _)| *deadline <= end) else {
                break;
            };
            let left = deadline.saturating_duration_since(clock.now());
            self.0.time.advance(left);
            self.run(index, Session::expire);
        }
        let left = end.saturating_duration_since(clock.now());
        self.0.time.advance(left);
    }

    /// Shuts the server down.
    pub fn shutdown(&self) {
        self.0.server.shutdown();
        let count = self.0.places.lock().len();
        for index in 0..count {
            let idle = {
                let mut places = self.0.places.lock();
                let place = &mut places[index];
                let idle = place.session.take_if(|session| session.ends_at_shutdown());
                if idle.is_some() {
                    place.deadline = None;
                }
                idle
            };
            match idle {
                Some(mut session) => session.close_idle(),
                None => self.serve(index, |session, now| {
                    session.announce_shutdown();
                    session.advance(now)
                }),
            }
        }
        self.settle();
    }

    /// The server that the handlers see.
    pub fn handle(&self) -> &ServerHandle {
        &self.0.server
    }

    /// Serves one connection until it waits, and then those that it has reached.
    fn run(&self, index: usize, act: impl FnOnce(&mut Session, Instant) -> Step) {
        self.serve(index, act);
        self.settle();
    }

    /// Serves the connections for which others have left something, until there is none.
    fn settle(&self) {
        for _ in 0..MAX_TURNS {
            let reached = {
                let places = self.0.places.lock();
                let is_reached = |place: &Place| {
                    let session = place.session.as_ref();
                    session.is_some_and(|session| session.needs_attention())
                };
                places.iter().position(is_reached)
            };
            match reached {
                Some(index) => self.serve(index, Session::advance),
                None => return,
            }
        }
        panic!("the connections have one another served without end");
    }

    fn serve(&self, index: usize, act: impl FnOnce(&mut Session, Instant) -> Step) {
        // Not under the lock: a handler may use the server's other connections.
        let taken = self.0.places.lock()[index].session.take();
        let Some(mut session) = taken else { return };
        let clock = self.0.time.clock();
        session.ready_at = clock.now();
        let mut step = act(&mut session, clock.now());
        while step == Step::Yield {
            step = session.advance(clock.now());
        }
        let place = match step {
            Step::Wait { until, .. } => Place {
                session: Some(session),
                deadline: until,
            },
            Step::Over | Step::Yield => {
                drop(session);
                Place::default()
            }
        };
        self.0.places.lock()[index] = place;
    }
}

impl std::fmt::Debug for TestServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestServer")
            .field("connections", &self.0.places.lock().len())
            .finish_non_exhaustive()
    }
}

/// A connection in memory, seen from the client's side.
///
/// Everything happens in the calls of the test, on its thread. If another thread has left something
/// for the connection, it is served at the next call. The test cannot send or read while a handler
/// blocks. So a blocking read or write that would wait for the test fails immediately with a
/// timeout error.
pub struct TestConnection {
    test: TestServer,
    index: usize,
    peer: MemoryPeer,
}

impl TestConnection {
    /// Connects to a server of its own with these settings, of which the socket, the concurrency
    /// model and the clock have no effect here. [`TestServer`] has several connections.
    ///
    /// # Panics
    /// When the system refuses the few descriptors that a server needs.
    pub fn new<H: StreamRequestHandler>(
        settings: Builder,
        class: impl RequestHandlerClass<H>,
    ) -> TestConnection {
        TestServer::new(settings, class).connect()
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
        TestServer::new(settings, class).connect_from(client)
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
        self.test.settle();
        self.peer.take()
    }

    /// From now on the client takes only this number of bytes, until the next call.
    pub fn take_only(&mut self, bytes: usize) -> &mut TestConnection {
        self.peer.set_room(bytes);
        self.wake();
        self
    }

    /// Advances the clock of the server, for all its connections. Deadlines that pass take effect
    /// in their order.
    pub fn advance(&mut self, by: Duration) -> &mut TestConnection {
        self.test.advance(by);
        self
    }

    /// Whether the server has closed the connection, or at least its side of it.
    pub fn is_closed(&self) -> bool {
        self.test.settle();
        let is_over = self.test.0.places.lock()[self.index].session.is_none();
        is_over || self.peer.server_finished()
    }

    /// Shuts the server down, with all its connections.
    pub fn shutdown(&mut self) -> &mut TestConnection {
        self.test.shutdown();
        self
    }

    /// The server that the handler sees.
    pub fn server(&self) -> &ServerHandle {
        self.test.handle()
    }

    fn wake(&mut self) {
        self.test.run(self.index, |session, now| {
            session.note_readable(true);
            session.advance(now)
        });
    }
}

impl Drop for TestConnection {
    fn drop(&mut self) {
        let place = std::mem::take(&mut self.test.0.places.lock()[self.index]);
        drop(place); // not under the lock: the handler's `drop` is the user's code
    }
}

impl std::fmt::Debug for TestConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestConnection")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
