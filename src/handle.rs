//! The state that a server, its connections and its handles share.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::address::ClientAddress;
use crate::clock::Clock;
use crate::config::{Limits, Timeouts};
use crate::error::{Error, Refusal, panic_message};
use crate::hooks::ServerHooks;
use crate::stats::{Stats, StatsSnapshot};
use crate::trace::Trace;
use crate::wake_pipe::WakePipe;

/// Whether a server takes requests. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum LifecyclePhase {
    /// Accepts, or will as soon as somebody calls `serve_forever`.
    Serving,
    /// Accepts nothing more; requests in flight go on.
    Draining,
    /// Requests in flight were cut.
    Aborting,
}

/// A connection in flight, as [`ServerHandle::in_flight`] lists it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InFlight {
    /// Whose it is.
    pub client_address: ClientAddress,
    /// Since when its message is being worked on.
    pub since: Instant,
}

/// What a server tells the way in which it processes requests.
pub(crate) trait Waker: Send + Sync {
    /// The server is going down: idle connections that threads wait for must end.
    fn phase_changed(&self) {}
    fn in_flight(&self) -> Vec<InFlight>;
    fn gauges(&self, snapshot: &mut StatsSnapshot);
}

/// One server's state.
pub(crate) struct Core {
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) hooks: Box<dyn ServerHooks>,
    pub(crate) trace: Option<Arc<dyn Trace>>,
    pub(crate) stats: Stats,
    pub(crate) wake_pipe: WakePipe,
    phase: AtomicU8,
    forked: AtomicBool,
    open: AtomicUsize,
    /// Refused connections whose last word is on its way.
    refusing: AtomicUsize,
    /// Datagrams that are being served.
    datagrams: AtomicUsize,
    per_address: Mutex<HashMap<IpAddr, usize>>,
    waker: Mutex<Option<Arc<dyn Waker>>>,
    /// Whether the server is over: what [`ServerHandle::wait`] waits for.
    over: Mutex<bool>,
    stopped: Condvar,
}

impl Core {
    pub(crate) fn new(
        timeouts: Timeouts,
        limits: Limits,
        clock: Clock,
        hooks: Box<dyn ServerHooks>,
        trace: Option<Arc<dyn Trace>>,
    ) -> io::Result<Core> {
        Ok(Core {
            timeouts,
            limits,
            clock,
            hooks,
            trace,
            stats: Stats::default(),
            wake_pipe: WakePipe::new()?,
            phase: AtomicU8::new(LifecyclePhase::Serving as u8),
            forked: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            refusing: AtomicUsize::new(0),
            datagrams: AtomicUsize::new(0),
            per_address: Mutex::default(),
            waker: Mutex::new(None),
            over: Mutex::new(false),
            stopped: Condvar::new(),
        })
    }

    pub(crate) fn phase(&self) -> LifecyclePhase {
        match self.phase.load(Ordering::SeqCst) {
            0 => LifecyclePhase::Serving,
            1 => LifecyclePhase::Draining,
            _ => LifecyclePhase::Aborting,
        }
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.phase() == LifecyclePhase::Serving
    }

    /// Moves on to `phase`, and tells those who wait; going back is ignored.
    pub(crate) fn enter(&self, phase: LifecyclePhase) {
        if self.phase.fetch_max(phase as u8, Ordering::SeqCst) < phase as u8 {
            self.wake_pipe.wake();
            self.wake_pipe.close();
            drop(self.over.lock()); // whoever waits is either before its look at the phase, or already asleep
            self.stopped.notify_all();
            // Cloned, as the waker may call back into this core.
            let waker = self.waker.lock().clone();
            if let Some(waker) = waker {
                waker.phase_changed();
            }
        }
    }

    /// Calls one of the server's hooks for `client`. A panic in it is counted and reported to
    /// `handle_error`; it ends neither the thread nor the server. Returns `None` after a panic.
    pub(crate) fn call_hook<T>(
        &self,
        client: &ClientAddress,
        call: impl FnOnce(&dyn ServerHooks) -> T,
    ) -> Option<T> {
        let panic = match catch_unwind(AssertUnwindSafe(|| call(&*self.hooks))) {
            Ok(value) => return Some(value),
            Err(panic) => panic,
        };
        self.stats.panics.fetch_add(1, Ordering::Relaxed);
        let error = Error::Panicked(panic_message(&*panic));
        self.report(client, &error);
        None
    }

