//! The bookkeeping of the pool's scheduler: what each worker thread does, and what is ready.
//!
//! This is the data under the scheduler's lock. It never waits and never wakes a thread;
//! [`Scheduler`](super::scheduler::Scheduler) does.

use std::collections::VecDeque;
use std::time::Duration;

use super::usage::TurnUsage;

/// A sleeping thread is woken only if the queued work would keep the others busy for this long.
/// Waking a thread costs more than a few short turns.
pub(super) const MIN_WORK_TO_WAKE: Duration = Duration::from_micros(50);

/// If turns sleep for this long on average, handlers block. Then another thread leads before a
/// handler is called, and as many threads work as the pool may have.
const BLOCKING_SLEEP: Duration = Duration::from_micros(500);

/// After a thread could not be started, the supervisor waits for this many checks before it tries
/// again. The pause doubles with each failure in a row, up to about a second.
const MIN_GROWTH_PAUSE_TICKS: u32 = 4;
const MAX_GROWTH_PAUSE_TICKS: u32 = 256;

/// What a worker thread does. The drawing in `scheduler.rs` shows who changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// The number is free: no thread has it.
    Absent,
    /// The thread was requested, and has not asked for its first task yet.
    Starting,
    /// Waits for a wake-up.
    Sleeping,
    /// Waits in the poller.
    Leading,
    /// Serves something.
    Working,
    /// Has served the same thing for so long that it no longer counts as working.
    Stuck,
}

#[derive(Debug)]
pub(super) struct Worker {
    state: WorkerState,
    /// How many tasks it has begun. A number that stays the same means that the thread is stuck.
    tasks: u64,
    /// The value of `tasks` at the supervisor's last check.
    tasks_at_last_check: u64,
}

/// The average of about the last 16 times. In nanoseconds, because it changes with every turn, and
/// calculating with a [`Duration`] takes several times as long.
#[derive(Clone, Copy, Debug)]
struct MovingAverage {
    nanos: u64,
}

impl MovingAverage {
    fn new(first: Duration) -> MovingAverage {
        MovingAverage {
            nanos: first.as_nanos() as u64,
        }
    }

    fn add(&mut self, time: Duration) {
        // Longer than 36 years is 36 years.
        let time = (time.as_nanos() as u64).min(u64::MAX >> 4);
        self.nanos = (self.nanos * 15 + time) / 16;
    }

    /// Whether `count` times of this length are as long as `time`.
    fn reaches(self, time: Duration, count: usize) -> bool {
        self.nanos.saturating_mul(count as u64) >= time.as_nanos() as u64
    }
}

/// Everything under the scheduler's lock.
#[derive(Debug)]
pub(super) struct SchedulerState<T> {
    /// What waits for a thread, oldest first.
    pub(super) ready: VecDeque<T>,
    workers: Vec<Worker>,
    /// The numbers of the sleeping workers; the last one fell asleep last.
    pub(super) sleeping: Vec<usize>,
    /// Whether a thread waits in the poller: a worker, or the supervisor for a moment.
    pub(super) has_leader: bool,
    /// Turns since a thread last looked into the poller. Counts only while there is no leader.
    pub(super) turns_without_leader: u32,
    /// How long turns took lately.
    average_turn: MovingAverage,
    /// For how long of that their threads slept.
    average_sleep: MovingAverage,
    /// Workers in the state `Working`.
    pub(super) working: usize,
    /// Workers that were woken, and have not looked for a task yet.
    pub(super) waking: usize,
    /// Workers that are not `Absent`.
    pub(super) total: usize,
    /// Threads that the system refused, since the pool was made.
    pub(super) thread_failures: u64,
    /// Checks of the supervisor until it may start a thread again.
    growth_pause: u32,
    /// The pause after the next failure.
    next_growth_pause: u32,
    pub(super) supervisor_dozes: bool,
    pub(super) closed: bool,
}

impl<T> SchedulerState<T> {
    pub(super) fn new() -> SchedulerState<T> {
        SchedulerState {
            ready: VecDeque::new(),
            workers: Vec::new(),
            sleeping: Vec::new(),
            has_leader: false,
            turns_without_leader: 0,
            average_turn: MovingAverage::new(MIN_WORK_TO_WAKE),
            average_sleep: MovingAverage::new(Duration::ZERO),
            working: 0,
            waking: 0,
            total: 0,
            thread_failures: 0,
            growth_pause: 0,
            next_growth_pause: MIN_GROWTH_PAUSE_TICKS,
            supervisor_dozes: false,
            closed: false,
        }
    }

