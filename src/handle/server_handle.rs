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
    /// Ends the server gracefully: it stops accepting at once, parked connections close, requests
    /// in flight may end within the grace time. Returns immediately; may be called twice, from a
    /// handler, or before `serve_forever`, which then returns at once (Python's `shutdown` blocks,
    /// and deadlocks in a handler).
    pub fn shutdown(&self) {
        self.0.enter(LifecyclePhase::Draining);
    }

    /// Ends the server and aborts the requests that are in flight.
    pub fn abort(&self) {
        self.0.enter(LifecyclePhase::Aborting);
    }

    /// Whether [`shutdown`](ServerHandle::shutdown) was called: long handlers may want to come to
    /// an end.
    pub fn is_shutting_down(&self) -> bool {
        !self.0.is_serving()
    }

    /// Waits until `serve_forever` has returned, or the server was dropped; false when `timeout`
    /// passed first. It may be called before `serve_forever` is: it waits all the same.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
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
