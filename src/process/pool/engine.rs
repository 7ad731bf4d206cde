//! The pool's threads at work: workers, the supervisor, and the reserved thread.
//!
//! `leader.rs` is what a thread does while it leads, `connections.rs` what it does with a
//! connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ending::EndingQueue;
use super::leader::{Relief, guarded};
use super::scheduler::{PoolSize, Scheduler, SupervisorTask, WorkerTask};
use super::sync::Mutex;
use super::sync::thread::{self, JoinHandle};
use super::threads::Threads;
use super::usage::TurnMeter;
use super::woken::{Woken, WokenQueue};
use crate::clock::Clock;
use crate::poller::{Events, Poller};
use crate::process::datagrams::DatagramJob;
use crate::process::registry::{ConnectionKey, Registry};
use crate::process::sources::{Source, Sources};
use crate::session::Session;

/// How long a handler may run while no thread leads before its thread counts as stuck.
pub(super) const SUPERVISOR_INTERVAL: Duration = Duration::from_millis(2);
/// A thread beyond the minimum leaves after this time without work.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Datagrams that are received per turn before other ready jobs get theirs.
const DATAGRAMS_PER_TURN: usize = 64;

/// What waits for a thread.
pub(crate) enum Job {
    Connection {
        /// Its place in the registry. `None` for a connection that was accepted and has not been
        /// served yet.
        key: Option<ConnectionKey>,
        session: Box<Session>,
        action: Action,
    },
    Datagrams {
        source: usize,
        job: Arc<DatagramJob>,
    },
    /// Connections that others have woken: see [`WokenQueue`].
    Woken,
}

/// What must be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is ready: serve it.
    Advance,
    /// Its deadline has passed.
    Expire,
    /// It is idle, and its server goes down.
    Close,
}

/// The poller, the parked connections and the threads that one or several servers share.
pub(crate) struct Pool {
    pub(super) poller: Poller,
    pub(super) registry: Registry,
    pub(super) sources: Sources,
    pub(super) scheduler: Scheduler<Job>,
    pub(super) woken: WokenQueue<Woken>,
    /// What the reserved thread serves.
    pub(super) ending: EndingQueue<Job>,
    pub(super) clock: Clock,
    threads: Threads,
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
            woken: WokenQueue::new(),
            ending: EndingQueue::new(),
            clock,
            threads: Threads::new("socketserver"),
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

    /// Starts `min_threads` workers, the supervisor and the reserved thread. Only the first call
    /// does anything.
    ///
    /// # Errors
    /// When the system refuses one of these threads. The others end, and the pool cannot be used.
    pub(crate) fn start(self: &Arc<Pool>, min_threads: usize) -> io::Result<()> {
        if self.started.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let result = self.start_threads(min_threads);
        if result.is_err() {
            self.stop();
        }
        result
    }

