//! Whether a server serves, and the threads that wait for its end.
//!
//! ```text
//!                  shutdown, an error                 abort, end of the grace time
//!     Serving ──────────────────────────▶ Draining ──────────────────────────────▶ Aborting
//!        ▲                                   │                                        │
//!        └───────────────────────────────────┴────────────────────────────────────────┘
//!             the next serve_forever or handle_request, after the one that ended
//! ```
//!
//! A server that is closed (dropped, or ended by a signal) never serves again.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::clock::deadline;

/// Whether a server takes requests. Until it serves again, it only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum LifecyclePhase {
    /// Accepts, or will accept when `serve_forever` is called.
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
    /// Whether the sockets are closed, so that the server never serves again.
    closed: AtomicBool,
    grace: Duration,
    /// Its lock also orders every change that `changed` announces before or after a waiter's look.
    run: Mutex<Run>,
    changed: Condvar,
}

/// What has become of the present or last call of `serve_forever`.
#[derive(Debug, Default)]
struct Run {
    is_running: bool,
    /// It has returned, or never will be called.
    is_over: bool,
    /// A shutdown was requested: of this call, or, if it is over, of the next one (as Python's
    /// `__shutdown_request`).
    end_is_asked: bool,
    /// When the grace time began.
    draining_since: Option<Instant>,
}

impl LifeCycle {
    pub(super) fn new(grace: Duration) -> LifeCycle {
        LifeCycle {
            phase: AtomicU8::new(LifecyclePhase::Serving as u8),
            forked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            grace,
            run: Mutex::default(),
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

    /// Moves on to `phase`, and calls `announce`. False if the server was there already, or beyond.
    ///
    /// `announce` runs under the lock, and so does the `reopen` that undoes it. Otherwise a late
    /// `announce` could follow the `reopen` of the next run, and would wake that run without end.
    pub(super) fn enter(&self, phase: LifecyclePhase, announce: impl FnOnce()) -> bool {
        let mut run = self.run.lock();
        run.end_is_asked = true;
        run.draining_since.get_or_insert_with(Instant::now);
        let is_new = self.phase() < phase;
        if is_new {
            self.phase.store(phase as u8, Ordering::SeqCst);
            announce();
        }
        is_new
    }

    /// `serve_forever` is called: calls `reopen` if it may serve. False if it must return at once.
    pub(super) fn begin(&self, reopen: impl FnOnce()) -> bool {
        let mut run = self.run.lock();
        run.is_running = true;
        run.is_over = false;
        self.reopen(&mut run, reopen)
    }

    /// `handle_request` is called: as [`begin`](LifeCycle::begin).
    pub(super) fn begin_request(&self, reopen: impl FnOnce()) -> bool {
        self.reopen(&mut self.run.lock(), reopen)
    }

    fn reopen(&self, run: &mut Run, reopen: impl FnOnce()) -> bool {
        let may_serve = !run.end_is_asked && !self.is_closed();
        if may_serve {
            run.draining_since = None;
            reopen();
            self.phase
                .store(LifecyclePhase::Serving as u8, Ordering::SeqCst);
        }
        may_serve
    }

    /// Whether `serve_forever` is running, and so ends what a shutdown must end.
    pub(super) fn is_running(&self) -> bool {
        self.run.lock().is_running
    }

    /// From now on the server's sockets are to be closed at its end, which must be asked for.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// When the grace time is over. `None` while the server serves, and for a grace time without
    /// end.
    pub(super) fn grace_deadline(&self) -> Option<Instant> {
        let since = self.run.lock().draining_since?;
        deadline(since, Some(self.grace))
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
        drop(self.run.lock());
        self.changed.notify_all();
    }

    /// `serve_forever` has returned, or never will be called.
    pub(super) fn end(&self) {
        let mut run = self.run.lock();
        *run = Run {
            is_over: true,
            draining_since: run.draining_since,
            ..Run::default()
        };
        drop(run);
        self.changed.notify_all();
    }

    /// Waits until [`end`](LifeCycle::end); false when `until` came first. `None` is without end.
    pub(super) fn wait_over(&self, until: Option<Instant>) -> bool {
        self.wait(until, |run| run.is_over)
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

    fn wait(&self, until: Option<Instant>, is_done: impl Fn(&Run) -> bool) -> bool {
        let mut run = self.run.lock();
        while !is_done(&run) {
            match until {
                Some(until) if self.changed.wait_until(&mut run, until).timed_out() => {
                    return is_done(&run);
                }
                Some(_) => {}
                None => self.changed.wait(&mut run),
            }
        }
        true
    }
}
