//! What the leader does: it waits for events, accepts connections, collects what is ready, and
//! ends what needs no thread.
//!
//! A connection whose next step can call no code of the user's handler is served by the leader
//! itself: a refused one, one that lingers before it closes. So these end even while every thread
//! is stuck in a handler. Everything else becomes a [`Job`] for a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::engine::{Action, Job, Pool, SUPERVISOR_INTERVAL};
use super::sync::thread;
use crate::poller::Events;
use crate::process::registry::ConnectionKey;
use crate::process::slot::Scope;
use crate::process::sources::{Source, Sources};
use crate::session::Session;

/// How often the leader asks the poller again before it looks at the deadlines that have passed.
/// A round brings at least one connection, so this is enough for all of them.
const MAX_HARVESTS: usize = 16_384;

/// While every thread is stuck, the queue is searched after this many looks into the poller; that
/// is about every 100 ms.
const RELIEF_INTERVAL_TICKS: u32 = 25;
/// Queued connections whose clients may have left that one search asks. Each costs a system call.
const MAX_CHECKED_CLIENTS: usize = 1024;

/// Where the supervisor is with searching the queue.
#[derive(Default)]
pub(super) struct Relief {
    ticks: u32,
    /// The position in the queue up to which clients were asked whether they have left.
    checked: usize,
}

impl Pool {
    /// Leads until something happens, at most for `at_most`. Does not panic.
    pub(super) fn lead(
        &self,
        events: &mut Events,
        ready: &mut Vec<Job>,
        at_most: Option<Duration>,
    ) {
        // The parts guard themselves. If all of it failed, the pool would have no leader.
        guarded(|| self.poll_events(events, ready, at_most));
    }

    fn poll_events(&self, events: &mut Events, ready: &mut Vec<Job>, at_most: Option<Duration>) {
        let deadline = self.registry.sleep();
        let until = earlier(deadline, self.sources.next_due());
        let sleep = self.clock.sleep_until(until);
        self.poll(events, earlier(sleep, at_most));
        let now = self.clock.now();
        for event in events.iter() {
            guarded(|| match Sources::index_of(event.key) {
                Some(index) => self.source_ready(index, ready),
                None => self.connection_ready(event.key, event.maybe_eof, now, ready),
            });
        }
        guarded(|| {
            for drained in self.sources.handle_due(now, &self.poller) {
                drained.count(self.abort(Scope::Origin(&drained.origin)));
            }
        });
        if self.registry.wake(now) {
            self.harvest(events, now, ready);
            self.expire(now, ready);
        }
    }

    fn poll(&self, events: &mut Events, timeout: Option<Duration>) {
        if let Err(error) = self.poller.wait(events, timeout) {
            log::error!("the poller failed: {error}");
            thread::sleep(SUPERVISOR_INTERVAL); // a permanent error must not spin
        }
    }

    /// A deadline has passed: collects every event that is there before anything expires. After the
    /// process was frozen, or was late, the bytes that a deadline waited for may have arrived, and
    /// the poller reports only a few sockets at a time.
    fn harvest(&self, events: &mut Events, now: Instant, ready: &mut Vec<Job>) {
        for _ in 0..MAX_HARVESTS {
            self.poll(events, Some(Duration::ZERO));
            let mut found = false;
            for event in events.iter() {
                // Listeners are reported as long as clients wait: they come next time.
                if Sources::index_of(event.key).is_none() {
                    found = true;
                    guarded(|| self.connection_ready(event.key, event.maybe_eof, now, ready));
                }
            }
            if !found {
                return;
            }
        }
    }

    fn expire(&self, now: Instant, ready: &mut Vec<Job>) {
        let mut expired = Vec::new();
        self.registry.take_expired(now, &mut expired);
        for (key, mut session) in expired {
            session.ready_at = now;
            guarded(|| self.dispatch(Some(key), session, Action::Expire, ready));
        }
    }

    fn connection_ready(&self, key: usize, maybe_eof: bool, now: Instant, ready: &mut Vec<Job>) {
        let key = ConnectionKey(key);
        if let Some(mut session) = self.registry.take(key, maybe_eof, &self.poller) {
            session.ready_at = now;
            self.dispatch(Some(key), session, Action::Advance, ready);
        }
    }