    fn start_threads(self: &Arc<Pool>, min_threads: usize) -> io::Result<()> {
        let workers = (0..min_threads).map_while(|_| self.scheduler.add_worker());
        for (index, worker) in workers.enumerate() {
            self.start_worker(worker).map_err(|error| {
                let what = format!("thread {} of {min_threads}", index + 1);
                thread_error(&what, &error)
            })?;
        }
        let engine = Arc::clone(self);
        let reserved = move || engine.end_connections();
        thread::Builder::new()
            .name("ending".to_owned())
            .spawn(reserved)
            .map_err(|error| thread_error("the reserved thread", &error))?;
        let engine = Arc::clone(self);
        let supervisor = thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || engine.supervise())
            .map_err(|error| thread_error("the supervisor's thread", &error))?;
        *self.supervisor.lock() = Some(supervisor);
        Ok(())
    }

    fn start_worker(self: &Arc<Pool>, worker: usize) -> io::Result<()> {
        let engine = Arc::clone(self);
        self.threads
            .start(move || engine.work(worker))
            .inspect_err(|_| self.scheduler.thread_failed(worker))
    }

    /// Ends the threads. A thread that is stuck in a handler ends when the handler returns.
    pub(crate) fn stop(&self) {
        for job in self
            .scheduler
            .close()
            .into_iter()
            .chain(self.ending.close())
        {
            self.drop_job(job);
        }
        for (key, session) in self.woken.extract(|_| true) {
            self.drop_connection(Some(key), session);
        }
        self.poller.notify();
        // The last handle may be dropped by a worker or by the supervisor itself. Then no thread
        // waits.
        let supervisor = self.supervisor.lock().take();
        if let Some(supervisor) = supervisor
            && supervisor.thread().id() != thread::current().id()
        {
            // Its panic was logged where it happened.
            let _ = supervisor.join();
        }
    }

    /// The life of a worker thread.
    fn work(self: Arc<Pool>, me: usize) {
        let mut events = Events::new();
        let mut ready = Vec::new();
        let mut meter = TurnMeter::new();
        self.mark_worker();
        let mut task = self.scheduler.first_task(me);
        loop {
            task = match task {
                WorkerTask::Work(job) => {
                    let usage = meter.measure(&self.clock, |begun| self.serve(job, begun));
                    for job in self.ending.take_back() {
                        self.scheduler.requeue(job);
                    }
                    self.scheduler.next_task(me, usage)
                }
                WorkerTask::Lead { without_waiting } => {
                    let at_most = without_waiting.then_some(Duration::ZERO);
                    self.lead(&mut events, &mut ready, at_most);
                    self.scheduler.finish_poll(me, &mut ready)
                }
                WorkerTask::Leave => {
                    self.threads.leave();
                    return;
                }
            };
        }
    }

    /// The life of the supervisor's thread.
    fn supervise(self: Arc<Pool>) {
        let mut events = Events::new();
        let mut ready = Vec::new();
        let mut relief = Relief::default();
        loop {
            match self.scheduler.supervise(SUPERVISOR_INTERVAL) {
                SupervisorTask::Grow { worker } => {
                    if let Err(error) = self.start_worker(worker) {
                        log::error!("{}", thread_error("another thread", &error));
                    }
                }
                SupervisorTask::NotifyLeader => self.poller.notify(),
                SupervisorTask::Lead => {
                    self.lead(&mut events, &mut ready, Some(SUPERVISOR_INTERVAL));
                    self.hand_over_endings(&mut ready);
                    self.scheduler.finish_supervisor_poll(&mut ready);
                    self.relieve(&mut relief);
                }
                SupervisorTask::Leave => return,
            }
        }
    }

    /// The life of the reserved thread.
    fn end_connections(self: Arc<Pool>) {
        while let Some(job) = self.ending.next() {
            self.serve(job, self.clock.now());
        }
    }

    /// Serves a job, which begins `now`. Does not panic. Returns for how many connections or
    /// datagrams.
    fn serve(&self, job: Job, now: Instant) -> u32 {
        let mut served = 1;
        // A handler's panic ends in its session. This guards the thread against the library's own
        // mistakes.
        guarded(|| match job {
            Job::Connection {
                key,
                session,
                action,
            } => {
                // Requeued even if nothing else is queued: so the turn ends here, and a thread
                // looks into the poller in time.
                if let Some(job) = self.serve_connection(key, session, action, now) {
                    self.scheduler.requeue(job);
                }
            }
            Job::Datagrams { source, job } => self.serve_datagrams(source, &job),
            Job::Woken => served = self.serve_woken(now),
        });
        served
    }

    fn serve_datagrams(&self, source: usize, job: &Arc<DatagramJob>) {
        let rearm = RearmSource { pool: self, source };
        for _ in 0..DATAGRAMS_PER_TURN {
            match job.receive() {
                Ok(Some(request)) => {
                    // Requeued before the handler runs: if it blocks, another thread serves the
                    // rest.
                    std::mem::forget(rearm);
                    self.scheduler.requeue(Job::Datagrams {
                        source,
                        job: Arc::clone(job),
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
    }

    pub(super) fn enqueue(&self, jobs: impl IntoIterator<Item = Job>) {
        if self.scheduler.enqueue(jobs) {
            self.poller.notify();
        }
    }

    /// Takes over a connection that another thread accepted.
    pub(crate) fn submit(&self, session: Box<Session>) {
        let mut ready = Vec::new();
        guarded(|| self.dispatch(None, session, Action::Advance, &mut ready));
        if !ready.is_empty() {
            self.enqueue(ready);
        }
    }

    pub(crate) fn add_source(&self, source: Source) -> io::Result<usize> {
        self.sources.add(source, &self.poller)
    }

    pub(crate) fn remove_source(&self, index: usize) {
        self.sources.remove(index, &self.poller);
    }
}

/// The error for a thread that the system refused: one line, with advice.
fn thread_error(what: &str, error: &io::Error) -> io::Error {
    let advice = "raise the limit on processes (`ulimit -u`) or ask for fewer threads";
    io::Error::new(
        error.kind(),
        format!("cannot start {what}: {error}; {advice}"),
    )
}

/// Watches a datagram socket again, even after a panic: it would otherwise be deaf.
struct RearmSource<'a> {
    pool: &'a Pool,
    source: usize,
}

impl Drop for RearmSource<'_> {
    fn drop(&mut self) {
        self.pool.sources.arm(self.source, &self.pool.poller);
    }
}
