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

use super::spent::Spent;
use super::sync::{Condvar, Mutex, MutexGuard};

/// After so many ticks without a need, the supervisor sleeps until it is rung: an idle server has
/// no ticks.
const CALM_TICKS: u32 = 10;

/// After so many turns, or a tick, in which nobody led, somebody looks into the poller even if
/// there is work: clients that never pause would else keep out newcomers, and hold up deadlines,
/// for ever.
const MOST_TURNS_UNLED: u32 = 64;

/// While all threads get on, the time between two looks of the supervisor grows from one tick to so
/// many.
const MOST_TICKS_BETWEEN_LOOKS: u32 = 8;

/// A sleeping thread is woken for work that would keep the others busy for so long.
const WORTH_WAKING: Duration = Duration::from_micros(50);

/// Where turns usually sleep so long, handlers block: somebody else leads meanwhile, even if
/// nothing is ready yet, and as many threads work as there may be.
const LONG_SLEEP: Duration = Duration::from_micros(500);

/// What a thread is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<T> {
    /// Serve this.
    Work(T),
    /// Wait for events, or only look for them if `at_once`, and hand them to [`Lead::publish`].
    Lead { at_once: bool },
    /// End: the thread isn't needed any more.
    Leave,
}

/// What the supervisor is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Add a worker, then look again.
    Grow { worker: usize },
    /// Of all threads only the leader is free, and something is ready: notify it.
    Recall,
    /// Everybody is stuck: lead for a moment, and hand what is ready to [`Lead::resign`].
    Lead,
    /// The pool is closed.
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
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
    doing: Doing,
    /// How often it took something up; standing still means that it is stuck.
    turns: u64,
    turns_at_tick: u64,
}

#[derive(Debug)]
struct State<T> {
    ready: VecDeque<T>,
    workers: Vec<Worker>,
    followers: Vec<usize>,
    led: bool,
    /// Turns since somebody last led; counts only while nobody does.
    turns_unled: u32,
    /// What a turn took of late: an average that forgets.
    usual_turn: Duration,
    /// For how long its thread slept meanwhile.
    usual_sleep: Duration,
    working: usize,
    /// Followers that were woken and haven't yet looked what there is.
    waking: usize,
    total: usize,
    supervisor_dozes: bool,
    closed: bool,
}

/// How many threads a pool may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Threads that stay.
    pub(crate) least: usize,
    /// Threads at most.
    pub(crate) most: usize,
    /// Threads that work at the same time, as long as none is stuck and handlers don't block.
    pub(crate) awake: usize,
}

/// The turns of a pool's threads, and what waits for one.
#[derive(Debug)]
pub(crate) struct Lead<T> {
    state: Mutex<State<T>>,
    /// One for each possible worker, so that just the right one is woken.
    bells: Box<[Condvar]>,
    supervisor: Condvar,
    size: Size,
    /// A follower of a pool that has grown leaves after this time without work.
    linger: Duration,
}

