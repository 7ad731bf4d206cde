//! The pool at work: what its threads do with their turns.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::scheduler::{PoolSize, Scheduler, SupervisorTask, WorkerTask};
use super::sync::Mutex;
use super::sync::thread::{self, JoinHandle};
use super::threads::Threads;
use super::usage::TurnMeter;
use crate::clock::Clock;
use crate::handle::{Core, InFlight, Waker};
use crate::poller::{Events, Interest, Mode, Poller};
use crate::process::datagrams::DatagramJob;
use crate::process::registry::{ConnectionKey, ParkResult, Registry};
use crate::process::sources::{Source, Sources};
use crate::session::{Session, Step};
use crate::stats::StatsSnapshot;

/// How long a handler may run, while nobody leads, before it counts as stuck.
const SUPERVISOR_INTERVAL: Duration = Duration::from_millis(2);
/// After so long without work, a thread beyond the least number leaves.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Datagrams that are served in one go, before others that are ready.
const DATAGRAMS_PER_TURN: usize = 64;

/// What waits for a thread.
pub(crate) enum Job {
    Connection {
        key: Option<ConnectionKey>,
        session: Box<Session>,
        expired: bool,
    },
    Datagrams {
        source: usize,
        job: Arc<DatagramJob>,
    },
}

/// The poller, the parked connections and the threads that one or several servers share.
pub(crate) struct Pool {
    poller: Poller,
    registry: Registry,
    sources: Sources,
    scheduler: Scheduler<Job>,
    threads: Threads,
    clock: Clock,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    started: AtomicBool,
}

impl Pool {
    pub(crate) fn new(size: PoolSize, clock: Clock) -> io::Result<Arc<Pool>> {
        let engine = Arc::new(Pool {
            poller: Poller::new()?,
            registry: Registry::new(),
            sources: Sources::default(),
            scheduler: Scheduler::new(size, KEEP_ALIVE),
            threads: Threads::new("socketserver"),
            clock,
            supervisor: Mutex::new(None),
            started: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&engine);
        engine.clock.on_advance(move || {
            if let Some(engine) = weak.upgrade() {
                engine.poller.notify();
            }
        });
        Ok(engine)
    }

    /// Starts the least number of threads, once.
    pub(crate) fn start(self: &Arc<Pool>, least: usize) -> io::Result<()> {
        if self.started.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        for worker in (0..least).map_while(|_| self.scheduler.add_worker()) {
            self.start_worker(worker);
        }
        let engine = Arc::clone(self);
        let supervisor = thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || engine.supervise())?;
        *self.supervisor.lock() = Some(supervisor);
        Ok(())
    }

    fn start_worker(self: &Arc<Pool>, worker: usize) {
        let engine = Arc::clone(self);
        self.threads.start(move || engine.work(worker));
    }

    /// Ends the threads; those that are stuck in a handler are left to themselves.
    pub(crate) fn stop(&self) {
        drop(self.scheduler.close());
        self.poller.notify();
        // The last handle may be dropped by a worker or by the supervisor itself: then nobody
        // waits.
        let supervisor = self.supervisor.lock().take();
        if let Some(supervisor) = supervisor
            && supervisor.thread().id() != thread::current().id()
        {
            // Its panic was logged where it happened.
            let _ = supervisor.join();
        }
    }

    /// One thread of the pool: its whole life.
    fn work(self: Arc<Pool>, me: usize) {
        let mut events = Events::new();
        let mut ready = Vec::new();
        let mut meter = TurnMeter::new();
        let mut turn = self.scheduler.first_task(me);
        loop {
            turn = match turn {
                WorkerTask::Work(job) => {
                    let usage = meter.measure(&self.clock, || {
                        // Handlers' panics end in the session; this wall is for our own mistakes.
                        if catch_unwind(AssertUnwindSafe(|| self.serve(job))).is_err() {
                            log::error!(
                                "a worker panicked outside of a handler; its connection is lost"
                            );
                        }
                    });
                    self.scheduler.next_task(me, usage)
                }
                WorkerTask::Lead { without_waiting } => {
                    self.lead(
                        &mut events,
                        &mut ready,
                        without_waiting.then_some(Duration::ZERO),
                    );
                    self.scheduler.finish_poll(me, &mut ready)
                }
                WorkerTask::Leave => {
                    self.threads.leave();
                    return;
                }
            };
        }
    }