    /// Reports an error to `handle_error`. The hook's own panic is only counted.
    pub(crate) fn report(&self, client: &ClientAddress, error: &Error) {
        let report = || self.hooks.handle_error(client, error);
        if catch_unwind(AssertUnwindSafe(report)).is_err() {
            self.stats.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_waker(&self, waker: Arc<dyn Waker>) {
        *self.waker.lock() = Some(waker);
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Counts a new connection in, or tells why it can't be had.
    pub(crate) fn admit(self: &Arc<Core>) -> Result<Admission, Refusal> {
        if self.open.fetch_add(1, Ordering::SeqCst) >= self.limits.max_connections {
            self.open.fetch_sub(1, Ordering::SeqCst);
            return Err(Refusal::MaxConnections);
        }
        Ok(Admission {
            core: Arc::clone(self),
            address: None,
        })
    }

    /// `serve_forever` has returned, or never will be called.
    pub(crate) fn end(&self) {
        self.wake_pipe.end_signals();
        *self.over.lock() = true;
        self.stopped.notify_all();
    }

    /// A connection has gone.
    fn connection_closed(&self) {
        if self.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.notify_if_drained();
        }
    }

    pub(crate) fn datagram_started(&self) {
        self.datagrams.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn datagram_finished(&self) {
        if self.datagrams.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.notify_if_drained();
        }
    }

    /// Wakes those in [`wait_drained`](Core::wait_drained).
    fn notify_if_drained(&self) {
        if !self.is_serving() {
            // Under the lock, so that a waiter is either before its check or already waiting.
            drop(self.over.lock());
            self.stopped.notify_all();
        }
    }

    fn is_drained(&self) -> bool {
        self.open_connections() == 0 && self.datagrams.load(Ordering::SeqCst) == 0
    }

    /// Waits until no connection is open and no datagram is being served; false when `until` or the
    /// end of `phase` came first.
    pub(crate) fn wait_drained(&self, phase: LifecyclePhase, until: Instant) -> bool {
        let mut over = self.over.lock();
        while !self.is_drained() && self.phase() == phase {
            if self.stopped.wait_until(&mut over, until).timed_out() {
                break;
            }
        }
        self.is_drained()
    }

    /// What a thread that sleeps for a connection must listen to as well, or a shutdown would have
    /// to wait for the client: the bell, as nobody else may be there to hear it; in a forked child,
    /// only the server's going down, as the bell is the parent's.
    pub(crate) fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        match (self.is_serving(), self.forked.load(Ordering::Relaxed)) {
            (false, _) => None,
            (true, false) => Some(self.wake_pipe.as_fd()),
            (true, true) => Some(self.wake_pipe.closing()),
        }
    }

    /// What [`wake_fd`](Core::wake_fd) named wants to be heard.
    pub(crate) fn handle_wake_in_worker(&self) {
        if self.forked.load(Ordering::Relaxed) {
            self.enter(LifecyclePhase::Draining);
        } else {
            self.handle_wake();
        }
    }

    /// This process is a child that serves one request.
    pub(crate) fn mark_forked(&self) {
        self.forked.store(true, Ordering::Relaxed);
    }

    /// The wake pipe was written to: obeys a signal.
    pub(crate) fn handle_wake(&self) {
        let wake = self.wake_pipe.drain();
        for message in &wake.panics {
            self.stats.panics.fetch_add(1, Ordering::Relaxed);
            log::error!("the reload closure panicked: {message}");
        }
        if wake.terminate {
            self.enter(LifecyclePhase::Draining);
        }
    }
}

/// So many refused connections may be lingered for at a time; others may lose the refusal's words,
/// as they aren't among those that [`Limits::max_connections`] counts.
const MAX_LINGERING_REFUSALS: usize = 64;

/// A refused connection's place among those that are lingered for.
pub(crate) struct RefusalSlot(Arc<Core>);

impl RefusalSlot {
    pub(crate) fn begin(core: &Arc<Core>) -> Option<RefusalSlot> {
        let guard = RefusalSlot(Arc::clone(core));
        (core.refusing.fetch_add(1, Ordering::Relaxed) < MAX_LINGERING_REFUSALS).then_some(guard)
    }
}

impl Drop for RefusalSlot {
    fn drop(&mut self) {
        self.0.refusing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's place in the counts; given back when it is dropped.
pub(crate) struct Admission {
    core: Arc<Core>,
    address: Option<IpAddr>,
}

impl Admission {
    /// Counts the connection under its client's real address, which may be known only after a PROXY
    /// header.
    pub(crate) fn count_address(&mut self, client: &ClientAddress) -> Result<(), Refusal> {
        let (Some(limit), Some(ip)) = (self.core.limits.max_per_address, client.ip()) else {
            return Ok(());
        };
        if self.address == Some(ip) {
            return Ok(());
        }
        self.uncount_address();
        let mut counts = self.core.per_address.lock();
        let count = counts.entry(ip).or_default();
        if *count >= limit {
            return Err(Refusal::MaxPerAddress);
        }
        *count += 1;
        self.address = Some(ip);
        Ok(())
    }

    fn uncount_address(&mut self) {
        let Some(ip) = self.address.take() else {
            return;
        };
        let mut counts = self.core.per_address.lock();
        if let Some(count) = counts.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&ip);
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.uncount_address();
        self.core.connection_closed();
    }
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

    /// Ends the server and cuts the requests that are in flight.
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
        let until = timeout.map(|t| Instant::now() + t);
        let mut over = self.0.over.lock();
        while !*over {
            match until {
                Some(until) if self.0.stopped.wait_until(&mut over, until).timed_out() => {
                    return *over;
                }
                Some(_) => {}
                None => self.0.stopped.wait(&mut over),
            }
        }
        true
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
