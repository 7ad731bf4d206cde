//! Accepting connections from a listening socket.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::address::ClientAddress;
use crate::bind::Listener;
use crate::error::Refusal;
use crate::handle::{Admission, Core};
use crate::session::{Session, StreamService};
use crate::stats::Stats;
use crate::transport::{MemoryStream, Transport};

/// Connections that are accepted per turn, before those that are ready are served.
const ACCEPTS_PER_TURN: usize = 32;
/// Accepts in a row that may fail for one connection each. More of them are a failure of the
/// listener: a permanent error would otherwise spin.
const MAX_FAILED_ACCEPTS: usize = 32;
/// Pause of a listener after a failure. It doubles with each failure in a row.
const MIN_ACCEPT_PAUSE: Duration = Duration::from_millis(5);
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A listening socket, and what its connections need.
pub(crate) struct StreamListener {
    pub(crate) listener: Arc<Listener>,
    pub(crate) service: Arc<StreamService>,
    pub(crate) core: Arc<Core>,
    rules: AcceptRules,
    /// Whether a listener for one connection has accepted it.
    is_done: AtomicBool,
    /// The pause after the next failure.
    pause: Mutex<Duration>,
}

/// What a listener accepts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AcceptRules {
    /// Only connections from this address.
    pub(crate) peer: Option<IpAddr>,
    /// Only one connection.
    pub(crate) once: bool,
    /// Its connections belong to other connections, which are counted and verified already.
    pub(crate) is_secondary: bool,
}

impl StreamListener {
    pub(crate) fn new(
        listener: Arc<Listener>,
        service: Arc<StreamService>,
        core: Arc<Core>,
        rules: AcceptRules,
    ) -> StreamListener {
        StreamListener {
            listener,
            service,
            core,
            rules,
            is_done: AtomicBool::new(false),
            pause: Mutex::new(MIN_ACCEPT_PAUSE),
        }
    }

