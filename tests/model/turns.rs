//! `scheduler.rs` alone, with numbers for connections: who leads, who works, who sleeps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

use crate::scheduler::{PoolSize, Scheduler, SupervisorTask, WorkerTask};
use crate::sync::{Condvar, Mutex, thread};
use crate::usage::TurnUsage;

/// What becomes of an event: it is served at once, its handler blocks until another's has begun, or
/// it wants another turn until then.
#[derive(Clone, Copy, Debug)]
struct Event {
    number: usize,
    needs: Option<usize>,
    yields: bool,
}

fn plain(number: usize) -> Event {
    Event {
        number,
        needs: None,
        yields: false,
    }
}

fn meeting(number: usize, other: usize) -> Event {
    Event {
        number,
        needs: Some(other),
        yields: false,
    }
}

fn restless(number: usize, other: usize) -> Event {
    Event {
        number,
        needs: Some(other),
        yields: true,
    }
}

/// What a poller is: events that come, and a notification.
#[derive(Default)]
struct Inbox {
    events: VecDeque<Event>,
    notified: bool,
    leaders: usize,
    begun: Vec<usize>,
}

/// Turns are short, or long, and their threads sleep or don't.
fn any_time() -> TurnUsage {
    let turn = Duration::from_micros(thread_rng().gen_range(0..5000));
    TurnUsage {
        turn,
        asleep: thread_rng().gen_bool(0.5).then_some(turn),
    }
}

struct Pool {
    scheduler: Scheduler<Event>,
    inbox: Mutex<Inbox>,
    came: Condvar,
    begun: Condvar,
}

impl Pool {
    /// Starts the least number of workers; the supervisor too, if it is wanted.
    fn start(size: PoolSize, supervised: bool) -> Arc<Pool> {
        let pool = Arc::new(Pool {
            scheduler: Scheduler::new(size, Duration::from_secs(10)),
            inbox: Mutex::default(),
            came: Condvar::new(),
            begun: Condvar::new(),
        });
        for _ in 0..size.min_threads {
            let worker = pool.scheduler.add_worker().unwrap();
            Pool::start_worker(&pool, worker);
        }
        if supervised {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.supervise());
        }
        pool
    }

    fn start_worker(pool: &Arc<Pool>, worker: usize) {
        let pool = Arc::clone(pool);
        thread::spawn(move || pool.work(worker));
    }

    fn work(&self, me: usize) {
        let mut ready = Vec::new();
        let mut turn = self.scheduler.first_task(me);
        loop {
            turn = match turn {
                WorkerTask::Work(event) => {
                    self.serve(event);
                    self.scheduler.next_task(me, any_time())
                }
                WorkerTask::Lead { without_waiting } => {
                    self.gather(&mut ready, without_waiting);
                    self.scheduler.finish_poll(me, &mut ready)
                }
                WorkerTask::Leave => return,
            };
        }
    }

    fn supervise(self: Arc<Pool>) {
        let mut ready = Vec::new();
        loop {
            match self.scheduler.supervise(Duration::from_millis(2)) {
                // The system may refuse a thread, but not for ever.
                SupervisorTask::Grow { worker } if thread_rng().gen_bool(0.5) => {
                    self.scheduler.thread_failed(worker);
                }
                SupervisorTask::Grow { worker } => Pool::start_worker(&self, worker),
                SupervisorTask::NotifyLeader => self.notify(),
                SupervisorTask::Lead => {
                    self.look(&mut ready);
                    self.scheduler.finish_supervisor_poll(&mut ready);
                }
                SupervisorTask::Leave => return,
            }
        }
    }

    /// Waits for events, or looks for them, as the one who leads.
    fn gather(&self, ready: &mut Vec<Event>, without_waiting: bool) {
        let mut inbox = self.inbox.lock();
        inbox.leaders += 1;
        assert_eq!(inbox.leaders, 1, "two threads lead");
        while inbox.events.is_empty() && !inbox.notified && !without_waiting {
            self.came.wait(&mut inbox);
        }
        inbox.take(ready);
    }

    /// The supervisor's look, which doesn't wait.
    fn look(&self, ready: &mut Vec<Event>) {
        let mut inbox = self.inbox.lock();
        inbox.leaders += 1;
        assert_eq!(inbox.leaders, 1, "two threads lead");
        drop(inbox);
        thread::yield_now();
        self.inbox.lock().take(ready);
    }

    fn serve(&self, event: Event) {
        let mut inbox = self.inbox.lock();
        let waits = |inbox: &Inbox| {
            event
                .needs
                .is_some_and(|other| !inbox.begun.contains(&other))
        };
        if event.yields && waits(&inbox) {
            drop(inbox);
            thread::yield_now(); // time passes for others too
            return self.scheduler.requeue(event);
        }
        assert!(
            !inbox.begun.contains(&event.number),
            "{event:?} is served twice"
        );
        inbox.begun.push(event.number);
        self.begun.notify_all();
        while waits(&inbox) {
            self.begun.wait(&mut inbox);
        }
    }

    /// Events come to the poller, in one go.
    fn come(&self, events: &[Event]) {
        self.inbox.lock().events.extend(events);
        self.came.notify_all();
    }

    /// An event comes from elsewhere.
    fn enqueue(&self, event: Event) {
        if self.scheduler.enqueue([event]) {
            self.notify();
        }
    }

    fn notify(&self) {
        self.inbox.lock().notified = true;
        self.came.notify_all();
    }

    /// Waits until so many events are being served, and ends the pool. shuttle then waits for its
    /// threads.
    fn end_after(&self, events: usize) {
        let mut inbox = self.inbox.lock();
        while inbox.begun.len() < events {
            self.begun.wait(&mut inbox);
        }
        drop(inbox);
        self.close();
    }

    fn close(&self) {
        self.scheduler.close();
        self.notify();
    }
}

