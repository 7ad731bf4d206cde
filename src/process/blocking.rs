//! Serving a connection on one thread, from its beginning to its end: what every way but the pool
//! does.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::buffer::Interrupt;
use crate::handle::{Core, InFlight, Waker};
use crate::process::registry::{ConnectionKey, Registry};
use crate::session::{Session, Step};
use crate::stats::StatsSnapshot;
use crate::transport::WaitOutcome;

/// Serves `session` until it is over; sleeps in the system while it waits for its peer.
pub(crate) fn run(registry: &Registry, mut session: Box<Session>) {
    let Some(key) = registry.insert(&session) else {
        log::error!(
            "{}: no place for another connection",
            session.client_address()
        );
        return;
    };
    let guard = SlotGuard { registry, key };
    let clock = session.core().clock.clone();
    let mut step = session.advance(clock.now());
    while step != Step::Over {
        step = match step {
            Step::Wait { writing, until } => {
                let ready = sleep(
                    registry,
                    key,
                    &session,
                    writing,
                    until.map(|at| at.saturating_duration_since(clock.now())),
                );
                let now = clock.now();
                session.ready_at = now;
                if ready {
                    session.note_readable(true);
                    session.advance(now)
                } else {
                    session.expire(now)
                }
            }
            Step::Yield | Step::Over => session.advance(clock.now()),
        };
    }
    drop(session);
    drop(guard);
}

/// Waits for the peer. While it is idle, a shutdown ends the socket, which ends this wait; and as
/// this may be the thread that accepts, or hold up the one that does, it hears the signals that ask
/// for one.
fn sleep(
    registry: &Registry,
    key: ConnectionKey,
    session: &Session,
    writing: bool,
    timeout: Option<Duration>,
) -> bool {
    let (idle, core) = (session.is_idle(), session.core());
    let until = timeout.map(|timeout| Instant::now() + timeout);
    registry.set_idle(key, session, idle);
    let ready = loop {
        if idle && !core.is_serving() {
            Session::abort(session.transport()); // the shutdown may have looked before this was noted
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match session
            .transport()
            .wait_attentively(!writing, left, Interrupt::wake_fd(&**core))
        {
            Ok(WaitOutcome::ByOther) => Interrupt::handle_wake(&**core),
            Ok(woken) => break woken == WaitOutcome::Ready,
            Err(_) => break true, // it shows in the read that follows
        }
    };
    registry.set_idle(key, session, false);
    ready
}

struct SlotGuard<'a> {
    registry: &'a Registry,
    key: ConnectionKey,
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.registry.remove(self.key);
    }
}

/// How a server that serves by threads or processes of its own hears of a shutdown.
pub(crate) struct BlockingWaker {
    pub(crate) registry: Arc<Registry>,
    pub(crate) core: Weak<Core>,
}

impl Waker for BlockingWaker {
    fn phase_changed(&self) {
        if let Some(core) = self.core.upgrade() {
            self.registry.abort_held(&core, true);
        }
    }

    fn in_flight(&self) -> Vec<InFlight> {
        self.core
            .upgrade()
            .map(|core| self.registry.in_flight(&core))
            .unwrap_or_default()
    }

    fn gauges(&self, snapshot: &mut StatsSnapshot) {
        snapshot.active = self.in_flight().len();
    }
}
