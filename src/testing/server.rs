//! A server in memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::TestConnection;
use super::engine::TestEngine;
use crate::address::{ClientAddress, ServerAddress};
use crate::clock::ManualClock;
use crate::handle::ServerHandle;
use crate::handler::{RequestHandlerClass, StreamRequestHandler};
use crate::server::Builder;
use crate::session::{Session, StreamService};
use crate::transport::{MemoryStream, Transport};

/// A server in memory. Its connections share the handlers' class, the clock, and whatever the
/// handlers share. Cheap to clone; all clones are the same server.
///
/// Its handle does all that the handle of a real server does: what a handler
/// [connects](ServerHandle::connect) to is the test ([`connected`](TestServer::connected)), and its
/// [listeners](ServerHandle::listen) are reached by [`connect_to`](TestServer::connect_to). A
/// stream that is [adopted](ServerHandle::adopt) is looked at whenever the test does something.
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
    engine: Arc<TestEngine>,
}

impl Drop for TestState {
    fn drop(&mut self) {
        // It refers to the engine, which has connections that refer to it.
        self.server.0.set_engine_view(None);
        self.engine.clear();
    }
}

impl TestServer {
    /// A server with these settings, of which the socket and the concurrency model have no effect
    /// here. Its clock is that of the settings if it belongs to a [`ManualClock`]. Otherwise only
    /// [`advance`](TestServer::advance) changes its clock.
    ///
    /// # Panics
    /// When the system refuses the few descriptors that a server needs.
    pub fn new<H: StreamRequestHandler>(
        settings: Builder,
        class: impl RequestHandlerClass<H>,
    ) -> TestServer {
        let time = settings.manual_clock();
        let (core, service) = settings
            .clock(time.clock())
            .in_memory(class)
            .expect("a socket pair can be had");
        let engine = TestEngine::new(&core);
        core.set_engine_view(Some(Arc::clone(&engine) as _));
        TestServer(Arc::new(TestState {
            server: ServerHandle(core),
            service: Arc::new(service),
            time,
            engine,
        }))
    }

    /// Another client connects.
    pub fn connect(&self) -> TestConnection {
        self.connect_from(ClientAddress::Memory)
    }

    /// Another client connects, which has this address.
    ///
    /// ```
    /// use std::time::Duration;
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, ClientAddress, Next, StreamRequest};
    ///
    /// let ignore = |request: &mut StreamRequest| {
    ///     request.rfile.take_all();
    ///     Ok(Next::Wait)
    /// };
    /// let server = TestServer::new(Builder::new(), move |_| ignore);
    /// let address = std::net::SocketAddr::from(([192, 0, 2, 1], 50_000));
    /// let early = server.connect_from(ClientAddress::from(address));
    /// server.advance(Duration::from_secs(599));
    /// let late = server.connect();
    /// server.advance(Duration::from_secs(1)); // the idle timeout
    /// assert!(early.is_closed() && !late.is_closed());
    /// server.shutdown();
    /// assert!(late.is_closed());
    /// ```
    pub fn connect_from(&self, client: ClientAddress) -> TestConnection {
        let TestState {
            server: ServerHandle(core),
            service,
            ..
        } = &*self.0;
        let (stream, peer) = MemoryStream::pair();
        let transport =
            Transport::memory(stream, core.config.clock.now()).tapped(core.tap(&client));
        let session = Session::new(transport, client.clone(), service, core);
        let key = self.engine().add_connection(Box::new(session));
        self.engine().settle();
        TestConnection::of(self, key, peer, client)
    }

    /// A client with this address connects to a listener that a handler, or the test, has opened by
    /// [`ServerHandle::listen`]. `None` if nothing listens there any more, or the listener does not
    /// accept this client.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, Listen, Next, StreamRequest};
    ///
    /// let ignore = |request: &mut StreamRequest| {
    ///     request.rfile.take_all();
    ///     Ok(Next::Wait)
    /// };
    /// let server = TestServer::new(Builder::new(), move |_| ignore);
    /// let options = Listen::new().once(None);
    /// let listener = server.handle().listen("127.0.0.1:0", options, move |_| ignore)?;
    /// let client = SocketAddr::from(([192, 0, 2, 1], 5000));
    /// let connection = server.connect_to(listener.server_address(), client.into());
    /// assert!(connection.is_some());
    /// assert!(server.connect_to(listener.server_address(), client.into()).is_none());
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    pub fn connect_to(
        &self,
        listener: &ServerAddress,
        client: ClientAddress,
    ) -> Option<TestConnection> {
        self.engine().settle();
        let (stream, peer) = MemoryStream::pair();
        let key = self.engine().accept(listener, stream, client.clone())?;
        self.engine().settle();
        Some(TestConnection::of(self, key, peer, client))
    }

    /// The side of the other server of a connection that a handler has made by
    /// [`ServerHandle::connect`]; the oldest one that was not returned yet. Its
    /// [`address`](TestConnection::address) is the one that the handler has connected to.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, Forwarder};
    ///
    /// let upstream: SocketAddr = "192.0.2.1:5432".parse().unwrap();
    /// let server = TestServer::new(Builder::new(), move |_| Forwarder::to(upstream));
    /// let mut client = server.connect();
    /// let mut other = server.connected().unwrap();
    /// assert_eq!(*other.address(), upstream.into());
    /// client.send(b"hello");
    /// assert_eq!(other.received(), b"hello");
    /// ```
    pub fn connected(&self) -> Option<TestConnection> {
        self.engine().settle();
        let made = self.engine().take_made()?;
        Some(TestConnection::of(self, made.key, made.peer, made.address))
    }

    /// Has `handler` serve a connection in memory as [`ServerHandle::adopt`] does, and returns its
    /// other end.
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let upper = |request: &mut StreamRequest| {
    ///     let line = request.rfile.take_all().to_ascii_uppercase();
    ///     request.wfile.write_all(&line)?;
    ///     Ok(Next::Wait)
    /// };
    /// let server = TestServer::new(Builder::new(), move |_| upper);
    /// let mut other_end = server.adopt(upper)?;
    /// other_end.send(b"hello");
    /// assert_eq!(other_end.received(), b"HELLO");
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`ServerHandle::adopt`].
    pub fn adopt(
        &self,
        handler: impl StreamRequestHandler,
    ) -> crate::error::Result<TestConnection> {
        self.engine().settle();
        self.0.server.adopt_in_memory(handler)?;
        let made = self.engine().take_last_made();
        let made = made.expect("it was just added");
        self.engine().settle();
        Ok(TestConnection::of(self, made.key, made.peer, made.address))
    }

    /// Advances the clock. Deadlines of all connections and listeners that pass take effect in
    /// their order.
    pub fn advance(&self, by: Duration) {
        let clock = self.0.time.clock();
        let end = clock.now() + by;
        self.engine().settle();
        while let Some(due) = self.engine().next_due().filter(|due| *due <= end) {
            self.0
                .time
                .advance(due.saturating_duration_since(clock.now()));
            self.engine().settle();
        }
        let left = end.saturating_duration_since(clock.now());
        self.0.time.advance(left);
        self.engine().settle();
    }

    /// Shuts the server down.
    pub fn shutdown(&self) {
        self.0.server.shutdown();
        self.engine().settle();
    }

    /// The server that the handlers see.
    pub fn handle(&self) -> &ServerHandle {
        &self.0.server
    }

    pub(super) fn engine(&self) -> &TestEngine {
        &self.0.engine
    }
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer")
            .field("connections", &self.engine().open_connections())
            .finish_non_exhaustive()
    }
}
