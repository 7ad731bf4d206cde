//! What others hold of a server.

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
    /// Since when its message is being worked on.
    pub since: Instant,
}

/// A server from outside: cheap to clone, to be used from any thread, from handlers too.
#[derive(Clone)]
pub struct ServerHandle(pub(crate) Arc<Core>);

impl ServerHandle {
    /// Ends [`serve_forever`](crate::Server::serve_forever) gracefully: the server accepts nothing
    /// more, parked connections close, requests in flight may end within the grace time. Returns
    /// immediately, unlike Python's; may be called twice, or from a handler, of a
    /// [`ForkingMixIn`](crate::ForkingMixIn) too. If `serve_forever` is not running, its next call
    /// returns at once.
    ///
    /// As in Python, the listening sockets stay open: new clients wait in the backlog until
    /// `serve_forever` is called again, or until the server is dropped, which resets them.
    /// [`close`](ServerHandle::close) refuses them at once.
    pub fn shutdown(&self) {
        self.0.enter(LifecyclePhase::Draining);
    }

    /// As [`shutdown`](ServerHandle::shutdown), and closes the listening sockets before requests
    /// in flight are waited for: clients that connect from now on are refused, and the server never
    /// serves again. SIGINT and SIGTERM do this after
    /// [`shutdown_on_ctrl_c`](crate::shutdown_on_ctrl_c). Without a running `serve_forever` the
    /// sockets close when the server is dropped.
    pub fn close(&self) {
        self.0.close();
    }

    /// As [`shutdown`](ServerHandle::shutdown), without a grace time: aborts the requests that are
    /// in flight.
    pub fn abort(&self) {
        self.0.enter(LifecyclePhase::Aborting);
    }

    /// Whether the server is going down, or has gone down and does not serve again yet: long
    /// handlers may want to come to an end.
    pub fn is_shutting_down(&self) -> bool {
        !self.0.is_serving()
    }

    /// Waits until `serve_forever` has returned, or the server was dropped; false when `timeout`
    /// passed first. `None`, and a time too long for the system's clock, is without end. It may be
    /// called before `serve_forever` is: it waits all the same.
    ///
    /// A handler of this very server gets false at once: `serve_forever` waits for the handler's
    /// end, so each would wait for the other.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if self.0.is_called_by_handler() {
            return false;
        }
        let until = clock::deadline(Instant::now(), timeout);
        self.0.life_cycle.wait_over(until)
    }

    /// The counters and gauges of this moment.
    pub fn stats(&self) -> StatsSnapshot {
        let mut snapshot = self.0.stats.snapshot();
        snapshot.open = self.0.open_connections();
        if let Some(waker) = &*self.0.waker.lock() {
            waker.gauges(&mut snapshot);
        }
        snapshot.parked = snapshot
            .open
            .saturating_sub(snapshot.active + snapshot.queued);
        snapshot
    }

    /// The connections that are within a message.
    pub fn in_flight(&self) -> Vec<InFlight> {
        let waker = self.0.waker.lock().clone();
        waker.map(|waker| waker.in_flight()).unwrap_or_default()
    }

    /// The clock of this server's deadlines.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerHandle")
            .field("open", &self.0.open_connections())
            .finish_non_exhaustive()
    }
}
