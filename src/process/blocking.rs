//! Serving a connection on one thread, from its beginning to its end: what every concurrency model
//! but the pool does.

use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::address::ClientAddress;
use crate::buffer::Interrupt;
use crate::handle::{ConnectionInfo, Core, EngineView, InFlight, Newcomer, Origin};
use crate::process::acceptor::Acceptor;
use crate::process::registry::{ConnectionKey, Registry};
use crate::process::{NewcomerKind, ProcessRequest};
use crate::reach::{Ring, Silent};
use crate::session::{Session, Step};
use crate::stats::StatsSnapshot;
use crate::transport::{WaitOutcome, WakeFds};

/// Serves `session` until it is over; sleeps in the system while it waits for its peer. Never
/// panics: what no guard of the session catches (a handler's `Drop`) is counted and reported here.
pub(crate) fn run(registry: &Registry, mut session: Box<Session>) {
    let core = Arc::clone(session.core());
    let client = session.client_address().clone();
    let Some(key) = registry.insert(&mut session) else {
        return log::error!("{client}: no place for another connection");
    };
    let connection = Connection {
        registry,
        key,
        is_aborted: false,
    };
    let serve = || connection.serve(session);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(serve)) {
        core.report_panic(&client, &*panic);
    }
}

/// How a thread's sleep for a connection ended.
enum SleepEnd {
    /// The socket is ready, or has failed: the next read or write shows which.
    Ready,
    TimedOut,
    /// The server is shutting down, the connection is idle, and nothing has arrived.
    Closing,
    /// The system refused a descriptor, so that others could not reach the connection.
    Failed(io::Error),
}

/// A connection's place in the registry, given back when it is dropped.
struct Connection<'a> {
    registry: &'a Registry,
    key: ConnectionKey,
    /// Whether this thread has aborted the connection at the end of the grace time.
    is_aborted: bool,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.registry.remove(self.key);
    }
}

impl Connection<'_> {
    fn serve(mut self, mut session: Box<Session>) {
        let clock = session.core().config.clock.clone();
        let mut step = session.advance(clock.now());
        while step != Step::Over {
            step = match step {
                Step::Wait { writing, until } => {
                    let left = until.map(|at| at.saturating_duration_since(clock.now()));
                    let until = left.and_then(|left| Instant::now().checked_add(left));
                    let end = self.sleep(&mut session, writing, until);
                    let now = clock.now();
                    session.ready_at = now;
                    match end {
                        SleepEnd::Ready => {
                            session.note_readable(true);
                            session.advance(now)
                        }
                        SleepEnd::TimedOut => session.expire(now),
                        SleepEnd::Failed(error) => session.fail_now(error.into(), now),
                        SleepEnd::Closing => {
                            session.close_idle();
                            Step::Over
                        }
                    }
                }
                Step::Yield | Step::Over => {
                    self.look_for_signals(&session);
                    session.advance(clock.now())
                }
            };
        }
        // Before the place in the registry is given back, which is found by a shutdown.
        drop(session);
    }

    /// Waits for the peer. While the connection is idle, a shutdown ends this wait, unless bytes
    /// have arrived: they may be a request, and are served first. As this may be the thread that
    /// accepts, or hold up the one that does, it hears the signals that ask for a shutdown.
    ///
    /// Others reach the connection by the pipe of its link.
    fn sleep(&mut self, session: &mut Session, writing: bool, until: Option<Instant>) -> SleepEnd {
        let idle = !session.is_in_flight();
        let core = &Arc::clone(session.core());
        let origin = session.origin().cloned();
        let pipe = match session.link().map(|link| link.pipe()).transpose() {
            Ok(pipe) => pipe,
            Err(error) => return SleepEnd::Failed(error),
        };
        self.registry.set_idle(self.key, session, idle);
        let end = loop {
            // Before the looks at the phase: a shutdown after them makes this readable.
            let drain = match origin.as_ref().map_or(Ok(None), |origin| origin.drain_fd()) {
                Ok(fd) => fd,
                Err(error) => break SleepEnd::Failed(error),
            };
            let wake_fds = WakeFds {
                server: core.wake_fd(),
                link: pipe.as_ref().map(|pipe| pipe.as_fd()),
                drain,
            };
            let is_closing = session.ends_at_shutdown() && !session.is_serving();
            let grace = self.abort_at(session);
            let now = Instant::now();
            let is_told = !session.is_serving() && session.announce_shutdown();
            if is_told || session.needs_attention() {
                break SleepEnd::Ready;
            }
            if grace.is_some_and(|at| at <= now) {
                self.abort(session);
                break SleepEnd::Ready; // the read that follows finds the end of the socket
            }
            let look_once = is_closing.then_some(now);
            let left = until.into_iter().chain(grace).chain(look_once).min();
            let left = left.map(|at| at.saturating_duration_since(now));
            let transport = session.transport();
            match transport.wait_attentively(session.awaits(writing), left, wake_fds) {
                Ok(WaitOutcome::WokenByServer) => Interrupt::handle_wake(&**core),
                // The loop looks at what was left.
                Ok(WaitOutcome::WokenByLink) => pipe.iter().for_each(|pipe| pipe.drain()),
                Ok(WaitOutcome::Drained) => {} // the loop looks
                Ok(WaitOutcome::Ready) => break SleepEnd::Ready,
                Ok(WaitOutcome::TimedOut) if is_closing => break SleepEnd::Closing,
                Ok(WaitOutcome::TimedOut) => {
                    if until.is_some_and(|at| at <= Instant::now()) {
                        break SleepEnd::TimedOut;
                    }
                }
                Err(_) => break SleepEnd::Ready, // the read that follows finds the error
            }
        };
        self.registry.set_idle(self.key, session, false);
        end
    }

    /// A client that always has another message ready never lets this thread sleep: hears of a
    /// shutdown, and enforces the grace time, between two turns.
    fn look_for_signals(&mut self, session: &Session) {
        let core = session.core();
        if core.is_wake_pending() {
            Interrupt::handle_wake(&**core);
        }
        if self
            .abort_at(session)
            .is_some_and(|at| at <= Instant::now())
        {
            self.abort(session);
        }
    }

    /// When this thread must abort the connection, because no other thread will: it is the one of
    /// `serve_forever`, which ends what outlasts the grace time.
    fn abort_at(&self, session: &Session) -> Option<Instant> {
        let core = session.core();
        let of_origin = session
            .origin()
            .and_then(|origin| core.drain_abort_at(origin));
        let at = core.abort_at().into_iter().chain(of_origin).min();
        at.filter(|_| !self.is_aborted)
    }

    fn abort(&mut self, session: &Session) {
        self.is_aborted = true;
        log::warn!(
            "aborting {}, busy for {:.1?}",
            session.client_address(),
            session.since().elapsed()
        );
        session.core().count_abort_of(session.origin());
        Session::abort(session.transport());
    }
}