impl Inbox {
    fn take(&mut self, ready: &mut Vec<Event>) {
        ready.extend(self.events.drain(..));
        self.notified = false;
        self.leaders -= 1;
    }
}

fn in_thread(pool: &Arc<Pool>, act: impl FnOnce(&Pool) + Send + 'static) {
    let pool = Arc::clone(pool);
    thread::spawn(move || act(&pool));
}

/// Lets time pass: mostly enough for all the supervisor's ticks, when it has nothing to do.
fn until_the_supervisor_dozes() {
    for _ in 0..150 {
        thread::yield_now();
    }
}

#[test]
fn every_event_is_served_once_whoever_leads() {
    crate::check(|| {
        let pool = Pool::start(
            PoolSize {
                min_threads: 3,
                max_threads: 3,
                max_awake: thread_rng().gen_range(1..=3),
            },
            false,
        );
        in_thread(&pool, |pool| {
            pool.come(&[plain(1), plain(2)]);
            pool.come(&[plain(3)]);
        });
        in_thread(&pool, |pool| {
            pool.enqueue(plain(4));
            pool.enqueue(plain(5));
        });
        pool.end_after(5);
    });
}

#[test]
fn events_that_come_together_are_worked_on_together() {
    crate::check(|| {
        let pool = Pool::start(
            PoolSize {
                min_threads: 3,
                max_threads: 3,
                max_awake: 3,
            },
            false,
        );
        // None of their handlers goes on before all have begun.
        pool.come(&[meeting(1, 2), meeting(2, 3), meeting(3, 1)]);
        pool.end_after(3);
    });
}

#[test]
fn what_comes_from_elsewhere_wakes_a_sleeper_or_the_leader() {
    crate::check(|| {
        let pool = Pool::start(
            PoolSize {
                min_threads: 2,
                max_threads: 2,
                max_awake: 2,
            },
            false,
        );
        pool.enqueue(meeting(1, 2));
        pool.enqueue(meeting(2, 1));
        pool.end_after(2);
    });
}

#[test]
fn a_pool_that_is_closed_at_any_point_ends_its_threads() {
    crate::check(|| {
        let supervised = thread_rng().gen_bool(0.5);
        let pool = Pool::start(
            PoolSize {
                min_threads: 2,
                max_threads: 3,
                max_awake: 2,
            },
            supervised,
        );
        in_thread(&pool, |pool| pool.come(&[plain(1), plain(2)]));
        in_thread(&pool, |pool| pool.enqueue(plain(3)));
        pool.close();
    });
}

#[test]
fn a_blocked_handler_stops_nobody_while_the_pool_may_grow() {
    crate::check(|| {
        let least = thread_rng().gen_range(1..=2);
        let pool = Pool::start(
            PoolSize {
                min_threads: least,
                max_threads: 3,
                max_awake: 1,
            },
            true,
        );
        in_thread(&pool, |pool| pool.come(&[meeting(1, 3)]));
        in_thread(&pool, |pool| pool.enqueue(meeting(2, 3)));
        in_thread(&pool, |pool| {
            if thread_rng().gen_bool(0.5) {
                pool.come(&[plain(3)])
            } else {
                pool.enqueue(plain(3))
            }
        });
        pool.end_after(3);
    });
}

#[test]
fn a_blocked_handler_stops_nobody_in_a_pool_that_was_long_idle() {
    crate::check(|| {
        let pool = Pool::start(
            PoolSize {
                min_threads: 2,
                max_threads: 3,
                max_awake: 1,
            },
            true,
        );
        in_thread(&pool, |pool| {
            until_the_supervisor_dozes();
            pool.enqueue(meeting(1, 2));
            until_the_supervisor_dozes();
            if thread_rng().gen_bool(0.5) {
                pool.come(&[plain(2)])
            } else {
                pool.enqueue(plain(2))
            }
        });
        pool.end_after(2);
    });
}

#[test]
fn the_supervisor_leads_only_while_nobody_does() {
    crate::check(|| {
        // Both threads may be stuck in 1 and 2 while 3 and 4 come, and be free again while the
        // supervisor looks for them.
        let pool = Pool::start(
            PoolSize {
                min_threads: 2,
                max_threads: 2,
                max_awake: 2,
            },
            true,
        );
        in_thread(&pool, |pool| pool.come(&[meeting(1, 2), meeting(2, 1)]));
        in_thread(&pool, |pool| pool.come(&[plain(3), plain(4)]));
        pool.end_after(4);
    });
}

#[test]
fn a_newcomer_is_served_though_others_never_pause() {
    crate::check(|| {
        let pool = Pool::start(
            PoolSize {
                min_threads: 2,
                max_threads: 2,
                max_awake: thread_rng().gen_range(1..=2),
            },
            thread_rng().gen_bool(0.5),
        );
        pool.come(&[restless(1, 4), restless(2, 4), restless(3, 4)]);
        in_thread(&pool, |pool| pool.come(&[plain(4)]));
        pool.end_after(4);
    });
}
