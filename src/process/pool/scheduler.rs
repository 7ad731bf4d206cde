//! Leader and followers: which of the pool's threads waits in the poller, which works, and which
//! sleeps.
//!
//! One thread leads: it waits for events. It takes the first for itself and leaves the rest in the
//! ready queue, so that a connection is mostly served by the thread that learnt of it. Followers
//! sleep on a stack; the most recently used is woken first, only while fewer threads work than
//! there are cores, and if what is ready would take longer than the waking is worth: two threads
//! that share a handful of short turns cost half as much again as one.
//!
//! A supervisor looks, only while there is work and nobody leads, for threads that stay in a
//! handler: these no longer count as working, so another is woken or started. While all threads get
//! on, it looks ever more seldom: a thread that merely waits for a core would else be taken for
//! stuck, and crowding the cores doubled the p99 of 1,000 busy connections.
//!
//! This file knows neither sockets nor connections: a model checker runs it with its own locks and
//! a queue of numbers (`tests/model/`).

use std::collections::VecDeque;
use std::time::Duration;

use super::sync::{Condvar, Mutex, MutexGuard};
use super::usage::TurnUsage;

/// After so many ticks without a need, the supervisor sleeps until it is rung: an idle server has
/// no ticks.
const IDLE_TICKS: u32 = 10;

/// After so many turns, or a tick, in which nobody led, somebody looks into the poller even if
/// there is work: clients that never pause would else keep out newcomers, and hold up deadlines,
/// for ever.
const MAX_TURNS_WITHOUT_LEADER: u32 = 64;

/// While all threads get on, the time between two looks of the supervisor grows from one tick to so
/// many.
const MAX_SUPERVISOR_TICKS: u32 = 8;

/// A sleeping thread is woken for work that would keep the others busy for so long.
const MIN_WORK_TO_WAKE: Duration = Duration::from_micros(50);

/// Where turns usually sleep so long, handlers block: somebody else leads meanwhile, even if
/// nothing is ready yet, and as many threads work as there may be.
const BLOCKING_SLEEP: Duration = Duration::from_micros(500);

/// What a thread is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WorkerTask<T> {
    /// Serve this.
    Work(T),
    /// Wait for events, or only look for them if `without_waiting`, and hand them to
    /// [`Scheduler::publish`].
    Lead { without_waiting: bool },
    /// End: the thread isn't needed any more.
    Leave,
}

/// What the supervisor is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SupervisorTask {
    /// Add a worker, then look again.
    Grow { worker: usize },
    /// Of all threads only the leader is free, and something is ready: notify it.
    Recall,
    /// Everybody is stuck: lead for a moment, and hand what is ready to [`Scheduler::resign`].
    Lead,
    /// The pool is closed.
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkerState {
    /// No such worker.
    Nothing,
    Following,
    Leading,
    Working,
    /// Working for so long that it doesn't count.
    Stuck,
}

#[derive(Debug)]
struct Worker {
    doing: WorkerState,
    /// How often it took something up; standing still means that it is stuck.
    turns: u64,
    turns_at_tick: u64,
}

#[derive(Debug)]
struct SchedulerState<T> {
    ready: VecDeque<T>,
    workers: Vec<Worker>,
    followers: Vec<usize>,
    led: bool,
    /// Turns since somebody last led; counts only while nobody does.
    turns_without_leader: u32,
    /// What a turn took of late: an average that forgets.
    average_turn: Duration,
    /// For how long its thread slept meanwhile.
    average_sleep: Duration,
    working: usize,
    /// Followers that were woken and haven't yet looked what there is.
    waking: usize,
    total: usize,
    supervisor_sleeps: bool,
    closed: bool,
}

/// How many threads a pool may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolSize {
    /// Threads that stay.
    pub(crate) least: usize,
    /// Threads at most.
    pub(crate) most: usize,
    /// Threads that work at the same time, as long as none is stuck and handlers don't block.
    pub(crate) awake: usize,
}

