//! The state that a server, its connections and its handles share.

mod admissions;
mod life_cycle;
mod server_handle;
mod serving_thread;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::Mutex;

use crate::address::ClientAddress;
use crate::clock::Clock;
use crate::config::{Limits, Timeouts};
use crate::error::{Error, panic_message};
use crate::hooks::ServerHooks;
use crate::stats::{Stats, StatsSnapshot};
use crate::trace::Trace;
use crate::wake_pipe::WakePipe;
use admissions::Admissions;
pub(crate) use admissions::{Admission, RefusalSlot};
use life_cycle::LifeCycle;
pub(crate) use life_cycle::LifecyclePhase;
pub use server_handle::{InFlight, ServerHandle};
use serving_thread::ServingThread;

/// What a server's engine is asked by the server's handles.
pub(crate) trait Waker: Send + Sync {
    /// The server is going down: idle connections that threads wait for must end.
    fn phase_changed(&self) {}
    /// The connections that are within a message.
    fn in_flight(&self) -> Vec<InFlight>;
    /// Fills in what the engine knows of the present moment.
    fn gauges(&self, snapshot: &mut StatsSnapshot);
}

/// One server's state.
pub(crate) struct Core {
    // Configuration: never changes.
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) hooks: Box<dyn ServerHooks>,
    pub(crate) trace: Option<Arc<dyn Trace>>,
    // State.
    pub(crate) stats: Stats,
    pub(crate) wake_pipe: WakePipe,
    life_cycle: LifeCycle,
    admissions: Admissions,
    serving_thread: ServingThread,
    /// The engine, once there is one.
    waker: Mutex<Option<Arc<dyn Waker>>>,
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
            life_cycle: LifeCycle::new(),
            admissions: Admissions::default(),
            serving_thread: ServingThread::default(),
            waker: Mutex::new(None),
        })
    }

    pub(crate) fn phase(&self) -> LifecyclePhase {
        self.life_cycle.phase()
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.phase() == LifecyclePhase::Serving
    }

    /// Moves on to `phase`, and wakes those who wait; going back is ignored.
    pub(crate) fn enter(&self, phase: LifecyclePhase) {
        if self.life_cycle.enter(phase) {
            self.wake_pipe.wake();
            self.wake_pipe.close();
            self.life_cycle.notify();
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

    /// Reports an error to `handle_error`. A panic of the hook itself is only logged.
    pub(crate) fn report(&self, client: &ClientAddress, error: &Error) {
        let report = || self.hooks.handle_error(client, error);
        if catch_unwind(AssertUnwindSafe(report)).is_err() {
            log::error!("{client}: handle_error panicked; it was called for: {error}");
        }
    }

    pub(crate) fn set_waker(&self, waker: Arc<dyn Waker>) {
        *self.waker.lock() = Some(waker);
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.admissions.open()
    }

    /// `serve_forever` has returned, or never will be called.
    pub(crate) fn end(&self) {
        self.life_cycle.end();
    }

    pub(crate) fn datagram_started(&self) {
        self.admissions.datagram_started();
    }

    pub(crate) fn datagram_finished(&self) {
        if self.admissions.datagram_finished() {
            self.notify_if_drained();
        }
    }

    /// Wakes those in [`wait_drained`](Core::wait_drained).
    fn notify_if_drained(&self) {
        if !self.is_serving() {
            self.life_cycle.notify();
        }
    }

    /// Waits until no connection is open and no datagram is being served; false when `until` or the
    /// end of `phase` came first.
    pub(crate) fn wait_drained(&self, phase: LifecyclePhase, until: Option<Instant>) -> bool {
        self.life_cycle
            .wait_drained(phase, until, || self.admissions.is_empty())
    }

    /// This process is a child that serves one request.
    pub(crate) fn mark_forked(&self) {
        self.life_cycle.mark_forked();
    }

    /// The wake pipe is readable: obeys a signal.
    pub(crate) fn handle_wake(&self) {
        if self.wake_pipe.drain() {
            self.enter(LifecyclePhase::Draining);
        }
    }
}
