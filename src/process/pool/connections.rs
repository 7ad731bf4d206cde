//! What a thread of the pool does with a connection: serve it, park it, close it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::engine::{Action, Job, Pool};
use super::leader::guarded;
use crate::error::Error;
use crate::poller::{Interest, Mode};
use crate::process::registry::{ConnectionKey, ParkResult};
use crate::process::slot::Scope;
use crate::reach::Ring;
use crate::session::{Session, Step};

impl Pool {
    /// Serves a connection until it waits, is over, or has used up its turn. In the last case,
    /// returns what must be queued again.
    pub(super) fn serve_connection(
        &self,
        key: Option<ConnectionKey>,
        mut session: Box<Session>,
        action: Action,
        now: Instant,
    ) -> Option<Job> {
        let Some(key) = key.or_else(|| self.registry.insert(&mut session)) else {
            let full = io::Error::other("the pool has as many connections as it can hold");
            report_failure(&session, full);
            return None;
        };
        let guard = SlotGuard { pool: self, key };
        let mut step = match action {
            Action::Advance => session.advance(now),
            Action::Expire => session.expire(now),
            Action::Close => {
                session.close_idle();
                Step::Over
            }
        };
        loop {
            step = match step {
                Step::Over => {
                    self.forget(&mut session);
                    return None;
                }
                Step::Yield => {
                    std::mem::forget(guard);
                    return Some(Job::Connection {
                        key: Some(key),
                        session,
                        action: Action::Advance,
                    });
                }
                Step::Wait { writing, until } => match self.park(key, session, writing, until) {
                    None => {
                        std::mem::forget(guard);
                        return None;
                    }
                    Some(again) => {
                        session = again;
                        session.advance(self.clock.now())
                    }
                },
            };
        }
    }

    /// Parks a connection. Returns it if something has arrived meanwhile.
    fn park(
        &self,
        key: ConnectionKey,
        mut session: Box<Session>,
        writing: bool,
        until: Option<Instant>,
    ) -> Option<Box<Session>> {
        if let Err(error) = self.watch(key, &mut session, writing) {
            report_failure(&session, error);
            session.abandon();
            return Some(session);
        }
        match self.registry.park(key, session, until) {
            ParkResult::Ready(session) => Some(session),
            ParkResult::Ending(ending) if ending.is_served => Some(ending.session),
            ParkResult::Ending(ending) => {
                let now = self.clock.now();
                self.serve_connection(Some(key), ending.session, Action::Close, now);
                None
            }
            ParkResult::Parked { notify } => {
                if notify {
                    self.poller.notify();
                }
                None
            }
        }
    }

    /// Registers the socket with the poller: once, edge-triggered, and for writing only from the
    /// moment on in which that is needed.
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

    /// Closes the idle connections of a server, or of a listening socket, that goes down, unless
    /// bytes have arrived: they may be a request, which is served first. Connections that have a
    /// handler are queued: its `finish` runs on a thread of the pool, within the grace time.
    pub(crate) fn close_idle_connections(&self, scope: Scope<'_>) {
        let mut closing = Vec::new();
        for (key, ending) in self.registry.take_for_shutdown(scope) {
            let action = if ending.is_served {
                Action::Advance
            } else {
                Action::Close
            };
            guarded(|| self.dispatch(Some(key), ending.session, action, &mut closing));
        }
        if !closing.is_empty() {
            self.enqueue(closing);
        }
    }

    /// Ends all connections of a server or a listening socket. Returns how many were in flight: a
    /// lingering one has sent its whole answer.
    pub(crate) fn abort(&self, scope: Scope<'_>) -> usize {
        let mut jobs = self.scheduler.extract(|_, job| job.belongs_to(scope));
        jobs.extend(self.ending.extract(|job| job.belongs_to(scope)));
        let woken = self
            .woken
            .extract(|(_, session)| scope.includes(session.core(), session.origin()));
        let queued = jobs.into_iter().filter_map(Job::into_connection);
        let woken = woken.into_iter().map(|(key, session)| (Some(key), session));
        let mut count = self.drop_connections(queued.chain(woken));
        // After the queued connections were removed: the registry counts those as held by threads.
        let (parked, held) = self.registry.abort(scope);
        let parked = parked
            .into_iter()
            .map(|(key, session)| (Some(key), session));
        count += self.drop_connections(parked) + held;
        count
    }

    /// Ends connections at once. Returns how many were in flight.
    fn drop_connections(
        &self,
        connections: impl Iterator<Item = (Option<ConnectionKey>, Box<Session>)>,
    ) -> usize {
        let mut in_flight = 0;
        for (key, session) in connections {
            in_flight += usize::from(!session.is_lingering());
            self.drop_connection(key, session);
        }
        in_flight
    }

    pub(super) fn drop_job(&self, job: Job) {
        if let Some((key, session)) = job.into_connection() {
            self.drop_connection(key, session);
        }
    }

    /// Ends a connection at once, without its handler's `finish`.
    pub(super) fn drop_connection(&self, key: Option<ConnectionKey>, mut session: Box<Session>) {
        Session::abort(session.transport());
        self.forget(&mut session);
        // The handler's `drop` is the user's code, and may panic.
        if catch_unwind(AssertUnwindSafe(|| drop(session))).is_err() {
            log::error!("a handler panicked while it was dropped");
        }
        if let Some(key) = key {
            self.registry.remove(key);
        }
    }
}

impl Ring for Pool {
    fn ring(&self, keys: &[usize]) {
        let now = self.clock.now();
        let (mut woken, mut yielded) = (Vec::new(), Vec::new());
        for key in keys.iter().copied().map(ConnectionKey) {
            if let Some(mut session) = self.registry.take_for_attention(key) {
                session.ready_at = now;
                if session.calls_handler() {
                    woken.push((key, session));
                } else {
                    guarded(|| self.dispatch(Some(key), session, Action::Advance, &mut yielded));
                }
            }
        }
        self.queue_woken(woken);
        if !yielded.is_empty() {
            self.enqueue(yielded);
        }
    }
}

impl Job {
    fn into_connection(self) -> Option<(Option<ConnectionKey>, Box<Session>)> {
        match self {
            Job::Connection { key, session, .. } => Some((key, session)),
            Job::Datagrams { .. } | Job::Woken => None,
        }
    }

    fn belongs_to(&self, scope: Scope<'_>) -> bool {
        match self {
            Job::Connection { session, .. } => scope.includes(session.core(), session.origin()),
            Job::Datagrams { .. } | Job::Woken => false,
        }
    }
}

/// The system refused something that the connection needs: counts that, and reports it to the hook.
fn report_failure(session: &Session, error: io::Error) {
    let core = session.core();
    session.count(|stats| {
        stats.failed.fetch_add(1, Relaxed);
    });
    core.report(session.client_address(), &Error::from(error));
}

/// Gives the place of a connection that a thread holds back, even if the thread panics.
struct SlotGuard<'a> {
    pool: &'a Pool,
    key: ConnectionKey,
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.pool.registry.remove(self.key);
    }
}
