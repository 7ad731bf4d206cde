//! The handle by which other threads control a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Core, LifecyclePhase};
use crate::address::ClientAddress;
use crate::clock::{self, Clock};
use crate::config::Timeouts;
use crate::stats::StatsSnapshot;

/// A connection in flight, as [`ServerHandle::in_flight`] lists it.
///
/// ```
/// use std::net::TcpStream;
/// use std::io::Write;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let handler = |request: &mut StreamRequest| {
///     for request in request.server.in_flight() {
///         println!("{} for {:?}", request.client_address, request.since.elapsed());
///     }
///     Ok(Next::Close)
/// };
/// let mut server = Builder::new().tcp("127.0.0.1:0", move |_| handler)?;
/// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
/// client.write_all(b"\n")?;
/// server.handle_request()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InFlight {
    /// The client.
    pub client_address: ClientAddress,
    /// When the handler began to work on its message.
    pub since: Instant,
}

/// An open connection, as [`ServerHandle::connections`] lists it.
///
/// A list of all connections, for an operator. The oldest one is aborted:
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use socketserver::{Builder, ConnectionInfo, Next, StreamRequest};
///
/// fn line(connection: &ConnectionInfo) -> String {
///     let ConnectionInfo { id, client_address, phase, .. } = connection;
///     let doing = connection.doing.as_deref().unwrap_or("nothing");
///     format!("{id} {client_address} {phase:?}, {doing}, {:?} old", connection.age)
/// }
///
/// let greet = |request: &mut StreamRequest| {
///     request.wfile.write_all(request.rfile.take_all())?;
///     Ok(Next::Wait)
/// };
/// let server = Builder::new().tcp("127.0.0.1:0", move |_| greet)?.spawn()?;
/// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
/// client.write_all(b"hello")?;
/// client.read_exact(&mut [0; 5])?;
/// let connections = server.handle().connections();
/// connections.iter().for_each(|connection| println!("{}", line(connection)));
/// assert!(server.handle().abort_connection(connections[0].id));
/// assert_eq!(client.read(&mut [0])?, 0);
/// server.stop()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Identifies the connection for [`ServerHandle::abort_connection`]. The number is not used
    /// again.
    pub id: u64,
    /// The name of its [`Service`](crate::Service); without one, the
    /// [name](crate::Builder::name) of the server, if it has one.
    pub service: Option<Arc<str>>,
    /// The client; of a connection that the program has made, the peer.
    pub client_address: ClientAddress,
    /// Where the connection is.
    pub phase: ConnectionPhase,
    /// How long the connection has been open.
    pub age: Duration,
    /// How long ago it was last served; zero while it is.
    pub idle: Duration,
    /// Bytes that were read from the client, without those of TLS and of a PROXY header.
    pub bytes_received: u64,
    /// Bytes that were sent to the client, without those of TLS.
    pub bytes_sent: u64,
    /// What the handler says that it is doing ([`StreamRequest::set_doing`]).
    ///
    /// [`StreamRequest::set_doing`]: crate::StreamRequest::set_doing
    pub doing: Option<Arc<str>>,
}

/// Where a connection is, in [`ConnectionInfo`].
///
/// ```
/// use socketserver::{ConnectionInfo, ConnectionPhase};
///
/// /// How many connections wait for their clients.
/// fn idle(connections: &[ConnectionInfo]) -> usize {
///     let is_parked = |info: &&ConnectionInfo| info.phase == ConnectionPhase::Parked;
///     connections.iter().filter(is_parked).count()
/// }
/// assert_eq!(idle(&[]), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionPhase {
    /// Nothing of a message is under way: it waits for its client.
    Parked,
    /// It is ready, and waits for a thread of the pool.
    Queued,
    /// It is within a message, on a thread or waiting for the rest of the message.
    Active,
}

/// Controls a server and reads its statistics, from any thread and from handlers. Cheap to clone.
///
/// A handler that ends its server, and a program that waits for the end:
///
/// ```
/// use std::io::Write;
/// use std::net::TcpStream;
/// use std::time::Duration;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let handler = |request: &mut StreamRequest| {
///     if request.rfile.take_all() == b"stop" {
///         request.server.shutdown();
///         assert!(request.server.is_shutting_down());
///         assert!(request.server.grace_deadline() > Some(request.server.clock().now()));
///     }
///     Ok(Next::Wait)
/// };
/// let server = Builder::new().tcp("127.0.0.1:0", move |_| handler)?.spawn()?;
/// let handle = server.handle().clone();
/// assert_eq!(handle.timeouts().idle, Some(Duration::from_secs(600)));
/// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
/// client.write_all(b"stop")?;
/// assert!(handle.wait(Some(Duration::from_secs(60))));
/// assert_eq!(handle.stats().accepted, 1);
/// assert!(handle.in_flight().is_empty());
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone)]
pub struct ServerHandle(pub(crate) Arc<Core>);

impl ServerHandle {
    /// Ends [`serve_forever`](crate::Server::serve_forever) gracefully: the server accepts nothing
    /// more, parked connections close, and requests in flight may finish within the grace time.
    /// Returns immediately, unlike Python's. May be called twice, and from a handler, also under
    /// [`ForkingMixIn`](crate::ForkingMixIn). If `serve_forever` is not running, its next call
    /// returns immediately.
    ///
    /// As in Python, the listening sockets stay open: new clients wait in the backlog until
    /// `serve_forever` is called again, or until the server is dropped, which resets them.
    /// [`close`](ServerHandle::close) refuses them immediately.
    pub fn shutdown(&self) {
        self.0.enter(LifecyclePhase::Draining);
    }