/// What a server that serves by threads or processes of its own knows of its connections. A
/// shutdown reaches their threads by [`wake_fd`](Interrupt::wake_fd).
pub(crate) struct BlockingView {
    /// Holds the server's core, as this view does: the server's end lets go of the view.
    pub(crate) acceptor: Arc<Acceptor>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) process: Arc<dyn ProcessRequest>,
    pub(crate) core: Weak<Core>,
}

impl EngineView for BlockingView {
    fn ring(&self) -> Weak<dyn Ring> {
        Weak::<Silent>::new()
    }

    fn add(&self, newcomer: Newcomer) -> io::Result<usize> {
        match NewcomerKind::from_erased(newcomer) {
            Some(NewcomerKind::Connection(session)) => {
                let core = Arc::clone(session.core());
                self.acceptor.adopted.put(session);
                core.wake_pipe.wake();
                // The accepting thread may have stopped just before.
                if !core.is_serving() {
                    self.acceptor.adopted.clear();
                }
                Ok(0)
            }
            Some(NewcomerKind::Listener { listener, timeout }) => {
                self.acceptor.add_listener(listener, timeout)
            }
            // Only `testing` has these.
            Some(NewcomerKind::InMemory { .. }) | None => Ok(0),
        }
    }

    fn remove_source(&self, index: usize) {
        self.acceptor.remove_source(index);
    }

    fn drain(&self, origin: &Arc<Origin>, abort_at: Option<Instant>) {
        self.acceptor.drain(origin, abort_at);
    }

    fn connections(&self) -> Vec<ConnectionInfo> {
        let core = self.core.upgrade();
        core.map(|core| self.registry.connections(&core))
            .unwrap_or_default()
    }

    fn abort_connection(&self, id: u64) -> bool {
        let key = ConnectionKey::from_id(id);
        let core = self.core.upgrade();
        core.is_some_and(|core| self.registry.abort_one(&core, key))
    }

    fn in_flight(&self) -> Vec<InFlight> {
        let Some(core) = self.core.upgrade() else {
            return Vec::new();
        };
        // The model may be the user's, and its panic must not end the thread that asks.
        let children = core.guard(&ClientAddress::Memory, || self.process.in_flight());
        let mut found = children.unwrap_or_default();
        found.append(&mut self.registry.in_flight(&core));
        found
    }

    fn gauges(&self, snapshot: &mut StatsSnapshot) {
        snapshot.active = self.in_flight().len();
    }
}
