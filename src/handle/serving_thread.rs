//! The thread of `serve_forever`, and what a wait for a peer on it must hear.

use std::os::fd::{AsFd, BorrowedFd};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Core, LifecyclePhase};
use crate::buffer::Interrupt;
use crate::clock::deadline;

/// Which thread is in `serve_forever` or `handle_request`. In some concurrency models it runs
/// handlers itself; while it waits for a peer, nobody else listens for signals, and nobody else
/// would end its wait at the end of the grace period.
#[derive(Default)]
pub(super) struct ServingThread(Mutex<Option<Serving>>);

struct Serving {
    thread: ThreadId,
    grace: Duration,
    /// The end of the grace period; known once the thread has noticed the shutdown.
    abort_at: Option<Instant>,
}

impl Core {
    /// The calling thread serves from now on. `grace` is what requests in flight get after a
    /// shutdown.
    pub(crate) fn set_serving_thread(&self, grace: Duration) {
        *self.serving_thread.0.lock() = Some(Serving {
            thread: thread::current().id(),
            grace,
            abort_at: None,
        });
    }

    fn is_serving_thread(&self) -> bool {
        let serving = self.serving_thread.0.lock();
        serving
            .as_ref()
            .is_some_and(|serving| serving.thread == thread::current().id())
    }
}

impl Interrupt for Core {
    /// Only the serving thread may listen to the wake pipe. A byte that another thread takes from
    /// it would leave the serving thread asleep; so the others listen for the end of the server. In
    /// a forked child the wake pipe is the parent's.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        if !self.is_serving() {
            None
        } else if !self.life_cycle.is_forked() && self.is_serving_thread() {
            Some(self.wake_pipe.as_fd())
        } else {
            Some(self.wake_pipe.closing())
        }
    }

    fn handle_wake(&self) {
        if self.life_cycle.is_forked() {
            self.enter(LifecyclePhase::Draining);
        } else if self.is_serving_thread() {
            Core::handle_wake(self);
        }
    }

    fn is_draining(&self) -> bool {
        !self.is_serving()
    }

    fn abort_at(&self) -> Option<Instant> {
        if self.is_serving() || self.life_cycle.is_forked() {
            return None;
        }
        let mut serving = self.serving_thread.0.lock();
        let serving = serving
            .as_mut()
            .filter(|serving| serving.thread == thread::current().id())?;
        if serving.abort_at.is_none() {
            serving.abort_at = deadline(Instant::now(), Some(serving.grace));
        }
        serving.abort_at
    }
}
