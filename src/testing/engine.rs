//! The engine of a server in memory: it has neither threads nor a poller. The calls of the test run
//! it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use crate::address::{ClientAddress, ServerAddress};
use crate::handle::{ConnectionInfo, Core, EngineView, InFlight, Newcomer, Origin};
use crate::process::NewcomerKind;
use crate::process::accept::StreamListener;
use crate::process::registry::{ConnectionKey, ParkResult, Registry};
use crate::process::slot::{EndingConnection, Scope};
use crate::process::sources::ListenTimeout;
use crate::reach::{Ring, Silent};
use crate::session::{Session, Step};
use crate::stats::StatsSnapshot;
use crate::transport::{MemoryPeer, MemoryStream};

/// After this many turns, connections that have one another served are an endless loop.
const MAX_TURNS: usize = 100_000;

pub(super) struct TestEngine {
    core: Weak<Core>,
    registry: Registry,
    state: Mutex<EngineState>,
}

#[derive(Default)]
struct EngineState {
    /// The connections that are not over.
    keys: Vec<ConnectionKey>,
    /// What must be done next.
    tasks: VecDeque<(ConnectionKey, Box<Session>, Task)>,
    /// The test's ends of the connections that handlers have made.
    made: VecDeque<MadeInMemory>,
    listeners: Vec<TestListener>,
    /// How many listeners there ever were.
    listener_count: usize,
    /// The origins whose connections are aborted at a time, and when.
    drained: Vec<(Instant, Weak<Origin>)>,
}

#[derive(Clone, Copy)]
enum Task {
    Advance,
    Expire,
    Close,
}

struct TestListener {
    index: usize,
    listener: Arc<StreamListener>,
    timeout: Option<(Instant, Arc<ListenTimeout>)>,
}

/// A connection that a handler has made, seen from the other side.
pub(super) struct MadeInMemory {
    pub(super) key: ConnectionKey,
    pub(super) peer: MemoryPeer,
    pub(super) address: ClientAddress,
}

impl TestEngine {
    pub(super) fn new(core: &Arc<Core>) -> Arc<TestEngine> {
        Arc::new(TestEngine {
            core: Arc::downgrade(core),
            registry: Registry::new(),
            state: Mutex::default(),
        })
    }

    /// Takes over a connection, which [`settle`](TestEngine::settle) then serves.
    pub(super) fn add_connection(&self, mut session: Box<Session>) -> ConnectionKey {
        let key = self.registry.insert(&mut session);
        let key = key.expect("a test has fewer than a million connections");
        let mut state = self.state.lock();
        state.keys.push(key);
        state.tasks.push_back((key, session, Task::Advance));
        key
    }

    pub(super) fn take_made(&self) -> Option<MadeInMemory> {
        self.state.lock().made.pop_front()
    }

    pub(super) fn take_last_made(&self) -> Option<MadeInMemory> {
        self.state.lock().made.pop_back()
    }

    pub(super) fn is_open(&self, key: ConnectionKey) -> bool {
        self.registry.is_open(key)
    }

    pub(super) fn open_connections(&self) -> usize {
        self.state.lock().keys.len()
    }

    /// A client connects to a listener. `None` if nothing listens at this address, or the client is
    /// not accepted.
    pub(super) fn accept(
        &self,
        address: &ServerAddress,
        stream: MemoryStream,
        client: ClientAddress,
    ) -> Option<ConnectionKey> {
        let listener = {
            let state = self.state.lock();
            let mut listeners = state.listeners.iter();
            let found =
                listeners.find(|open| open.listener.listener.server_address() == address)?;
            Arc::clone(&found.listener)
        };
        let session = listener.accept_in_memory(stream, client);
        if listener.is_done() {
            let is_other = |open: &TestListener| !Arc::ptr_eq(&open.listener, &listener);
            self.state.lock().listeners.retain(is_other);
        }
        Some(self.add_connection(session?))
    }

    /// Serves this connection, because the test has done something with it.
    pub(super) fn wake(&self, key: ConnectionKey) {
        self.settle();
        if let Some(mut session) = self.registry.take_if(key, |_| true) {
            session.note_readable(true);
            self.serve(key, session, Task::Advance);
        }
        self.settle();
    }

    /// Serves everything that can be served now.
    pub(super) fn settle(&self) {
        for _ in 0..MAX_TURNS {
            if !self.do_next() {
                return;
            }
        }
        panic!("the connections have one another served without end");
    }

    /// Drops all connections.
    pub(super) fn clear(&self) {
        // Not under the lock: handlers are the user's code.
        let state = std::mem::take(&mut *self.state.lock());
        for key in &state.keys {
            drop(self.registry.take_if(*key, |_| true));
            self.registry.remove(*key);
        }
        drop(state);
    }

