//! The engine of every concurrency model but the pool: the thread of `serve_forever` accepts.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::acceptor::{Accepted, Acceptor};
use super::blocking::BlockingView;
use super::engine::Engine;
use super::registry::Registry;
use super::slot::Scope;
use super::sources::Source;
use super::{ProcessRequest, Request, RequestKind};
use crate::address::ClientAddress;
use crate::handle::{Core, LifecyclePhase};

/// How often to look for children that have ended, while there are any: the program's SIGCHLD is
/// not the library's to take.
const REAP_INTERVAL: Duration = Duration::from_millis(100);

/// How often to look for children that have ended, while the server shuts down.
const DRAIN_REAP_INTERVAL: Duration = Duration::from_millis(2);

/// How often to check whether the concurrency model has room again.
const FULL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits for connections and datagrams, and hands them to a [`ProcessRequest`].
pub(crate) struct DispatchEngine {
    core: Arc<Core>,
    process: Arc<dyn ProcessRequest>,
    acceptor: Arc<Acceptor>,
    registry: Arc<Registry>,
}

impl DispatchEngine {
    pub(crate) fn new(
        process: &Arc<dyn ProcessRequest>,
        core: &Arc<Core>,
    ) -> io::Result<DispatchEngine> {
        let registry = Arc::new(Registry::new());
        let engine = DispatchEngine {
            core: Arc::clone(core),
            process: Arc::clone(process),
            acceptor: Arc::new(Acceptor::new(core, &registry)?),
            registry: Arc::clone(&registry),
        };
        core.set_engine_view(Some(Arc::new(BlockingView {
            acceptor: Arc::clone(&engine.acceptor),
            registry,
            process: Arc::clone(process),
            core: Arc::downgrade(core),
        })));
        Ok(engine)
    }

    /// Waits until `until` for one request, and has it processed; false if none arrives, or if the
    /// concurrency model is at its maximum.
    fn serve_one(&self, until: Option<Instant>) -> io::Result<bool> {
        // After a panic the model counts as one that has room.
        if self.guard(|process| process.is_full()) == Some(true) {
            // New requests wait in the backlog. A signal must not wait.
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            let pause = left.map_or(FULL_INTERVAL, |left| left.min(FULL_INTERVAL));
            self.core.wake_pipe.wait(Some(pause));
            self.core.handle_wake();
            self.service_actions();
            return Ok(false);
        }
        let reap = (self.pending() > 0).then(|| Instant::now() + REAP_INTERVAL);
        let accepted = self.acceptor.next(until.into_iter().chain(reap).min())?;
        // A child that has ended no longer counts against a limit.
        self.service_actions();
        let Some(accepted) = accepted else {
            return Ok(false);
        };
        let request = self.request(accepted);
        let client = request.client_address().clone();
        let process = || self.process.process_request(request);
        self.core.guard(&client, process);
        Ok(true)
    }

    /// Lets the concurrency model look after its threads or children.
    fn service_actions(&self) {
        self.guard(|process| process.service_actions());
    }

    /// How many requests run in other processes; none if the model panics.
    fn pending(&self) -> usize {
        self.guard(|process| process.pending()).unwrap_or(0)
    }

    /// Calls the concurrency model, which may be the user's: its panic must not end
    /// `serve_forever`.
    fn guard<T>(&self, call: impl FnOnce(&dyn ProcessRequest) -> T) -> Option<T> {
        self.core
            .guard(&ClientAddress::Memory, || call(&*self.process))
    }

    fn request(&self, accepted: Accepted) -> Request {
        Request(match accepted {
            Accepted::Connection(session) => RequestKind::Stream {
                session,
                registry: Arc::clone(&self.registry),
                sources: Arc::clone(self.acceptor.sources()),
            },
            Accepted::Datagram(request, job) => RequestKind::Datagram { request, job },
        })
    }

    /// Waits for requests that run in other processes. The system has no wait for their end with a
    /// deadline, so this checks repeatedly.
    fn wait_for_children(&self, phase: LifecyclePhase, until: Option<Instant>) -> bool {
        loop {
            self.service_actions();
            self.core.handle_children();
            if self.pending() == 0 {
                return true;
            }
            let is_late = until.is_some_and(|until| until <= Instant::now());
            if is_late || self.core.phase() != phase {
                return false;
            }
            thread::sleep(DRAIN_REAP_INTERVAL);
        }
    }
}

impl Engine for DispatchEngine {
    fn listen(&self, sources: &[Source]) -> io::Result<()> {
        self.acceptor.watch(sources)
    }

    fn serve_until(&self, until: Option<Instant>) -> io::Result<()> {
        self.serve_one(until)?;
        Ok(())
    }

    fn handle_one(&self, sources: &[Source], until: Option<Instant>) -> io::Result<bool> {
        self.acceptor.watch(sources)?;
        while self.core.is_serving() {
            if self.serve_one(until)? {
                return Ok(true);
            }
            if until.is_some_and(|at| at <= Instant::now()) {
                break;
            }
        }
        Ok(false)
    }

    fn stop_listening(&self) {
        self.acceptor.clear();
    }

    /// Nothing to do: the threads that hold idle connections wait for the wake pipe too, and close
    /// them.
    fn close_idle(&self) {}

    fn abort(&self) -> usize {
        let children = self.pending();
        self.guard(|process| process.abort());
        let (parked, held) = self.registry.abort(Scope::Server(&self.core));
        children + parked.len() + held
    }

    fn wait_drained(&self, phase: LifecyclePhase, until: Option<Instant>) -> bool {
        // Children first: a connection counts as open until its process is reaped.
        self.wait_for_children(phase, until) && self.core.wait_drained(phase, until)
    }
}
