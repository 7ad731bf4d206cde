//! Which of the pool's threads waits in the poller, which serves connections, and which sleeps.
//!
//! The threads follow the leader/followers pattern. One thread, the *leader*, waits for events. It
//! keeps the first ready connection for itself and puts the others into the ready queue, so a
//! connection is usually served by the thread that received its event. The other idle threads
//! sleep on a stack, and the most recently used one is woken first. A sleeping thread is woken
//! only while fewer threads work than there are cores, and only if the queued work takes longer
//! than a wake-up is worth: two threads that share a handful of short turns need 1.5 times the CPU
//! time of one.
//!
//! The states of a worker thread, and the method that changes each:
//!
//! ```text
//!           add_worker: the pool starts or grows
//!  Absent ──────────────────────────────────────▶ Starting
//!    ▲                                                │ first_task
//!    │ Leave: the pool is closed, or there was        ▼
//!    ├──── no work for `keep_alive` ──────────── take_task ◀────────────────────────┐
//!    │                                            │  │  │                           │
//!    │      nothing to do, or as many threads ┌───┘  │  └───┐ something is ready    │
//!    │                 work as may be awake   │      │      │                       │
//!    │                                        ▼      │      ▼                       │
//!    └─────────────────────────────────── Sleeping   │   Working ── next_task ──────┤
//!                                             │      │      │                       │
//!                                             │      │      │ mark_stuck            │
//!       wake_sleeper: another worker, or      │      │      ▼                       │
//!       the supervisor                        │      │    Stuck ──── next_task ─────┤
//!                                             │      │                              │
//!                                             │      │ no thread leads              │
//!                                             │      └────▶ Leading ─ finish_poll ──┤
//!                                             └─────────────────────────────────────┘
//! ```
//!
//! Only threads in the state `Working` count against the number of threads that may be awake. A
//! `Stuck` thread sleeps in its handler, so another thread takes its place.
//!
//! The supervisor is one more thread. It checks the workers only while there is work to do or no
//! thread leads:
//!
//! ```text
//!                   wake_supervisor
//!  dozing ──────────────────────────────▶ checking every 2 to 16 ms
//!    ▲                                         │ a worker is stuck, and something waits:
//!    │ IDLE_TICKS checks found nothing to do   ├─ a worker sleeps ............. wakes it
//!    └─────────────────────────────────────────┤─ only the leader is free ..... NotifyLeader
//!                                              ├─ the pool may grow ........... Grow
//!                                              └─ every thread is stuck ....... Lead (one tick)
//! ```
//!
//! `Grow` can fail, as the system may refuse a thread. Then the supervisor leads instead, and tries
//! to grow again after a pause ([`thread_failed`](Scheduler::thread_failed)).
//!
//! While all threads make progress, the supervisor checks less and less often. Otherwise it would
//! mistake a thread that only waits for a core for a stuck one, and start more threads than there
//! are cores; that doubled the p99 of 1,000 busy connections.
//!
//! This file knows neither sockets nor connections: a model checker runs it with its own locks and
//! a queue of numbers (`tests/model/`).

use std::collections::VecDeque;
use std::time::Duration;

use super::sync::{Condvar, Mutex, MutexGuard};
use super::usage::TurnUsage;
use super::workers::{SchedulerState, WorkerState};

/// After this many checks that found nothing to do, the supervisor dozes until it is woken. So an
/// idle server has no ticks.
const IDLE_TICKS: u32 = 10;

/// After this many turns (or one tick) without a leader, a thread polls even though work is
/// queued. Otherwise busy clients could starve new connections and delay timeouts indefinitely.
const MAX_TURNS_WITHOUT_LEADER: u32 = 64;

/// While all threads make progress, the time between two checks of the supervisor doubles from one
/// tick up to this many.
const MAX_SUPERVISOR_TICKS: u32 = 8;

/// What a worker thread must do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WorkerTask<T> {
    /// Serve this, then call [`Scheduler::next_task`].
    Work(T),
    /// Wait for events, or only collect those that are there if `without_waiting`, and hand them
    /// to [`Scheduler::finish_poll`].
    Lead { without_waiting: bool },
    /// End: the thread is not needed any more.
    Leave,
}