/// The turns of a pool's threads, and what waits for one.
#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    state: Mutex<SchedulerState<T>>,
    /// One for each possible worker, so that just the right one is woken.
    bells: Box<[Condvar]>,
    supervisor: Condvar,
    size: PoolSize,
    /// A follower of a pool that has grown leaves after this time without work.
    keep_alive: Duration,
}

impl<T> Scheduler<T> {
    pub(crate) fn new(size: PoolSize, keep_alive: Duration) -> Scheduler<T> {
        Scheduler {
            state: Mutex::new(SchedulerState {
                ready: VecDeque::new(),
                workers: Vec::new(),
                followers: Vec::new(),
                led: false,
                turns_without_leader: 0,
                average_turn: MIN_WORK_TO_WAKE,
                average_sleep: Duration::ZERO,
                working: 0,
                waking: 0,
                total: 0,
                supervisor_sleeps: false,
                closed: false,
            }),
            bells: (0..size.most).map(|_| Condvar::new()).collect(),
            supervisor: Condvar::new(),
            size,
            keep_alive,
        }
    }

    /// Registers a new worker; `None` when there are enough. The caller starts its thread, which
    /// calls [`next`](Scheduler::next) with this number.
    pub(crate) fn join(&self) -> Option<usize> {
        let mut state = self.state.lock();
        if state.closed || state.total == self.size.most {
            None
        } else {
            Some(state.join())
        }
    }

    /// What the new worker `me` does first. Sleeps while there is nothing.
    pub(crate) fn begin(&self, me: usize) -> WorkerTask<T> {
        self.take_turn(self.state.lock(), me)
    }

    /// What worker `me`, who has `usage` so much on its turn, does next. Sleeps while there is
    /// nothing.
    pub(crate) fn next(&self, me: usize, usage: TurnUsage) -> WorkerTask<T> {
        let mut state = self.state.lock();
        state.average_turn = (state.average_turn * 15 + usage.turn) / 16;
        if let Some(asleep) = usage.asleep {
            state.average_sleep = (state.average_sleep * 15 + asleep) / 16;
        }
        state.finish(me);
        self.take_turn(state, me)
    }

    /// Leader `me` has come back from the poller with `ready` (to which it appended); it gets its
    /// next turn.
    pub(crate) fn publish(&self, me: usize, ready: &mut Vec<T>) -> WorkerTask<T> {
        let mut state = self.state.lock();
        state.finish(me);
        state.ready.extend(ready.drain(..));
        self.take_turn(state, me)
    }

    /// The supervisor has led for a moment, and `ready` is what it found.
    pub(crate) fn resign(&self, ready: &mut Vec<T>) {
        let mut state = self.state.lock();
        state.end_lead();
        state.ready.extend(ready.drain(..));
        // Even if nothing is ready: whoever came free meanwhile sleeps, and should lead.
        self.has_new_work(state);
    }

    /// Adds something that is ready. True if the leader should come back from the poller for it.
    #[must_use]
    pub(crate) fn enqueue(&self, job: T) -> bool {
        let mut state = self.state.lock();
        state.ready.push_back(job);
        self.has_new_work(state)
    }

    /// As [`enqueue`](Scheduler::enqueue), for what the calling worker is about to take itself,
    /// unless it gets stuck first.
    pub(crate) fn requeue(&self, job: T) {
        let mut state = self.state.lock();
        state.ready.push_back(job);
        self.wake_supervisor(&state);
    }

    /// How many are ready, how many threads work (stuck ones too), and how many threads there are.
    pub(crate) fn gauges(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        let busy = state
            .workers
            .iter()
            .filter(|w| matches!(w.doing, WorkerState::Working | WorkerState::Stuck))
            .count();
        (state.ready.len(), busy, state.total)
    }