    /// When the next deadline passes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let state = self.state.lock();
        let timeouts = state
            .listeners
            .iter()
            .filter_map(|open| open.timeout.as_ref());
        let drained = state.drained.iter().map(|(at, _)| *at);
        let all = timeouts.map(|(at, _)| *at).chain(drained);
        all.chain(self.registry.sleep()).min()
    }

    /// Does one task. False if there is none.
    fn do_next(&self) -> bool {
        let task = self.state.lock().tasks.pop_front();
        if let Some((key, session, task)) = task {
            self.serve(key, session, task);
            return true;
        }
        let keys = self.state.lock().keys.clone();
        for key in keys {
            if let Some(session) = self.registry.take_if(key, wants_to_be_served) {
                self.serve(key, session, Task::Advance);
                return true;
            }
        }
        let Some(core) = self.core.upgrade() else {
            return false;
        };
        let now = core.config.clock.now();
        self.close_listeners(now) || self.abort_drained(&core, now) || self.expire(now)
    }

    fn serve(&self, key: ConnectionKey, mut session: Box<Session>, task: Task) {
        let now = session.now();
        session.ready_at = now;
        let mut step = match task {
            Task::Advance => session.advance(now),
            Task::Expire => session.expire(now),
            Task::Close => {
                session.close_idle();
                Step::Over
            }
        };
        for _ in 0..MAX_TURNS {
            step = match step {
                Step::Yield => session.advance(session.now()),
                Step::Wait { until, .. } => match self.registry.park(key, session, until) {
                    ParkResult::Ready(again) => {
                        session = again;
                        session.advance(session.now())
                    }
                    ParkResult::Ending(ending) => return self.end(key, ending),
                    ParkResult::Parked { .. } => return,
                },
                Step::Over => {
                    self.state.lock().keys.retain(|open| *open != key);
                    self.registry.remove(key);
                    return;
                }
            };
        }
        panic!("a connection is served without end");
    }

    fn end(&self, key: ConnectionKey, ending: EndingConnection) {
        let task = if ending.is_served {
            Task::Advance
        } else {
            Task::Close
        };
        let tasks = &mut self.state.lock().tasks;
        tasks.push_back((key, ending.session, task));
    }

    fn end_all(&self, scope: Scope<'_>) {
        for (key, ending) in self.registry.take_for_shutdown(scope) {
            self.end(key, ending);
        }
    }

    /// Closes the listeners whose time has passed.
    fn close_listeners(&self, now: Instant) -> bool {
        let is_due = |open: &mut TestListener| {
            let timeout = open.timeout.as_ref();
            timeout.is_some_and(|(at, _)| *at <= now)
        };
        let closed: Vec<TestListener> = {
            let mut state = self.state.lock();
            state.listeners.extract_if(.., is_due).collect()
        };
        for (_, timeout) in closed.iter().filter_map(|open| open.timeout.as_ref()) {
            timeout.pass();
        }
        !closed.is_empty()
    }

    /// Aborts the connections of drained listeners whose grace time is over.
    fn abort_drained(&self, core: &Arc<Core>, now: Instant) -> bool {
        let due: Vec<(Instant, Weak<Origin>)> = {
            let mut state = self.state.lock();
            state.drained.extract_if(.., |(at, _)| *at <= now).collect()
        };
        for origin in due.iter().filter_map(|(_, origin)| origin.upgrade()) {
            let (parked, _) = self.registry.abort(Scope::Origin(&origin));
            for (key, session) in parked {
                core.count_abort_of(Some(&origin));
                Session::abort(session.transport());
                self.state.lock().keys.retain(|open| *open != key);
                drop(session);
                self.registry.remove(key);
            }
        }
        !due.is_empty()
    }

    /// Queues the connections whose deadlines have passed.
    fn expire(&self, now: Instant) -> bool {
        let mut expired = Vec::new();
        if self.registry.wake(now) {
            self.registry.take_expired(now, &mut expired);
        }
        let found = !expired.is_empty();
        let tasks = &mut self.state.lock().tasks;
        for (key, session) in expired {
            tasks.push_back((key, session, Task::Expire));
        }
        found
    }
}

/// Whether something has come for a connection that the test's calls do not announce.
fn wants_to_be_served(session: &mut Session) -> bool {
    let is_aborted = session.transport().is_aborted();
    let has_socket = session.transport().fd().is_some();
    if is_aborted {
        session.note_readable(true);
    }
    session.needs_attention() || is_aborted || has_socket && session.has_arrived()
}

impl EngineView for TestEngine {
    fn phase_changed(&self) {
        if let Some(core) = self.core.upgrade() {
            self.end_all(Scope::Server(&core));
        }
    }

    /// Every call of the test looks at all connections.
    fn ring(&self) -> Weak<dyn Ring> {
        Weak::<Silent>::new()
    }

    fn add(&self, newcomer: Newcomer) -> io::Result<usize> {
        match NewcomerKind::from_erased(newcomer) {
            Some(NewcomerKind::Connection(session)) => _ = self.add_connection(session),
            Some(NewcomerKind::InMemory { session, peer }) => {
                let address = session.client_address().clone();
                let key = self.add_connection(session);
                let made = MadeInMemory { key, peer, address };
                self.state.lock().made.push_back(made);
            }
            Some(NewcomerKind::Listener { listener, timeout }) => {
                let mut state = self.state.lock();
                state.listener_count += 1;
                let index = state.listener_count;
                state.listeners.push(TestListener {
                    index,
                    listener,
                    timeout,
                });
                return Ok(index);
            }
            None => {}
        }
        Ok(0)
    }

    fn remove_source(&self, index: usize) {
        let is_other = |open: &TestListener| open.index != index;
        self.state.lock().listeners.retain(is_other);
    }

    fn drain(&self, origin: &Arc<Origin>, abort_at: Option<Instant>) {
        origin.begin_drain(abort_at);
        self.end_all(Scope::Origin(origin));
        if let Some(at) = abort_at {
            let drained = &mut self.state.lock().drained;
            drained.push((at, Arc::downgrade(origin)));
        }
    }

    fn connections(&self) -> Vec<ConnectionInfo> {
        let core = self.core.upgrade();
        core.map(|core| self.registry.connections(&core))
            .unwrap_or_default()
    }

    fn abort_connection(&self, id: u64) -> bool {
        let core = self.core.upgrade();
        core.is_some_and(|core| self.registry.abort_one(&core, ConnectionKey::from_id(id)))
    }

    fn in_flight(&self) -> Vec<InFlight> {
        let core = self.core.upgrade();
        core.map(|core| self.registry.in_flight(&core))
            .unwrap_or_default()
    }

    fn gauges(&self, _: &mut StatsSnapshot) {}
}
