//! The accepting thread of every way to process but the pool.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blocking::BlockingWaker;
use super::registry::Registry;
use super::sources::{Source, Sources};
use super::{ProcessRequest, Request, RequestKind};
use crate::handle::Core;
use crate::poller::{Events, Interest, Mode, Poller};

/// The poller's keys of the bell, and of what tells of the end even if a worker has answered the
/// bell; sources have other ones.
const WAKE: usize = 0;
const CLOSING: usize = 1;

/// How often to look for children that have ended, while there are any: the program's SIGCHLD isn't
/// ours to take.
const REAP_INTERVAL: Duration = Duration::from_millis(100);

/// How often to look for room while as many requests are served as may be.
const FULL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits for connections and datagrams, and hands them to a [`ProcessRequest`].
pub(crate) struct Dispatcher {
    core: Arc<Core>,
    poller: Poller,
    sources: Arc<Sources>,
    registry: Arc<Registry>,
}

impl Dispatcher {
    pub(crate) fn new(core: &Arc<Core>, sources: &[Source]) -> io::Result<Dispatcher> {
        let poller = Poller::new()?;
        poller.add(core.wake_pipe.as_fd(), WAKE, Interest::Read, Mode::Level)?;
        poller.add(
            core.wake_pipe.closing(),
            CLOSING,
            Interest::Read,
            Mode::Level,
        )?;
        let watched = Sources::default();
        for source in sources {
            watched.add(source.clone(), &poller)?;
        }
        let registry = Arc::new(Registry::new());
        Ok(Dispatcher {
            core: Arc::clone(core),
            poller,
            sources: Arc::new(watched),
            registry,
        })
    }

    /// Has the server's handle reach this dispatcher.
    pub(crate) fn register_waker(&self) {
        let waker = BlockingWaker {
            registry: Arc::clone(&self.registry),
            core: Arc::downgrade(&self.core),
        };
        self.core.set_waker(Arc::new(waker));
    }

    /// Waits until `until` for one request, and has it processed; false if none came.
    pub(crate) fn handle_one(
        &self,
        process: &dyn ProcessRequest,
        until: Option<Instant>,
    ) -> io::Result<bool> {
        let mut events = Events::new();
        while self.core.is_serving() {
            let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
            self.poller.wait(&mut events, self.shortened(timeout))?;
            self.sources.retry(self.core.clock.now(), &self.poller);
            for event in events.iter() {
                if event.key == WAKE {
                    self.core.handle_wake();
                }
                // A child that has ended counts no more against a limit.
                process.service_actions();
                if let Some(index) = Sources::index_of(event.key)
                    && let Some(request) = self.next_request(index)
                {
                    process.process_request(request);
                    return Ok(true);
                }
            }
            if until.is_some_and(|at| at <= Instant::now()) {
                break;
            }
        }
        Ok(false)
    }

    /// Serves until the server is shut down; calls `service_actions` every `interval`.
    pub(crate) fn run(
        &self,
        process: &dyn ProcessRequest,
        interval: Option<Duration>,
    ) -> io::Result<()> {
        let mut next = interval.map(|interval| Instant::now() + interval);
        while self.core.is_serving() {
            if process.is_full() {
                // What is to come waits in the backlog; a signal must not.
                self.core.wake_pipe.wait(Some(FULL_INTERVAL));
                self.core.handle_wake();
                process.service_actions();
                continue;
            }
            let reap = (process.pending() > 0).then(|| Instant::now() + REAP_INTERVAL);
            self.handle_one(process, next.into_iter().chain(reap).min())?;
            process.service_actions();
            if let (Some(due), Some(interval)) = (next, interval)
                && due <= Instant::now()
            {
                self.core.hooks.service_actions();
                next = Some(Instant::now() + interval);
            }
        }
        Ok(())
    }

    /// Lets go of the listening sockets: whoever connects from now on is refused.
    pub(crate) fn stop_listening(&self) {
        self.sources.clear(&self.poller);
    }

    /// Ends the sockets of the requests in flight; tells how many.
    pub(crate) fn abort(&self) -> usize {
        self.registry.abort_held(&self.core, false)
    }

    /// The wait must not outlast the pause of a listener.
    fn shortened(&self, timeout: Option<Duration>) -> Option<Duration> {
        let now = self.core.clock.now();
        let retry = self
            .sources
            .next_retry()
            .map(|at| at.saturating_duration_since(now));
        timeout.into_iter().chain(retry).min()
    }

    fn next_request(&self, index: usize) -> Option<Request> {
        match self.sources.get(index)? {
            Source::Listener(listener) => match listener.accept_one(0) {
                Ok(session) => session.map(|session| {
                    let (registry, sources) =
                        (Arc::clone(&self.registry), Arc::clone(&self.sources));
                    Request(RequestKind::Stream {
                        session,
                        registry,
                        sources,
                    })
                }),
                Err(error) => {
                    let pause = listener.failed(&error);
                    self.sources
                        .pause(index, self.core.clock.now() + pause, &self.poller);
                    None
                }
            },
            Source::Datagrams(job) => match job.receive() {
                Ok(request) => {
                    request.map(|request| Request(RequestKind::Datagram { request, job }))
                }
                Err(error) => {
                    log::debug!("{}: {error}", job.server_address());
                    None
                }
            },
        }
    }
}
