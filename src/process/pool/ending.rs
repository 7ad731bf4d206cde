//! The queue of the pool's reserved thread: connections that only have to end.
//!
//! A connection whose deadline has passed, or whose server goes down, needs a thread for the last
//! calls of its handler (`on_timeout`, `finish`). While every thread of the pool is stuck in a
//! handler, that could take forever, and idle timeouts would have no effect. So the pool has one
//! thread beyond `max_threads`, which serves nothing else. It sleeps until the supervisor finds
//! that all others are stuck.
//!
//! The user's `finish` may block as well. So a worker that becomes free takes what the reserved
//! thread has not begun.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::sync::{Condvar, Mutex};

pub(super) struct EndingQueue<T> {
    state: Mutex<EndingState<T>>,
    wakeup: Condvar,
    /// Whether something was pushed since a worker last looked: read after every turn, so without
    /// the lock. A worker that reads an old value looks after its next turn.
    pushed: AtomicBool,
}

struct EndingState<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

impl<T> EndingQueue<T> {
    pub(super) fn new() -> EndingQueue<T> {
        EndingQueue {
            state: Mutex::new(EndingState {
                jobs: VecDeque::new(),
                closed: false,
            }),
            wakeup: Condvar::new(),
            pushed: AtomicBool::new(false),
        }
    }

    pub(super) fn push(&self, jobs: Vec<T>) {
        if !jobs.is_empty() {
            self.state.lock().jobs.extend(jobs);
            self.pushed.store(true, Relaxed);
            self.wakeup.notify_one();
        }
    }

    /// Waits for the next job. `None` when the pool is closed.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            self.wakeup.wait(&mut state);
        }
    }

    /// For a worker that is free: takes everything that is still queued.
    #[inline]
    pub(super) fn take_back(&self) -> Vec<T> {
        if self.pushed.load(Relaxed) && self.pushed.swap(false, Relaxed) {
            self.extract(|_| true)
        } else {
            Vec::new()
        }
    }

    /// Takes out what is `wanted`.
    pub(super) fn extract(&self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.state.lock();
        let (extracted, kept): (VecDeque<T>, _) = std::mem::take(&mut state.jobs)
            .into_iter()
            .partition(|job| wanted(job));
        state.jobs = kept;
        extracted.into()
    }

    /// Has the reserved thread end. Returns what is still queued.
    pub(super) fn close(&self) -> VecDeque<T> {
        let mut state = self.state.lock();
        state.closed = true;
        self.wakeup.notify_one();
        std::mem::take(&mut state.jobs)
    }
}