impl<T> Lead<T> {
    pub(crate) fn new(size: Size, linger: Duration) -> Lead<T> {
        Lead {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                workers: Vec::new(),
                followers: Vec::new(),
                led: false,
                turns_unled: 0,
                usual_turn: WORTH_WAKING,
                usual_sleep: Duration::ZERO,
                working: 0,
                waking: 0,
                total: 0,
                supervisor_dozes: false,
                closed: false,
            }),
            bells: (0..size.most).map(|_| Condvar::new()).collect(),
            supervisor: Condvar::new(),
            size,
            linger,
        }
    }

    /// Registers a new worker; `None` when there are enough. The caller starts its thread, which
    /// calls [`next`](Lead::next) with this number.
    pub(crate) fn join(&self) -> Option<usize> {
        let mut state = self.state.lock();
        if state.closed || state.total == self.size.most {
            None
        } else {
            Some(state.join())
        }
    }

    /// What the new worker `me` does first. Sleeps while there is nothing.
    pub(crate) fn begin(&self, me: usize) -> Turn<T> {
        self.take_turn(self.state.lock(), me)
    }

    /// What worker `me`, who has `spent` so much on its turn, does next. Sleeps while there is
    /// nothing.
    pub(crate) fn next(&self, me: usize, spent: Spent) -> Turn<T> {
        let mut state = self.state.lock();
        state.usual_turn = (state.usual_turn * 15 + spent.turn) / 16;
        if let Some(asleep) = spent.asleep {
            state.usual_sleep = (state.usual_sleep * 15 + asleep) / 16;
        }
        state.finish(me);
        self.take_turn(state, me)
    }

    /// Leader `me` has come back from the poller with `ready` (to which it appended); it gets its
    /// next turn.
    pub(crate) fn publish(&self, me: usize, ready: &mut Vec<T>) -> Turn<T> {
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

    /// As [`enqueue`](Lead::enqueue), for what the calling worker is about to take itself, unless
    /// it gets stuck first.
    pub(crate) fn enqueue_quietly(&self, job: T) {
        let mut state = self.state.lock();
        state.ready.push_back(job);
        self.rouse_supervisor(&state);
    }

    /// How many are ready, how many threads work (stuck ones too), and how many threads there are.
    pub(crate) fn gauges(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        let busy = state
            .workers
            .iter()
            .filter(|w| matches!(w.doing, Doing::Working | Doing::Stuck))
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
    pub(crate) fn supervise(&self, tick: Duration) -> Order {
        let mut state = self.state.lock();
        let (mut calm, mut pause) = (0, tick);
        while !state.closed {
            if calm == CALM_TICKS {
                // Whoever works while nobody leads, or leaves something ready for others, rouses
                // it.
                state.supervisor_dozes = true;
                self.supervisor.wait(&mut state);
                state.supervisor_dozes = false;
                state.note_turns();
                (calm, pause) = (0, tick);
                continue;
            }
            self.supervisor.wait_for(&mut state, pause);
            pause = if state.all_get_on() {
                (2 * pause).min(MOST_TICKS_BETWEEN_LOOKS * tick)
            } else {
                tick
            };
            calm = if state.lacks_a_thread() { 0 } else { calm + 1 };
            if let Some(order) = self.mend(&mut state) {
                return order;
            }
        }
        Order::Leave
    }

    /// A tick has passed: finds the stuck, and replaces them.
    fn mend(&self, state: &mut State<T>) -> Option<Order> {
        let stuck = state.mark_stuck();
        if !state.led {
            state.turns_unled = MOST_TURNS_UNLED;
        }
        if !state.lacks_a_thread()
            || state.working + state.waking >= self.most_working(state)
            || (stuck == 0 && state.working > 0 && !state.handlers_block())
        {
            return None;
        }
        if self.wake_follower(state) {
            return None;
        }
        let may_grow = state.total < self.size.most;
        if state.led && !(may_grow && state.handlers_block()) {
            return Some(Order::Recall);
        }
        if may_grow {
            return Some(Order::Grow {
                worker: state.join(),
            });
        }
        // A worker that comes free meanwhile must not lead as well: each would undo what the other
        // noted about its sleep.
        state.led = true;
        Some(Order::Lead)
    }

    fn take_turn(&self, mut state: MutexGuard<'_, State<T>>, me: usize) -> Turn<T> {
        loop {
            if state.closed {
                return state.leave(me);
            }
            if state.working < self.most_working(&state) {
                let somebody_must_lead = !state.led && state.turns_unled >= MOST_TURNS_UNLED;
                if !somebody_must_lead && let Some(job) = state.ready.pop_front() {
                    state.turns_unled += 1;
                    state.working += 1;
                    state.set(me, Doing::Working);
                    if state.is_worth_waking()
                        && state.working + state.waking < self.most_working(&state)
                    {
                        self.wake_follower(&mut state);
                    }
                    self.rouse_supervisor(&state);
                    return Turn::Work(job);
                }
                if !state.led {
                    state.led = true;
                    state.set(me, Doing::Leading);
                    return Turn::Lead {
                        at_once: !state.ready.is_empty(),
                    };
                }
            }
            self.rouse_supervisor(&state);
            state.followers.push(me);
            state.set(me, Doing::Following);
            let timed_out = if state.total > self.size.least {
                self.bells[me].wait_for(&mut state, self.linger).timed_out()
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
    fn most_working(&self, state: &State<T>) -> usize {
        if state.handlers_block() {
            self.size.most
        } else {
            self.size.awake
        }
    }

    fn wake_follower(&self, state: &mut State<T>) -> bool {
        let Some(follower) = state.followers.pop() else {
            return false;
        };
        state.waking += 1;
        self.bells[follower].notify_one();
        true
    }

    /// Work came from outside the turns: somebody must take it up.
    fn has_new_work(&self, mut state: MutexGuard<'_, State<T>>) -> bool {
        if state.working + state.waking < self.most_working(&state)
            && !self.wake_follower(&mut state)
        {
            return state.led;
        }
        self.rouse_supervisor(&state);
        false
    }

    /// As many threads work as may: the supervisor must see whether one is stuck.
    fn rouse_supervisor(&self, state: &State<T>) {
        if state.supervisor_dozes && state.lacks_a_thread() {
            self.supervisor.notify_one();
        }
    }
}

impl<T> State<T> {
    fn join(&mut self) -> usize {
        self.total += 1;
        // A new worker is about to ask for its turn: until then it is as good as working on
        // nothing.
        let worker = Worker {
            doing: Doing::Stuck,
            turns: 0,
            turns_at_tick: 0,
        };
        match self
            .workers
            .iter()
            .position(|worker| worker.doing == Doing::Nothing)
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

    fn set(&mut self, me: usize, doing: Doing) {
        self.workers[me].doing = doing;
        self.workers[me].turns += 1;
    }

    fn finish(&mut self, me: usize) {
        match self.workers[me].doing {
            Doing::Working => self.working -= 1,
            Doing::Leading => self.end_lead(),
            Doing::Stuck | Doing::Following | Doing::Nothing => {}
        }
        self.workers[me].doing = Doing::Following;
    }

    fn end_lead(&mut self) {
        self.led = false;
        self.turns_unled = 0;
    }

    fn leave(&mut self, me: usize) -> Turn<T> {
        self.workers[me].doing = Doing::Nothing;
        self.total -= 1;
        Turn::Leave
    }

    /// Takes `me` off the stack; false if somebody has done so to wake it.
    fn forget_follower(&mut self, me: usize) -> bool {
        let at = self.followers.iter().rposition(|&follower| follower == me);
        at.map(|at| self.followers.remove(at)).is_some()
    }

    /// Nobody leads, or something waits for a thread.
    fn lacks_a_thread(&self) -> bool {
        !self.led || !self.ready.is_empty()
    }

    fn handlers_block(&self) -> bool {
        self.usual_sleep >= LONG_SLEEP
    }

    /// Another thread would be of more use than its waking costs.
    fn is_worth_waking(&self) -> bool {
        let waiting = u32::try_from(self.ready.len()).unwrap_or(u32::MAX);
        self.usual_turn.saturating_mul(waiting) >= WORTH_WAKING
            || !self.led && self.handlers_block()
    }

    /// No worker has been in one handler since the last look.
    fn all_get_on(&self) -> bool {
        self.workers
            .iter()
            .all(|worker| worker.doing != Doing::Working || worker.turns != worker.turns_at_tick)
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
            if worker.doing == Doing::Working && worker.turns == worker.turns_at_tick {
                worker.doing = Doing::Stuck;
                stuck += 1;
            }
            worker.turns_at_tick = worker.turns;
        }
        self.working -= stuck;
        stuck
    }
}