    /// Has every thread leave as soon as it is done; what is still ready is given back. The leader
    /// must be notified by the caller.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut state = self.state.lock();
        state.closed = true;
        while self.wake_follower(&mut state) {}
        self.supervisor.notify_one();
        state.ready.drain(..).collect()
    }

    /// What the supervisor does next: looks every `tick` while there is work and a thread doesn't
    /// get on, more seldom while all do. Call it again after having obeyed.
    pub(crate) fn supervise(&self, tick: Duration) -> SupervisorTask {
        let mut state = self.state.lock();
        let (mut idle_ticks, mut pause) = (0, tick);
        while !state.closed {
            if idle_ticks == IDLE_TICKS {
                // Whoever works while nobody leads, or leaves something ready for others, rouses
                // it.
                state.supervisor_sleeps = true;
                self.supervisor.wait(&mut state);
                state.supervisor_sleeps = false;
                state.note_turns();
                (idle_ticks, pause) = (0, tick);
                continue;
            }
            self.supervisor.wait_for(&mut state, pause);
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
            if let Some(order) = self.replace_stuck(&mut state) {
                return order;
            }
        }
        SupervisorTask::Leave
    }

    /// A tick has passed: finds the stuck, and replaces them.
    fn replace_stuck(&self, state: &mut SchedulerState<T>) -> Option<SupervisorTask> {
        let stuck = state.mark_stuck();
        if !state.led {
            state.turns_without_leader = MAX_TURNS_WITHOUT_LEADER;
        }
        if !state.needs_thread()
            || state.working + state.waking >= self.max_working(state)
            || (stuck == 0 && state.working > 0 && !state.handlers_block())
        {
            return None;
        }
        if self.wake_follower(state) {
            return None;
        }
        let may_grow = state.total < self.size.most;
        if state.led && !(may_grow && state.handlers_block()) {
            return Some(SupervisorTask::Recall);
        }
        if may_grow {
            return Some(SupervisorTask::Grow {
                worker: state.join(),
            });
        }
        // A worker that comes free meanwhile must not lead as well: each would undo what the other
        // noted about its sleep.
        state.led = true;
        Some(SupervisorTask::Lead)
    }

    fn take_turn(&self, mut state: MutexGuard<'_, SchedulerState<T>>, me: usize) -> WorkerTask<T> {
        loop {
            if state.closed {
                return state.leave(me);
            }
            if state.working < self.max_working(&state) {
                let must_lead =
                    !state.led && state.turns_without_leader >= MAX_TURNS_WITHOUT_LEADER;
                if !must_lead && let Some(job) = state.ready.pop_front() {
                    state.turns_without_leader += 1;
                    state.working += 1;
                    state.set(me, WorkerState::Working);
                    if state.is_worth_waking()
                        && state.working + state.waking < self.max_working(&state)
                    {
                        self.wake_follower(&mut state);
                    }
                    self.wake_supervisor(&state);
                    return WorkerTask::Work(job);
                }
                if !state.led {
                    state.led = true;
                    state.set(me, WorkerState::Leading);
                    return WorkerTask::Lead {
                        without_waiting: !state.ready.is_empty(),
                    };
                }
            }
            self.wake_supervisor(&state);
            state.followers.push(me);
            state.set(me, WorkerState::Following);
            let timed_out = if state.total > self.size.least {
                self.bells[me]
                    .wait_for(&mut state, self.keep_alive)
                    .timed_out()
            } else {
                self.bells[me].wait(&mut state);
                false
            };
            let unasked = state.forget_follower(me);
            if !unasked {
                state.waking -= 1;
            }
            if timed_out && unasked && state.total > self.size.least {
                return state.leave(me);
            }
        }
    }

    /// How many threads may work at the same time, stuck ones not counted.
    fn max_working(&self, state: &SchedulerState<T>) -> usize {
        if state.handlers_block() {
            self.size.most
        } else {
            self.size.awake
        }
    }

    fn wake_follower(&self, state: &mut SchedulerState<T>) -> bool {
        let Some(follower) = state.followers.pop() else {
            return false;
        };
        state.waking += 1;
        self.bells[follower].notify_one();
        true
    }

    /// Work came from outside the turns: somebody must take it up.
    fn has_new_work(&self, mut state: MutexGuard<'_, SchedulerState<T>>) -> bool {
        if state.working + state.waking < self.max_working(&state)
            && !self.wake_follower(&mut state)
        {
            return state.led;
        }
        self.wake_supervisor(&state);
        false
    }

    /// As many threads work as may: the supervisor must see whether one is stuck.
    fn wake_supervisor(&self, state: &SchedulerState<T>) {
        if state.supervisor_sleeps && state.needs_thread() {
            self.supervisor.notify_one();
        }
    }
}