    fn supervise(self: Arc<Pool>) {
        let mut events = Events::new();
        let mut ready = Vec::new();
        loop {
            match self.scheduler.supervise(SUPERVISOR_INTERVAL) {
                SupervisorTask::Grow { worker } => self.start_worker(worker),
                SupervisorTask::NotifyLeader => self.poller.notify(),
                SupervisorTask::Lead => {
                    self.lead(&mut events, &mut ready, Some(SUPERVISOR_INTERVAL));
                    self.scheduler.finish_supervisor_poll(&mut ready);
                }
                SupervisorTask::Leave => return,
            }
        }
    }

    /// Leads; a mistake of ours mustn't leave the pool with a leader that is gone.
    fn lead(&self, events: &mut Events, ready: &mut Vec<Job>, at_most: Option<Duration>) {
        if catch_unwind(AssertUnwindSafe(|| {
            self.poll_events(events, ready, at_most)
        }))
        .is_err()
        {
            log::error!("the leader panicked");
        }
    }

    /// Waits for events, accepts what comes, and collects what is ready.
    fn poll_events(&self, events: &mut Events, ready: &mut Vec<Job>, at_most: Option<Duration>) {
        let until = self
            .registry
            .sleep()
            .into_iter()
            .chain(self.sources.next_retry())
            .min();
        let timeout = self
            .clock
            .sleep_until(until)
            .into_iter()
            .chain(at_most)
            .min();
        if let Err(error) = self.poller.wait(events, timeout) {
            log::error!("the poller failed: {error}");
            thread::sleep(SUPERVISOR_INTERVAL); // an error that stays must not spin
        }
        let now = self.clock.now();
        for event in events.iter() {
            match Sources::index_of(event.key) {
                Some(index) => self.source_ready(index, ready),
                None => {
                    let key = ConnectionKey(event.key);
                    if let Some(mut session) =
                        self.registry.take(key, event.maybe_eof, &self.poller)
                    {
                        session.ready_at = now;
                        ready.push(Job::Connection {
                            key: Some(key),
                            session,
                            expired: false,
                        });
                    }
                }
            }
        }
        self.sources.retry(now, &self.poller);
        let mut expired = Vec::new();
        self.registry.take_expired(now, &mut expired);
        for (key, mut session) in expired {
            session.ready_at = now;
            ready.push(Job::Connection {
                key: Some(key),
                session,
                expired: true,
            });
        }
    }

    fn source_ready(&self, index: usize, ready: &mut Vec<Job>) {
        match self.sources.get(index) {
            Some(Source::Listener(listener)) => {
                let (queued, _) = self.scheduler.gauges();
                let retry = listener.accept(queued + ready.len(), |session| {
                    ready.push(Job::Connection {
                        key: None,
                        session,
                        expired: false,
                    });
                });
                if let Some(pause) = retry {
                    self.sources
                        .pause(index, self.clock.now() + pause, &self.poller);
                }
            }
            Some(Source::Datagrams(job)) => {
                self.sources.disarm(index, &self.poller);
                ready.push(Job::Datagrams { source: index, job });
            }
            None => {}
        }
    }

    fn serve(&self, job: Job) {
        match job {
            Job::Connection {
                key,
                session,
                expired,
            } => self.serve_connection(key, session, expired),
            Job::Datagrams { source, job } => self.serve_datagrams(source, job),
        }
    }

    fn serve_connection(
        &self,
        key: Option<ConnectionKey>,
        mut session: Box<Session>,
        expired: bool,
    ) {
        let Some(key) = key.or_else(|| self.registry.insert(&session)) else {
            log::error!(
                "{}: no place for another connection",
                session.client_address()
            );
            return;
        };
        let guard = SlotGuard { engine: self, key };
        let now = self.clock.now();
        let mut step = if expired {
            session.expire(now)
        } else {
            session.advance(now)
        };
        loop {
            step = match step {
                Step::Over => {
                    self.forget(&mut session);
                    break;
                }
                // Through the queue even if nobody else is in it: so it is a turn, after which
                // somebody may look into the poller.
                Step::Yield => {
                    std::mem::forget(guard);
                    self.scheduler.requeue(Job::Connection {
                        key: Some(key),
                        session,
                        expired: false,
                    });
                    return;
                }
                Step::Wait { writing, until } => match self.park(key, session, writing, until) {
                    None => {
                        std::mem::forget(guard);
                        return;
                    }
                    Some(again) => {
                        session = again;
                        session.advance(self.clock.now())
                    }
                },
            };
        }
    }

