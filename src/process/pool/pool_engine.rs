//! The engine of a server that leaves accepting to a pool's threads.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use super::ThreadingMixIn;
use super::engine::{Job, Pool};
use crate::handle::{
    ConnectionInfo, ConnectionPhase, Core, EngineView, InFlight, LifecyclePhase, Newcomer, Origin,
    not_serving,
};
use crate::process::acceptor::{Accepted, Acceptor};
use crate::process::engine::Engine;
use crate::process::registry::{ConnectionKey, Registry};
use crate::process::slot::Scope;
use crate::process::sources::Source;
use crate::process::{NewcomerKind, Request, RequestKind};
use crate::reach::Ring;
use crate::stats::StatsSnapshot;

/// A server's part of a pool that several servers may share.
pub(crate) struct PoolEngine {
    core: Arc<Core>,
    pool: Arc<Pool>,
    /// The pool's indices of this server's sources, while it listens.
    listening: Arc<Mutex<Vec<usize>>>,
    /// For `handle_request`, which takes no more than one request: the pool would take all.
    acceptor: Mutex<Option<Acceptor>>,
}

impl PoolEngine {
    /// Starts the pool's threads, unless another server did.
    pub(crate) fn new(pool: &ThreadingMixIn, core: &Arc<Core>) -> io::Result<PoolEngine> {
        let pool = pool.pool(&core.config.clock)?;
        let listening = Arc::<Mutex<Vec<usize>>>::default();
        let view = PoolView {
            listening: Arc::clone(&listening),
            pool: Arc::clone(&pool),
            core: Arc::downgrade(core),
        };
        core.set_engine_view(Some(Arc::new(view)));
        Ok(PoolEngine {
            core: Arc::clone(core),
            pool,
            listening,
            acceptor: Mutex::new(None),
        })
    }
}

impl Engine for PoolEngine {
    fn listen(&self, sources: &[Source]) -> io::Result<()> {
        let mut listening = self.listening.lock();
        sources.iter().try_for_each(|source| {
            listening.push(self.pool.add_source(source.clone())?);
            Ok(())
        })
    }

    fn serve_until(&self, until: Option<Instant>) -> io::Result<()> {
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        self.core.wake_pipe.wait(left);
        self.core.handle_wake();
        Ok(())
    }

    fn handle_one(&self, sources: &[Source], until: Option<Instant>) -> io::Result<bool> {
        let mut acceptor = self.acceptor.lock();
        let acceptor = match &mut *acceptor {
            Some(acceptor) => acceptor,
            none => none.insert(Acceptor::new(&self.core, &Arc::new(Registry::new()))?),
        };
        acceptor.watch(sources)?;
        match acceptor.next(until)? {
            Some(Accepted::Connection(session)) => self.pool.submit(session),
            Some(Accepted::Datagram(request, job)) => {
                Request(RequestKind::Datagram { request, job }).run();
            }
            None => return Ok(false),
        }
        Ok(true)
    }

    fn stop_listening(&self) {
        // Not under the lock: the last owner of a listener drops the user's class.
        let listening = std::mem::take(&mut *self.listening.lock());
        for index in listening {
            self.pool.remove_source(index);
        }
        *self.acceptor.lock() = None;
    }

    fn close_idle(&self) {
        self.pool.close_idle_connections(Scope::Server(&self.core));
    }

    fn abort(&self) -> usize {
        self.pool.abort(Scope::Server(&self.core))
    }

    fn wait_drained(&self, phase: LifecyclePhase, until: Option<Instant>) -> bool {
        self.core.wait_drained(phase, until)
    }
}

/// How a server's handles reach the pool.
struct PoolView {
    /// The engine's.
    listening: Arc<Mutex<Vec<usize>>>,
    pool: Arc<Pool>,
    core: Weak<Core>,
}

impl PoolView {
    /// The connections that are ready and wait for a thread.
    fn queued_ids(&self) -> HashSet<u64> {
        let mut ids = HashSet::new();
        self.pool.scheduler.for_each_ready(|job| {
            if let Job::Connection { key: Some(key), .. } = job {
                ids.insert(key.0 as u64);
            }
        });
        self.pool.woken.for_each(|(key, _)| {
            ids.insert(key.0 as u64);
        });
        ids
    }
}

impl EngineView for PoolView {
    /// Without a running `serve_forever`, no other code ends the idle connections of
    /// `handle_request`. A call that comes late, when the server serves again, must not end those
    /// of the next run.
    fn phase_changed(&self) {
        if let Some(core) = self.core.upgrade()
            && !core.is_running()
            && !core.is_serving()
        {
            self.pool.close_idle_connections(Scope::Server(&core));
        }
    }

    fn ring(&self) -> Weak<dyn Ring> {
        Arc::downgrade(&self.pool) as Weak<dyn Ring>
    }

    fn add(&self, newcomer: Newcomer) -> io::Result<usize> {
        match NewcomerKind::from_erased(newcomer) {
            Some(NewcomerKind::Connection(session)) => self.pool.submit(session),
            Some(NewcomerKind::Listener { listener, timeout }) => {
                let mut listening = self.listening.lock();
                // Under the lock: a shutdown that comes later removes this one too.
                if !self.core.upgrade().is_some_and(|core| core.is_serving()) {
                    return Err(not_serving());
                }
                let index = self.pool.add_source(Source::Listener(listener))?;
                listening.push(index);
                if let Some((until, timeout)) = timeout {
                    self.pool.sources.expire(index, until, timeout);
                    self.pool.poller.notify();
                }
                return Ok(index);
            }
            // Only `testing` has these.
            Some(NewcomerKind::InMemory { .. }) | None => {}
        }
        Ok(0)
    }

    fn remove_source(&self, index: usize) {
        self.listening.lock().retain(|known| *known != index);
        self.pool.remove_source(index);
    }

    fn drain(&self, origin: &Arc<Origin>, abort_at: Option<Instant>) {
        origin.begin_drain(abort_at);
        self.pool.close_idle_connections(Scope::Origin(origin));
        if let Some(at) = abort_at {
            self.pool.sources.abort_at(at, origin, &self.core);
            self.pool.poller.notify();
        }
    }

    fn connections(&self) -> Vec<ConnectionInfo> {
        let Some(core) = self.core.upgrade() else {
            return Vec::new();
        };
        let queued = self.queued_ids();
        let mut found = self.pool.registry.connections(&core);
        for connection in &mut found {
            if queued.contains(&connection.id) {
                connection.phase = ConnectionPhase::Queued;
            }
        }
        found
    }

    fn abort_connection(&self, id: u64) -> bool {
        let key = ConnectionKey::from_id(id);
        let core = self.core.upgrade();
        core.is_some_and(|core| self.pool.registry.abort_one(&core, key))
    }

    fn in_flight(&self) -> Vec<InFlight> {
        let core = self.core.upgrade();
        core.map(|core| self.pool.registry.in_flight(&core))
            .unwrap_or_default()
    }

    fn gauges(&self, snapshot: &mut StatsSnapshot) {
        let gauges = self.pool.scheduler.gauges();
        let (woken, jobs) = self.pool.woken.len_and_jobs();
        snapshot.queued = (gauges.queued + woken).saturating_sub(jobs);
        snapshot.threads = gauges.threads;
        snapshot.thread_failures = gauges.thread_failures;
    }
}