    /// Shuts the server down as [`shutdown`](ServerHandle::shutdown) does, and closes the listening
    /// sockets before it waits for requests in flight. Clients that connect from now on are
    /// refused, and the server never serves again. SIGINT and SIGTERM do this after
    /// [`shutdown_on_ctrl_c`](crate::shutdown_on_ctrl_c). Without a running `serve_forever` the
    /// sockets close when the server is dropped.
    pub fn close(&self) {
        self.0.close();
    }

    /// Shuts the server down as [`shutdown`](ServerHandle::shutdown) does, but without a grace
    /// time: requests in flight are aborted.
    ///
    /// The three ways to end a server:
    ///
    /// ```
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let close = |_: &mut StreamRequest| Ok(Next::Close);
    /// let mut server = Builder::new().tcp("127.0.0.1:0", move |_| close)?;
    /// server.handle().shutdown(); // requests in flight have the grace time
    /// server.serve_forever()?; // returns at once; it could serve again
    /// server.handle().abort(); // requests in flight are aborted
    /// server.serve_forever()?;
    /// server.handle().close(); // the listening sockets close, so this is the end
    /// server.serve_forever()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    pub fn abort(&self) {
        self.0.enter(LifecyclePhase::Aborting);
    }

    /// Whether a shutdown was requested and the server does not serve again yet. A long handler can
    /// use this to end early.
    pub fn is_shutting_down(&self) -> bool {
        !self.0.is_serving() || self.0.is_parent_closing()
    }

    /// When the grace time of the shutdown that was requested last ends. `None` before a shutdown,
    /// and if the grace time is too long for the system's clock. Work of a server that its
    /// connections do not show, such as a queue, can use this to end in time.
    pub fn grace_deadline(&self) -> Option<Instant> {
        self.0.grace_deadline()
    }

    /// Waits until `serve_forever` has returned or the server was dropped; false if `timeout`
    /// passes first. `None` is without end, and so is a time that is too long for the system's
    /// clock. If `serve_forever` was not called yet, this waits for its end as well.
    ///
    /// Returns false immediately in a handler of the same server, and in a hook on the thread of
    /// `serve_forever`, which waits for handlers and hooks: each would wait for the other.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let is_called_by_server = self.0.is_running() && self.0.is_serving_thread();
        if is_called_by_server || self.0.is_called_by_handler() {
            return false;
        }
        let until = clock::deadline(Instant::now(), timeout);
        self.0.life_cycle.wait_over(until)
    }

    /// The statistics of this moment.
    pub fn stats(&self) -> StatsSnapshot {
        let mut snapshot = self.0.stats.snapshot();
        snapshot.open = self.0.open_connections();
        snapshot.datagrams_dropped = self.0.datagrams_dropped();
        // Cloned, as the engine may call the user's concurrency model.
        let view = self.0.engine_view.lock().clone();
        if let Some(view) = view {
            view.gauges(&mut snapshot);
        }
        snapshot.parked = snapshot
            .open
            .saturating_sub(snapshot.active + snapshot.queued);
        snapshot
    }

    /// The connections that are within a message, and under [`ForkingMixIn`](crate::ForkingMixIn)
    /// the requests of all children.
    pub fn in_flight(&self) -> Vec<InFlight> {
        let view = self.0.engine_view.lock().clone();
        view.map(|view| view.in_flight()).unwrap_or_default()
    }

    /// The open connections, the oldest first. A connection that no thread has looked at yet is
    /// not among them. Under [`ForkingMixIn`](crate::ForkingMixIn) the connections are in other
    /// processes, and the list is empty. Looks at every connection, so this is not for hot paths.
    ///
    /// ```
    /// use std::time::Duration;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let close = |_: &mut StreamRequest| Ok(Next::Close);
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| close)?.spawn()?;
    /// for connection in server.handle().connections() {
    ///     if connection.age > Duration::from_secs(24 * 3600) {
    ///         server.handle().abort_connection(connection.id);
    ///     }
    /// }
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let view = self.0.engine_view.lock().clone();
        let mut found = view.map(|view| view.connections()).unwrap_or_default();
        found.sort_by_key(|connection| std::cmp::Reverse(connection.age));
        found
    }

    /// Shuts the socket of one connection down at once, whatever it is doing: a handler that waits
    /// for its client gets an error. Returns false if the connection is over.
    /// [`Waker::close`](crate::Waker::close) is the graceful way.
    pub fn abort_connection(&self, id: u64) -> bool {
        let view = self.0.engine_view.lock().clone();
        view.is_some_and(|view| view.abort_connection(id))
    }

    /// The deadlines of this server's connections.
    pub fn timeouts(&self) -> &Timeouts {
        &self.0.config.timeouts
    }

    /// The clock of this server's deadlines.
    pub fn clock(&self) -> &Clock {
        &self.0.config.clock
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerHandle")
            .field("open", &self.0.open_connections())
            .finish_non_exhaustive()
    }
}
