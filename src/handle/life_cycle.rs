//! Whether a server serves, and the threads that wait for its end.
//!
//! ```text
//!                  shutdown, an error                 abort, end of the grace time
//!     Serving ──────────────────────────▶ Draining ──────────────────────────────▶ Aborting
//! ```

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Whether a server takes requests. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum LifecyclePhase {
    /// Accepts, or will as soon as somebody calls `serve_forever`.
    Serving,
    /// Accepts nothing more; requests in flight go on.
    Draining,
    /// Requests in flight were aborted.
    Aborting,
}

/// The phase of a server, and what its changes wake.
#[derive(Debug)]
pub(super) struct LifeCycle {
    phase: AtomicU8,
    /// Whether this process is a child that serves one request.
    forked: AtomicBool,
    /// Whether `serve_forever` has returned, or never will be called. Its lock also orders every
    /// change that `changed` announces before or after a waiter's look.
    over: Mutex<bool>,
    changed: Condvar,
}

impl LifeCycle {
    pub(super) fn new() -> LifeCycle {
        LifeCycle {
            phase: AtomicU8::new(LifecyclePhase::Serving as u8),
            forked: AtomicBool::new(false),
            over: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    pub(super) fn phase(&self) -> LifecyclePhase {
        match self.phase.load(Ordering::SeqCst) {
            0 => LifecyclePhase::Serving,
            1 => LifecyclePhase::Draining,
            _ => LifecyclePhase::Aborting,
        }
    }

    /// Moves on to `phase`. False if the server was there already, or beyond.
    pub(super) fn enter(&self, phase: LifecyclePhase) -> bool {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst) < phase as u8
    }

    pub(super) fn mark_forked(&self) {
        self.forked.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_forked(&self) -> bool {
        self.forked.load(Ordering::Relaxed)
    }

    /// Wakes those who wait, after a change that they look for.
    pub(super) fn notify(&self) {
        // Under the lock, a waiter is either before its look or already waiting: none misses this.
        drop(self.over.lock());
        self.changed.notify_all();
    }

    /// `serve_forever` has returned, or never will be called.
    pub(super) fn end(&self) {
        *self.over.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until [`end`](LifeCycle::end); false when `until` came first. `None` is without end.
    pub(super) fn wait_over(&self, until: Option<Instant>) -> bool {
        self.wait(until, |over| *over)
    }

    /// Waits until `is_drained`, or the end of `phase`; false when `until` came first.
    pub(super) fn wait_drained(
        &self,
        phase: LifecyclePhase,
        until: Option<Instant>,
        is_drained: impl Fn() -> bool,
    ) -> bool {
        self.wait(until, |_| is_drained() || self.phase() != phase);
        is_drained()
    }

    fn wait(&self, until: Option<Instant>, is_done: impl Fn(&bool) -> bool) -> bool {
        let mut over: MutexGuard<'_, bool> = self.over.lock();
        while !is_done(&over) {
            match until {
                Some(until) if self.changed.wait_until(&mut over, until).timed_out() => {
                    return is_done(&over);
                }
                Some(_) => {}
                None => self.changed.wait(&mut over),
            }
        }
        true
    }
}