    fn source_ready(&self, index: usize, ready: &mut Vec<Job>) {
        match self.sources.get(index) {
            Some(Source::Listener(listener)) => {
                let queued = self.queued_for_threads() + ready.len();
                let retry = listener.accept(queued, |session| {
                    guarded(|| self.dispatch(None, session, Action::Advance, ready));
                });
                if listener.is_done() {
                    self.sources.remove(index, &self.poller);
                } else if let Some(pause) = retry {
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

    /// How many jobs wait for a thread, without the connections that others have woken.
    fn queued_for_threads(&self) -> usize {
        let (_, jobs) = self.woken.len_and_jobs();
        self.scheduler.gauges().queued.saturating_sub(jobs)
    }

    /// Serves a connection here if that calls no handler; otherwise appends a job to `ready`.
    pub(super) fn dispatch(
        &self,
        key: Option<ConnectionKey>,
        session: Box<Session>,
        action: Action,
        ready: &mut Vec<Job>,
    ) {
        if session.calls_handler() {
            ready.push(Job::Connection {
                key,
                session,
                action,
            });
        } else {
            ready.extend(self.serve_connection(key, session, action, self.clock.now()));
        }
    }

    /// Every thread is stuck. Hands the connections that only have to end to the reserved thread.
    pub(super) fn hand_over_endings(&self, ready: &mut Vec<Job>) {
        let now = self.clock.now();
        let ending = ready.extract_if(.., |job| job.only_ends(now)).collect();
        self.ending.push(ending);
    }

    /// Every thread is stuck. Drops the queued connections whose clients have left, and hands those
    /// that only have to end to the reserved thread: they were queued before the last thread got
    /// stuck.
    pub(super) fn relieve(&self, relief: &mut Relief) {
        let due = relief.ticks.is_multiple_of(RELIEF_INTERVAL_TICKS);
        relief.ticks = relief.ticks.wrapping_add(1);
        if !due {
            return;
        }
        let now = self.clock.now();
        let (first, mut last) = (relief.checked, 0);
        let out = self.scheduler.extract(|position, job| {
            last = position;
            let check = (first..first + MAX_CHECKED_CLIENTS).contains(&position);
            job.only_ends(now) || (check && job.client_has_left())
        });
        relief.checked = if first + MAX_CHECKED_CLIENTS > last {
            0
        } else {
            first + MAX_CHECKED_CLIENTS
        };
        // Decided by the action, not by another look: bytes may have arrived since.
        let (left, ending): (Vec<Job>, Vec<Job>) = out.into_iter().partition(Job::was_never_served);
        left.into_iter()
            .for_each(|job| guarded(|| self.drop_job(job)));
        self.ending.push(ending);
    }
}

impl Job {
    /// Whether a connection only has to end. If bytes have arrived after all, its handler may be
    /// called for them.
    fn only_ends(&self, now: Instant) -> bool {
        match self {
            // A lingering connection whose turn ended because its peer sends without a pause.
            Job::Connection { session, .. } if !session.calls_handler() => true,
            Job::Connection {
                action: Action::Close,
                ..
            } => true,
            Job::Connection {
                session,
                action: Action::Expire,
                ..
            } => session.ends_when_expired(now) && nothing_has_arrived(session),
            Job::Connection { .. } | Job::Datagrams { .. } | Job::Woken => false,
        }
    }

    /// Whether this is a connection that was never served, and whose client has closed it without
    /// sending anything.
    fn client_has_left(&self) -> bool {
        match self {
            Job::Connection { session, .. } if self.was_never_served() => {
                match session.transport().peek() {
                    Ok(first) => first.is_none(),
                    Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                }
            }
            Job::Connection { .. } | Job::Datagrams { .. } | Job::Woken => false,
        }
    }

    fn was_never_served(&self) -> bool {
        matches!(self, Job::Connection { key: None, .. })
    }
}

fn nothing_has_arrived(session: &Session) -> bool {
    let first = session.transport().peek();
    first.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// The earlier of two moments, or the shorter of two times; `None` is without end.
fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Runs the code for one event or connection. A panic in it must not lose the events of others.
pub(super) fn guarded(act: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(act)).is_err() {
        log::error!("a panic outside of a handler; a connection is lost");
    }
}