/// What the supervisor must do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SupervisorTask {
    /// Start a thread for this worker.
    Grow { worker: usize },
    /// Have the leader return from the poller: it is the only free thread, and something is ready.
    NotifyLeader,
    /// Every thread is stuck, and no other can be started: lead for one tick, and hand what is
    /// ready to [`Scheduler::finish_supervisor_poll`].
    Lead,
    /// The pool is closed.
    Leave,
}

/// The figures of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gauges {
    /// Jobs that wait for a thread.
    pub(crate) queued: usize,
    /// Worker threads.
    pub(crate) threads: usize,
    /// Threads that the system refused, since the pool was made.
    pub(crate) thread_failures: u64,
}

/// How many threads a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolSize {
    /// Threads that stay, even without work.
    pub(crate) min_threads: usize,
    /// Threads at most.
    pub(crate) max_threads: usize,
    /// Threads that work at the same time, as long as none is stuck and handlers do not block.
    pub(crate) max_awake: usize,
}

/// Distributes tasks to the threads of a pool, and holds what waits for one.
#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    state: Mutex<SchedulerState<T>>,
    /// One for each possible worker, so that exactly the chosen one is woken.
    wakeups: Box<[Condvar]>,
    supervisor_wakeup: Condvar,
    size: PoolSize,
    /// A worker beyond `min_threads` leaves after this time without work.
    keep_alive: Duration,
}

impl<T> Scheduler<T> {
    pub(crate) fn new(size: PoolSize, keep_alive: Duration) -> Scheduler<T> {
        Scheduler {
            state: Mutex::new(SchedulerState::new()),
            wakeups: (0..size.max_threads).map(|_| Condvar::new()).collect(),
            supervisor_wakeup: Condvar::new(),
            size,
            keep_alive,
        }
    }

    /// Registers a new worker; `None` if the pool has its maximum. The caller starts its
    /// thread, which calls [`first_task`](Scheduler::first_task) with this number.
    pub(crate) fn add_worker(&self) -> Option<usize> {
        let mut state = self.state.lock();
        if state.closed || state.total == self.size.max_threads {
            None
        } else {
            Some(state.add_worker())
        }
    }

    /// What the new worker `me` does first. Sleeps while there is nothing to do.
    pub(crate) fn first_task(&self, me: usize) -> WorkerTask<T> {
        let mut state = self.state.lock();
        state.note_thread_started();
        self.take_task(state, me)
    }

    /// The system refused a thread for worker `me`, which has asked for nothing yet. Its number
    /// is free again, and the supervisor pauses before it starts another thread.
    pub(crate) fn thread_failed(&self, me: usize) {
        self.state.lock().note_thread_failure(me);
    }

    /// What worker `me` does next, after a turn that took `usage`. Sleeps while there is nothing
    /// to do.
    pub(crate) fn next_task(&self, me: usize, usage: TurnUsage) -> WorkerTask<T> {
        let mut state = self.state.lock();
        state.record(usage);
        state.end_task(me);
        self.take_task(state, me)
    }

    /// Leader `me` is back from the poller, and found `ready`. Empties `ready`, and returns what
    /// `me` does next.
    pub(crate) fn finish_poll(&self, me: usize, ready: &mut Vec<T>) -> WorkerTask<T> {
        let mut state = self.state.lock();
        state.end_task(me);
        state.ready.extend(ready.drain(..));
        self.take_task(state, me)
    }

    /// The supervisor is back from the poller, and found `ready`. Empties `ready`.
    pub(crate) fn finish_supervisor_poll(&self, ready: &mut Vec<T>) {
        let mut state = self.state.lock();
        state.end_lead();
        state.ready.extend(ready.drain(..));
        // Even if nothing is ready: a worker that became free meanwhile sleeps, and should lead.
        self.announce_work(state);
    }

