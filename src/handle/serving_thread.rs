//! The thread of `serve_forever`, and what a wait for a peer must hear.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, ThreadId};
use std::time::Instant;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Core, LifecyclePhase};
use crate::buffer::Interrupt;
use crate::clock::Clock;

/// Which thread is in `serve_forever` or `handle_request`. In some concurrency models it runs
/// handlers itself; while it waits for a peer, no other thread listens for signals or would end its
/// wait at the end of the grace period.
#[derive(Debug, Default)]
pub(super) struct ServingThread(Mutex<Option<ThreadId>>);

impl Core {
    /// The calling thread serves from now on.
    pub(crate) fn set_serving_thread(&self) {
        *self.serving_thread.0.lock() = Some(thread::current().id());
    }

    pub(super) fn is_serving_thread(&self) -> bool {
        *self.serving_thread.0.lock() == Some(thread::current().id())
    }

    /// Whether what [`wake_fd`](Interrupt::wake_fd) names is readable. One system call.
    pub(crate) fn is_wake_pending(&self) -> bool {
        self.wake_fd().is_some_and(|fd| {
            let mut fds = [PollFd::new(&fd, PollFlags::IN)];
            // After an error the next look shows it.
            poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        })
    }
}

impl Interrupt for Core {
    /// Only the serving thread may listen to the wake pipe. A byte that another thread takes from
    /// it would leave the serving thread asleep; so the others listen for the end of the server. In
    /// a forked child the wake pipe is the parent's.
    ///
    /// The serving thread goes on listening while it drains: an abort must still reach it. The
    /// others are aborted by the serving thread, which shuts their sockets down.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        let phase = self.phase();
        if !self.is_forked() && self.is_serving_thread() {
            (phase < LifecyclePhase::Aborting).then(|| self.wake_pipe.as_fd())
        } else {
            (phase == LifecyclePhase::Serving).then(|| self.wake_pipe.closing())
        }
    }

    fn handle_wake(&self) {
        if self.is_forked() {
            // The parent knows: only this process learns of it here.
            self.life_cycle.enter(LifecyclePhase::Draining, || {});
            self.phase_changed();
        } else if self.is_serving_thread() {
            Core::handle_wake(self);
        }
    }

    fn clock(&self) -> &Clock {
        &self.config.clock
    }

    fn is_draining(&self) -> bool {
        !self.is_serving()
    }

    fn abort_at(&self) -> Option<Instant> {
        let phase = self.phase();
        if phase == LifecyclePhase::Serving || self.is_forked() || !self.is_serving_thread() {
            return None;
        }
        if phase == LifecyclePhase::Aborting {
            return Some(Instant::now());
        }
        self.life_cycle.grace_deadline()
    }

    fn count_abort(&self) {
        self.stats.aborted.fetch_add(1, Relaxed);
    }
}
