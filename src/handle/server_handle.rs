//! The handle by which other threads control a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Core, LifecyclePhase};
use crate::address::ClientAddress;
use crate::clock::{self, Clock};
use crate::config::Timeouts;
use crate::stats::StatsSnapshot;

/// A connection in flight, as [`ServerHandle::in_flight`] lists it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InFlight {
    /// The client.
    pub client_address: ClientAddress,
    /// When the handler began to work on its message.
    pub since: Instant,
}

/// An open connection, as [`ServerHandle::connections`] lists it.
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
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let handler = |request: &mut StreamRequest| {
    ///     request.set_doing("listing");
    ///     let connections = request.server.connections();
    ///     # let _ = connections;
    ///     Ok(Next::Wait)
    /// };
    /// # TestServer::new(Builder::new(), move |_| handler).connect().send(b"x");
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
