//! The connections that others have woken.
//!
//! A broadcast wakes all members of a group. They wait here, and the scheduler's queue has one job
//! for all of them. So they do not count as clients that wait for a thread
//! ([`max_queue`](crate::Limits::max_queue)), and do not delay those clients.
//!
//! A thread that takes the job queues it again if several connections wait, and then takes them one
//! by one, for a limited number and time. So several threads can serve them, and none waits behind
//! a handler that blocks. Between two batches a thread looks into the poller. What has arrived,
//! such as the next broadcast, then reaches the connections that still wait in the same write.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::engine::{Action, Job, Pool};
use super::sync::{Mutex, thread_local};
use crate::process::registry::ConnectionKey;
use crate::session::Session;

/// Woken connections that a thread serves before it looks for other work.
const CONNECTIONS_PER_TURN: u32 = 32;
/// No further one is begun after this time.
const MAX_WOKEN_TURN: Duration = Duration::from_micros(400);
/// After a turn with at least this many connections, a thread looks into the poller.
const MIN_CONNECTIONS_TO_POLL: u32 = 8;

thread_local! {
    /// The address of the pool that this thread is a worker of.
    static POOL_OF_WORKER: Cell<usize> = const { Cell::new(0) };
}

/// What waits for the one job of the scheduler.
pub(super) struct WokenQueue<T> {
    state: Mutex<WokenState<T>>,
}

struct WokenState<T> {
    waiting: VecDeque<T>,
    /// Whether the job is in the scheduler's queue. It always is if something waits, except for
    /// the moment in which a thread queues it.
    has_job: bool,
}

/// A connection that its holder has taken out of its slot.
pub(super) type Woken = (ConnectionKey, Box<Session>);

impl<T> WokenQueue<T> {
    pub(super) fn new() -> WokenQueue<T> {
        WokenQueue {
            state: Mutex::new(WokenState {
                waiting: VecDeque::new(),
                has_job: false,
            }),
        }
    }

    /// Adds what was woken. True if the caller must queue the job.
    #[must_use]
    fn push(&self, woken: Vec<T>) -> bool {
        let mut state = self.state.lock();
        state.waiting.extend(woken);
        !std::mem::replace(&mut state.has_job, true)
    }

    /// A thread has taken the job. Returns how many wait besides the first one. If there are any,
    /// the caller must queue the job again.
    #[must_use]
    fn begin(&self) -> usize {
        let mut state = self.state.lock();
        let others = state.waiting.len().saturating_sub(1);
        state.has_job = others > 0;
        others
    }

    fn pop(&self) -> Option<T> {
        self.state.lock().waiting.pop_front()
    }

    /// Takes out what is `wanted`.
    pub(super) fn extract(&self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.state.lock();
        let (extracted, kept): (VecDeque<T>, _) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition(|woken| wanted(woken));
        state.waiting = kept;
        extracted.into()
    }

    /// Calls `look` for everything that waits.
    pub(super) fn for_each(&self, look: impl FnMut(&T)) {
        self.state.lock().waiting.iter().for_each(look);
    }

    /// How many wait, and how many jobs the scheduler has for them: 0 or 1.
    pub(super) fn len_and_jobs(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.waiting.len(), usize::from(state.has_job))
    }
}

impl Pool {
    /// The present thread is one of the pool's workers.
    pub(super) fn mark_worker(&self) {
        POOL_OF_WORKER.with(|pool| pool.set(self.address()));
    }

    fn is_on_worker(&self) -> bool {
        POOL_OF_WORKER.with(|pool| pool.get() == self.address())
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Has woken connections served.
    pub(super) fn queue_woken(&self, woken: Vec<Woken>) {
        let count = woken.len();
        if count > 0 && self.woken.push(woken) {
            if self.is_on_worker() {
                // The handler that has woken them will return soon, and its thread is free then.
                self.scheduler.requeue_for(Job::Woken, count);
            } else {
                self.enqueue([Job::Woken]);
            }
        }
    }

    /// Serves connections that others have woken, from `begun` on. Returns how many.
    pub(super) fn serve_woken(&self, begun: Instant) -> u32 {
        let others = self.woken.begin();
        if others > 0 {
            // Before a handler runs: if it blocks, another thread serves the rest.
            self.scheduler.requeue_for(Job::Woken, others);
        }
        let mut now = begun;
        let mut served = 0;
        while let Some((key, session)) = self.woken.pop() {
            if let Some(job) = self.serve_connection(Some(key), session, Action::Advance, now) {
                self.scheduler.requeue(job);
            }
            served += 1;
            now = self.clock.now();
            let took = now.saturating_duration_since(begun);
            if served == CONNECTIONS_PER_TURN || took >= MAX_WOKEN_TURN {
                break;
            }
        }
        if served >= MIN_CONNECTIONS_TO_POLL {
            self.scheduler.poll_next();
        }
        served
    }
}