    /// Lays a connection down; gives it back if something has come meanwhile.
    fn park(
        &self,
        key: ConnectionKey,
        mut session: Box<Session>,
        writing: bool,
        until: Option<Instant>,
    ) -> Option<Box<Session>> {
        if let Err(error) = self.watch(key, &mut session, writing) {
            log::error!("{}: can't be watched: {error}", session.client_address());
            session.abandon();
            return Some(session);
        }
        let core = Arc::clone(session.core());
        match self.registry.park(key, session, until) {
            ParkResult::Ready(session) => Some(session),
            ParkResult::Parked { notify } => {
                if notify {
                    self.poller.notify();
                }
                if !core.is_serving() {
                    self.close_idle_connections(&core); // the shutdown may have swept before this one was laid down
                }
                None
            }
        }
    }

    /// Registers the socket: once, edge-triggered, and for writing only from when that is first
    /// needed.
    fn watch(&self, key: ConnectionKey, session: &mut Session, writing: bool) -> io::Result<()> {
        let watched = session.watched();
        let interest = match (watched, writing) {
            (Some(Interest::ReadWrite), _) | (Some(Interest::Read), false) => return Ok(()),
            (_, true) => Interest::ReadWrite,
            (_, false) => Interest::Read,
        };
        if let Some(fd) = session.transport().fd() {
            match watched {
                None => self.poller.add(fd, key.0, interest, Mode::Edge)?,
                Some(_) => self.poller.modify(fd, key.0, interest, Mode::Edge)?,
            }
        }
        session.set_watched(Some(interest));
        Ok(())
    }

    /// Takes the socket out of the poller, before it closes.
    fn forget(&self, session: &mut Session) {
        if session.watched().is_some()
            && let Some(fd) = session.transport().fd()
        {
            self.poller.delete(fd);
        }
        session.set_watched(None);
    }

    fn serve_datagrams(&self, source: usize, job: Arc<DatagramJob>) {
        for _ in 0..DATAGRAMS_PER_TURN {
            match job.receive() {
                Ok(Some(request)) => {
                    // Back in the queue before the handler runs: if it gets stuck, another thread
                    // goes on with the rest.
                    self.scheduler.requeue(Job::Datagrams {
                        source,
                        job: Arc::clone(&job),
                    });
                    job.handle(request);
                    return;
                }
                Ok(None) => break,
                Err(error) => {
                    log::debug!("{}: {error}", job.server_address());
                }
            }
        }
        self.sources.arm(source, &self.poller);
    }

    fn enqueue(&self, job: Job) {
        if self.scheduler.enqueue(job) {
            self.poller.notify();
        }
    }

    /// Takes on a connection that somebody else accepted.
    pub(crate) fn submit(&self, session: Box<Session>) {
        self.enqueue(Job::Connection {
            key: None,
            session,
            expired: false,
        });
    }

    pub(crate) fn add_source(&self, source: Source) -> io::Result<usize> {
        self.sources.add(source, &self.poller)
    }

    pub(crate) fn remove_source(&self, index: usize) {
        self.sources.remove(index, &self.poller);
    }

    /// Closes the idle connections of a server that goes down.
    pub(crate) fn close_idle_connections(&self, core: &Arc<Core>) {
        for (key, mut session) in self.registry.take_parked(core, Session::is_idle) {
            session.close_idle();
            self.forget(&mut session);
            drop(session);
            self.registry.remove(key);
        }
    }

    /// Ends everything of a server; tells how many were in flight.
    pub(crate) fn abort(&self, core: &Arc<Core>) -> usize {
        let parked = self.registry.take_parked(core, |_| true);
        let count = parked.len();
        for (key, mut session) in parked {
            Session::abort(session.transport());
            self.forget(&mut session);
            drop(session);
            self.registry.remove(key);
        }
        count + self.registry.abort_held(core, false)
    }
}

/// A held connection's slot, given back even if the worker panics.
struct SlotGuard<'a> {
    engine: &'a Pool,
    key: ConnectionKey,
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.engine.registry.remove(self.key);
    }
}

/// A server's view of the engine.
pub(crate) struct PoolWaker {
    pub(crate) pool: Arc<Pool>,
    pub(crate) core: std::sync::Weak<Core>,
}

impl Waker for PoolWaker {
    fn in_flight(&self) -> Vec<InFlight> {
        self.core
            .upgrade()
            .map(|core| self.pool.registry.in_flight(&core))
            .unwrap_or_default()
    }

    fn gauges(&self, snapshot: &mut StatsSnapshot) {
        (snapshot.queued, snapshot.threads) = self.pool.scheduler.gauges();
        if let Some(core) = self.core.upgrade() {
            snapshot.active = self.pool.registry.in_flight(&core).len();
        }
    }
}