    /// Accepts the connections that wait, while `queued` jobs wait for a thread. After an error
    /// that does not pass by itself (no descriptors left), returns the pause before the next
    /// accept: 5 ms, doubling to 1 s, until an accept succeeds again.
    pub(crate) fn accept(
        &self,
        mut queued: usize,
        mut found: impl FnMut(Box<Session>),
    ) -> Option<Duration> {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.accept_one(queued) {
                Ok(Some(session)) => {
                    // One that was refused needs no thread, and no place in the queue.
                    queued += usize::from(session.calls_handler());
                    found(session);
                }
                Ok(None) => break,
                Err(error) => return Some(self.failed(&error)),
            }
        }
        None
    }

    /// An accept failed: returns how long the pause is.
    pub(crate) fn failed(&self, error: &io::Error) -> Duration {
        let mut pause = self.pause.lock();
        let this_time = *pause;
        *pause = (*pause * 2).min(MAX_ACCEPT_PAUSE);
        log::warn!(
            "{}: accept: {error}; trying again in {this_time:?}",
            self.listener.server_address()
        );
        this_time
    }

    /// Whether this listener accepts nothing more, and must be closed.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done.load(Relaxed)
    }

    /// Accepts one connection, if one waits. It is refused if `queued` jobs are too many.
    pub(crate) fn accept_one(&self, queued: usize) -> io::Result<Option<Box<Session>>> {
        // Counted before the server's phase is read: a shutdown is either seen here, or waits for
        // this connection. What comes later stays in the backlog, for a server that serves again.
        let origin = self.service.origin.as_ref();
        let admission = self.core.admit(origin);
        if !self.core.is_serving_for(origin) || self.is_done() {
            return Ok(None);
        }
        let Some((stream, client)) = accept_next(|| self.listener.accept())? else {
            return Ok(None);
        };
        *self.pause.lock() = MIN_ACCEPT_PAUSE;
        let transport = Transport::plain(stream, self.core.config.clock.now());
        Ok(self.take(transport, client, admission, queued))
    }

    /// A client has connected in memory.
    pub(crate) fn accept_in_memory(
        &self,
        stream: MemoryStream,
        client: ClientAddress,
    ) -> Option<Box<Session>> {
        let admission = self.core.admit(self.service.origin.as_ref());
        let transport = Transport::memory(stream, self.core.config.clock.now());
        self.take(transport, client, admission, 0)
    }

    /// Makes a session of an accepted connection. `None` if it is closed at once.
    fn take(
        &self,
        transport: Transport,
        client: ClientAddress,
        admission: Result<Admission, Refusal>,
        queued: usize,
    ) -> Option<Box<Session>> {
        let origin = self.service.origin.as_ref();
        if self
            .rules
            .peer
            .is_some_and(|peer| client.ip() != Some(peer))
        {
            self.core
                .count(origin, |stats| stats.refused(Refusal::Denied));
            // The hook's answer belongs to the expected client's protocol: nothing is sent.
            self.core.call_hook(&client, |hooks| {
                hooks.handle_refusal(&client, Refusal::Denied);
            });
            return None; // the next connection is reported again
        }
        let accepted = |stats: &Stats| {
            stats.accepted.fetch_add(1, Relaxed);
        };
        self.core.count(origin, accepted);
        let transport = transport.tapped(self.core.tap(&client));
        let mut session = Box::new(Session::new(transport, client, &self.service, &self.core));
        let admission = admission.and_then(|mut admission| {
            if queued > self.core.limits(origin).max_queue {
                return Err(Refusal::QueueFull);
            }
            // Counted here, in the process that sees all connections: a forked child sees only its
            // own.
            if self.rules.is_secondary {
                session.begin_adopted(false);
            } else if session.knows_client_address() {
                admission.count_address(session.client_address())?;
            }
            Ok(admission)
        });
        match admission {
            Ok(admission) => {
                self.is_done.store(self.rules.once, Relaxed);
                session.admitted(admission);
            }
            // Nothing is sent: the client could take the hook's answer for data.
            Err(why) if self.rules.is_secondary => {
                self.core.count(origin, |stats| stats.refused(why));
                return None;
            }
            Err(why) => self.refuse(&mut session, why),
        }
        Some(session)
    }

    /// Refuses a connection. The hook's panic is counted and reported, and costs only the hook's
    /// answer.
    fn refuse(&self, session: &mut Session, why: Refusal) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| session.refuse(why))) {
            session.abandon();
            self.core.report_panic(session.client_address(), &*panic);
        }
    }
}

impl AsFd for StreamListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Accepts the next connection, past those that failed. `None` if none waits.
fn accept_next<T>(mut accept: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    let mut failed = 0;
    loop {
        match accept() {
            Ok(accepted) => return Ok(Some(accepted)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if is_about_one_connection(&error) && failed < MAX_FAILED_ACCEPTS => {
                failed += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether an accept failed for one connection only, so that the next accept may succeed
/// (accept(2)).
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut,
    };
    use rustix::io::Errno;
    let network = [
        Errno::PROTO,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::NOPROTOOPT,
    ];
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut
    ) || Errno::from_io_error(error).is_some_and(|errno| network.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accept_that_fails_for_one_connection_is_followed_by_another() {
        let mut results = vec![
            Ok(1),
            Err(io::ErrorKind::PermissionDenied.into()),
            Err(io::ErrorKind::ConnectionAborted.into()),
        ];
        let accepted = accept_next(|| results.pop().unwrap());
        assert_eq!(accepted.unwrap(), Some(1));
    }

    #[test]
    fn an_accept_that_always_fails_is_an_error_and_does_not_spin() {
        let mut calls = 0;
        let accepted = accept_next(|| -> io::Result<()> {
            calls += 1;
            assert!(calls < 1000, "it spins");
            Err(io::ErrorKind::PermissionDenied.into())
        });
        let kind = accepted.unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::PermissionDenied);
    }
}