    /// Adds what is ready. Returns true if the caller must notify the leader, which then
    /// returns from the poller and takes it.
    #[must_use]
    pub(crate) fn enqueue(&self, jobs: impl IntoIterator<Item = T>) -> bool {
        let mut state = self.state.lock();
        state.ready.extend(jobs);
        self.announce_work(state)
    }

    /// Takes out of the queue what is `wanted`, which is asked with each job's position. The
    /// others keep their order.
    pub(crate) fn extract(&self, mut wanted: impl FnMut(usize, &T) -> bool) -> Vec<T> {
        let mut extracted = Vec::new();
        let mut state = self.state.lock();
        let mut kept = VecDeque::with_capacity(state.ready.len());
        for (position, job) in std::mem::take(&mut state.ready).into_iter().enumerate() {
            if wanted(position, &job) {
                extracted.push(job);
            } else {
                kept.push_back(job);
            }
        }
        state.ready = kept;
        extracted
    }

    /// Looks at every job that waits for a thread.
    pub(crate) fn for_each_ready(&self, look: impl FnMut(&T)) {
        self.state.lock().ready.iter().for_each(look);
    }

    /// As [`enqueue`](Scheduler::enqueue), for a worker that is about to ask for its next task. It
    /// wakes no thread: the worker itself takes the job, unless it becomes stuck first.
    pub(crate) fn requeue(&self, job: T) {
        let mut state = self.state.lock();
        state.ready.push_back(job);
        self.wake_supervisor(&state);
    }

    /// As [`requeue`](Scheduler::requeue), for a job that serves `waiting` connections. Wakes
    /// another thread if they are enough work for that.
    pub(crate) fn requeue_for(&self, job: T, waiting: usize) {
        let mut state = self.state.lock();
        state.ready.push_back(job);
        if state.work_is_worth_waking(waiting)
            && state.working + state.waking < self.max_working(&state)
        {
            self.wake_sleeper(&mut state);
        }
        self.wake_supervisor(&state);
    }

    /// A long turn has ended: if no thread leads, the next task is to look into the poller.
    pub(crate) fn poll_next(&self) {
        self.state.lock().turns_without_leader = MAX_TURNS_WITHOUT_LEADER;
    }

    /// The figures of this moment.
    pub(crate) fn gauges(&self) -> Gauges {
        let state = self.state.lock();
        Gauges {
            queued: state.ready.len(),
            threads: state.total,
            thread_failures: state.thread_failures,
        }
    }

