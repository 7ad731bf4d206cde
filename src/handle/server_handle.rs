//! The handle by which other threads control a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Core, LifecyclePhase};
use crate::address::ClientAddress;
use crate::clock::{self, Clock};
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
        // Cloned, as the waker may call the user's concurrency model.
        let waker = self.0.waker.lock().clone();
        if let Some(waker) = waker {
            waker.gauges(&mut snapshot);
        }
        snapshot.parked = snapshot
            .open
            .saturating_sub(snapshot.active + snapshot.queued);
        snapshot
    }

    /// The connections that are within a message, and under [`ForkingMixIn`](crate::ForkingMixIn)
    /// the requests of all children.
    pub fn in_flight(&self) -> Vec<InFlight> {
        let waker = self.0.waker.lock().clone();
        waker.map(|waker| waker.in_flight()).unwrap_or_default()
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