impl<T> SchedulerState<T> {
    fn join(&mut self) -> usize {
        self.total += 1;
        // A new worker is about to ask for its turn: until then it is as good as working on
        // nothing.
        let worker = Worker {
            doing: WorkerState::Stuck,
            turns: 0,
            turns_at_tick: 0,
        };
        match self
            .workers
            .iter()
            .position(|worker| worker.doing == WorkerState::Nothing)
        {
            Some(free) => {
                self.workers[free] = worker;
                free
            }
            None => {
                self.workers.push(worker);
                self.workers.len() - 1
            }
        }
    }

    fn set(&mut self, me: usize, doing: WorkerState) {
        self.workers[me].doing = doing;
        self.workers[me].turns += 1;
    }

    fn finish(&mut self, me: usize) {
        match self.workers[me].doing {
            WorkerState::Working => self.working -= 1,
            WorkerState::Leading => self.end_lead(),
            WorkerState::Stuck | WorkerState::Following | WorkerState::Nothing => {}
        }
        self.workers[me].doing = WorkerState::Following;
    }

    fn end_lead(&mut self) {
        self.led = false;
        self.turns_without_leader = 0;
    }

    fn leave(&mut self, me: usize) -> WorkerTask<T> {
        self.workers[me].doing = WorkerState::Nothing;
        self.total -= 1;
        WorkerTask::Leave
    }

    /// Takes `me` off the stack; false if somebody has done so to wake it.
    fn forget_follower(&mut self, me: usize) -> bool {
        let at = self.followers.iter().rposition(|&follower| follower == me);
        at.map(|at| self.followers.remove(at)).is_some()
    }

    /// Nobody leads, or something waits for a thread.
    fn needs_thread(&self) -> bool {
        !self.led || !self.ready.is_empty()
    }

    fn handlers_block(&self) -> bool {
        self.average_sleep >= BLOCKING_SLEEP
    }

    /// Another thread would be of more use than its waking costs.
    fn is_worth_waking(&self) -> bool {
        let waiting = u32::try_from(self.ready.len()).unwrap_or(u32::MAX);
        self.average_turn.saturating_mul(waiting) >= MIN_WORK_TO_WAKE
            || !self.led && self.handlers_block()
    }

    /// No worker has been in one handler since the last look.
    fn all_progress(&self) -> bool {
        self.workers.iter().all(|worker| {
            worker.doing != WorkerState::Working || worker.turns != worker.turns_at_tick
        })
    }

    fn note_turns(&mut self) {
        for worker in &mut self.workers {
            worker.turns_at_tick = worker.turns;
        }
    }

    /// How many workers were found to be stuck since the last tick.
    fn mark_stuck(&mut self) -> usize {
        let mut stuck = 0;
        for worker in &mut self.workers {
            if worker.doing == WorkerState::Working && worker.turns == worker.turns_at_tick {
                worker.doing = WorkerState::Stuck;
                stuck += 1;
            }
            worker.turns_at_tick = worker.turns;
        }
        self.working -= stuck;
        stuck
    }
}