    /// Has every worker leave as soon as its turn is over. Returns what is still ready. The caller
    /// must notify the leader.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut state = self.state.lock();
        state.closed = true;
        while self.wake_sleeper(&mut state) {}
        self.supervisor_wakeup.notify_one();
        state.ready.drain(..).collect()
    }

    /// What the supervisor does next. Returns when there is something to do: it checks every
    /// `tick` while there is work and a thread makes no progress, less often while all do.
    pub(crate) fn supervise(&self, tick: Duration) -> SupervisorTask {
        let mut state = self.state.lock();
        let (mut idle_ticks, mut pause) = (0, tick);
        while !state.closed {
            if idle_ticks == IDLE_TICKS {
                // A worker that takes a job while no thread leads, or leaves one for others, wakes
                // it.
                state.supervisor_dozes = true;
                self.supervisor_wakeup.wait(&mut state);
                state.supervisor_dozes = false;
                state.note_progress();
                (idle_ticks, pause) = (0, tick);
                continue;
            }
            self.supervisor_wakeup.wait_for(&mut state, pause);
            pause = if state.all_progress() {
                (2 * pause).min(MAX_SUPERVISOR_TICKS * tick)
            } else {
                tick
            };
            idle_ticks = if state.needs_thread() {
                0
            } else {
                idle_ticks + 1
            };
            if let Some(task) = self.replace_stuck(&mut state) {
                return task;
            }
        }
        SupervisorTask::Leave
    }

    /// A tick has passed: finds the workers that are stuck, and has others take their places.
    fn replace_stuck(&self, state: &mut SchedulerState<T>) -> Option<SupervisorTask> {
        let stuck = state.mark_stuck();
        let may_grow = state.may_grow(self.size.max_threads);
        if !state.has_leader {
            state.turns_without_leader = MAX_TURNS_WITHOUT_LEADER;
        }
        if !state.needs_thread()
            || state.working + state.waking >= self.max_working(state)
            || (stuck == 0 && state.working > 0 && !state.handlers_block())
        {
            return None;
        }
        if self.wake_sleeper(state) {
            return None;
        }
        if state.has_leader && !(may_grow && state.handlers_block()) {
            return Some(SupervisorTask::NotifyLeader);
        }
        if may_grow {
            return Some(SupervisorTask::Grow {
                worker: state.add_worker(),
            });
        }
        // Set here, under the lock: a worker that becomes free meanwhile must not lead as well.
        // Each of two leaders would overwrite the time until which the other one sleeps.
        state.has_leader = true;
        Some(SupervisorTask::Lead)
    }

    fn take_task(&self, mut state: MutexGuard<'_, SchedulerState<T>>, me: usize) -> WorkerTask<T> {
        loop {
            if state.closed {
                state.remove_worker(me);
                return WorkerTask::Leave;
            }
            if state.working < self.max_working(&state) {
                let must_lead =
                    !state.has_leader && state.turns_without_leader >= MAX_TURNS_WITHOUT_LEADER;
                if !must_lead && let Some(job) = state.ready.pop_front() {
                    self.begin_work(&mut state, me);
                    return WorkerTask::Work(job);
                }
                if !state.has_leader {
                    state.has_leader = true;
                    state.set_state(me, WorkerState::Leading);
                    return WorkerTask::Lead {
                        without_waiting: !state.ready.is_empty(),
                    };
                }
            }
            if !self.sleep(&mut state, me) {
                state.remove_worker(me);
                return WorkerTask::Leave;
            }
        }
    }

    /// Worker `me` has taken a job.
    fn begin_work(&self, state: &mut SchedulerState<T>, me: usize) {
        state.turns_without_leader += 1;
        state.working += 1;
        state.set_state(me, WorkerState::Working);
        if state.is_worth_waking() && state.working + state.waking < self.max_working(state) {
            self.wake_sleeper(state);
        }
        self.wake_supervisor(state);
    }

    /// Worker `me` sleeps until it is woken. False if it was not needed for so long that it should
    /// leave.
    fn sleep(&self, state: &mut MutexGuard<'_, SchedulerState<T>>, me: usize) -> bool {
        self.wake_supervisor(state);
        state.sleeping.push(me);
        state.set_state(me, WorkerState::Sleeping);
        let timed_out = if state.total > self.size.min_threads {
            self.wakeups[me]
                .wait_for(state, self.keep_alive)
                .timed_out()
        } else {
            self.wakeups[me].wait(state);
            false
        };
        let was_woken = !state.remove_sleeper(me);
        if was_woken {
            state.waking -= 1;
        }
        was_woken || !timed_out || state.total <= self.size.min_threads
    }

    /// How many threads may work at the same time; stuck ones are not counted.
    fn max_working(&self, state: &SchedulerState<T>) -> usize {
        if state.handlers_block() {
            self.size.max_threads
        } else {
            self.size.max_awake
        }
    }

    fn wake_sleeper(&self, state: &mut SchedulerState<T>) -> bool {
        let Some(sleeper) = state.sleeping.pop() else {
            return false;
        };
        state.waking += 1;
        self.wakeups[sleeper].notify_one();
        true
    }

    /// Work came from a thread that will not take it itself. Returns true if the leader must be
    /// notified.
    fn announce_work(&self, mut state: MutexGuard<'_, SchedulerState<T>>) -> bool {
        if state.working + state.waking < self.max_working(&state) && !self.wake_sleeper(&mut state)
        {
            return state.has_leader;
        }
        self.wake_supervisor(&state);
        false
    }

    /// Has the supervisor check whether a thread is stuck, if anything depends on that.
    fn wake_supervisor(&self, state: &SchedulerState<T>) {
        if state.supervisor_dozes && state.needs_thread() {
            self.supervisor_wakeup.notify_one();
        }
    }
}