    /// Takes a number for a new worker.
    pub(super) fn add_worker(&mut self) -> usize {
        self.total += 1;
        let worker = Worker {
            state: WorkerState::Starting,
            tasks: 0,
            tasks_at_last_check: 0,
        };
        let free = |worker: &Worker| worker.state == WorkerState::Absent;
        match self.workers.iter().position(free) {
            Some(index) => {
                self.workers[index] = worker;
                index
            }
            None => {
                self.workers.push(worker);
                self.workers.len() - 1
            }
        }
    }

    /// Gives the number of worker `me` back.
    pub(super) fn remove_worker(&mut self, me: usize) {
        self.workers[me].state = WorkerState::Absent;
        self.total -= 1;
    }

    /// The system refused a thread for worker `me`.
    pub(super) fn note_thread_failure(&mut self, me: usize) {
        self.remove_worker(me);
        self.thread_failures += 1;
        self.growth_pause = self.next_growth_pause;
        self.next_growth_pause = (2 * self.next_growth_pause).min(MAX_GROWTH_PAUSE_TICKS);
    }

    /// A thread has started: the next failure is the first in a row.
    pub(super) fn note_thread_started(&mut self) {
        self.next_growth_pause = MIN_GROWTH_PAUSE_TICKS;
    }

    /// Whether the supervisor may start another thread at this check.
    pub(super) fn may_grow(&mut self, max_threads: usize) -> bool {
        self.growth_pause = self.growth_pause.saturating_sub(1);
        self.growth_pause == 0 && self.total < max_threads
    }

    pub(super) fn set_state(&mut self, me: usize, state: WorkerState) {
        self.workers[me].state = state;
        self.workers[me].tasks += 1;
    }

    /// Worker `me` has done its task, whatever it was.
    pub(super) fn end_task(&mut self, me: usize) {
        match self.workers[me].state {
            WorkerState::Working => self.working -= 1,
            WorkerState::Leading => self.end_lead(),
            // The supervisor has already taken a stuck worker out of `working`.
            WorkerState::Stuck
            | WorkerState::Starting
            | WorkerState::Sleeping
            | WorkerState::Absent => {}
        }
        self.workers[me].state = WorkerState::Sleeping;
    }

    pub(super) fn end_lead(&mut self) {
        self.has_leader = false;
        self.turns_without_leader = 0;
    }

    /// Takes `me` off the stack of sleepers. False if the thread that woke it has done so already.
    pub(super) fn remove_sleeper(&mut self, me: usize) -> bool {
        let at = self.sleeping.iter().rposition(|&sleeper| sleeper == me);
        at.map(|at| self.sleeping.remove(at)).is_some()
    }

    pub(super) fn record(&mut self, usage: TurnUsage) {
        self.average_turn.add(usage.turn);
        if let Some(asleep) = usage.asleep {
            self.average_sleep.add(asleep);
        }
    }

    /// Whether no thread leads, or something waits for a thread.
    pub(super) fn needs_thread(&self) -> bool {
        !self.has_leader || !self.ready.is_empty()
    }

    pub(super) fn handlers_block(&self) -> bool {
        self.average_sleep.reaches(BLOCKING_SLEEP, 1)
    }

    /// Whether another thread would be of more use than its wake-up costs.
    pub(super) fn is_worth_waking(&self) -> bool {
        self.work_is_worth_waking(self.ready.len()) || !self.has_leader && self.handlers_block()
    }

    /// Whether this many turns are enough work to wake another thread.
    pub(super) fn work_is_worth_waking(&self, turns: usize) -> bool {
        self.average_turn.reaches(MIN_WORK_TO_WAKE, turns)
    }

    /// Whether every working thread has begun a task since the last check.
    pub(super) fn all_progress(&self) -> bool {
        self.workers.iter().all(|worker| {
            worker.state != WorkerState::Working || worker.tasks != worker.tasks_at_last_check
        })
    }

    pub(super) fn note_progress(&mut self) {
        for worker in &mut self.workers {
            worker.tasks_at_last_check = worker.tasks;
        }
    }

    /// Marks the workers that made no progress since the last check. Returns how many.
    pub(super) fn mark_stuck(&mut self) -> usize {
        let mut stuck = 0;
        for worker in &mut self.workers {
            if worker.state == WorkerState::Working && worker.tasks == worker.tasks_at_last_check {
                worker.state = WorkerState::Stuck;
                stuck += 1;
            }
            worker.tasks_at_last_check = worker.tasks;
        }
        self.working -= stuck;
        stuck
    }
}
