//! Waiting for one connection or datagram, on the calling thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::accept::StreamListener;
use super::datagrams::DatagramJob;
use super::lingering::Lingering;
use super::registry::Registry;
use super::slot::Scope;
use super::sources::{ListenTimeout, Source, Sources};
use crate::address::ClientAddress;
use crate::handle::{Core, Origin, not_serving};
use crate::poller::{Events, Interest, Mode, Poller};
use crate::request::DatagramRequest;
use crate::session::Session;

/// The poller's key of the wake pipe. Sources have other keys.
const WAKE: usize = 0;
/// The poller's key of what announces the server's end, which is seen even if a worker has drained
/// the wake pipe.
const CLOSING: usize = 1;
/// The poller's key of the first refused connection; the others follow.
const REFUSED: usize = 2;

/// What came.
pub(crate) enum Accepted {
    Connection(Box<Session>),
    Datagram(Box<DatagramRequest>, Arc<DatagramJob>),
}

/// Connections on their way to the accepting thread. The thread that puts one here then wakes the
/// server.
#[derive(Default)]
pub(crate) struct AdoptionQueue(Mutex<VecDeque<Box<Session>>>);

impl AdoptionQueue {
    pub(crate) fn put(&self, session: Box<Session>) {
        self.0.lock().push_back(session);
    }

    fn take(&self) -> Option<Box<Session>> {
        self.0.lock().pop_front()
    }

    /// Drops what was not taken, as the server goes down.
    pub(crate) fn clear(&self) {
        // Without the lock, and guarded: a handler's `drop` is the user's code.
        for session in std::mem::take(&mut *self.0.lock()) {
            if catch_unwind(AssertUnwindSafe(|| drop(session))).is_err() {
                log::error!("a handler panicked while it was dropped");
            }
        }
    }
}

/// A poller with a server's listening sockets.
pub(crate) struct Acceptor {
    core: Arc<Core>,
    poller: Poller,
    sources: Arc<Sources>,
    /// Connections that the program has made, and that come before those that wait to be accepted.
    pub(crate) adopted: AdoptionQueue,
    /// The connections that it has accepted.
    registry: Arc<Registry>,
    /// How many sources are watched.
    watched: Mutex<usize>,
    refused: Lingering,
}

impl Acceptor {
    pub(crate) fn new(core: &Arc<Core>, registry: &Arc<Registry>) -> io::Result<Acceptor> {
        let poller = Poller::new()?;
        let closing = core.wake_pipe.closing();
        poller.add(core.wake_pipe.as_fd(), WAKE, Interest::Read, Mode::Level)?;
        poller.add(closing, CLOSING, Interest::Read, Mode::Level)?;
        Ok(Acceptor {
            core: Arc::clone(core),
            poller,
            sources: Arc::default(),
            adopted: AdoptionQueue::default(),
            registry: Arc::clone(registry),
            watched: Mutex::new(0),
            refused: Lingering::default(),
        })
    }

    /// Watches these sources, of which the first may be watched already.
    pub(crate) fn watch(&self, sources: &[Source]) -> io::Result<()> {
        let mut watched = self.watched.lock();
        for source in &sources[*watched..] {
            self.sources.add(source.clone(), &self.poller)?;
            *watched += 1;
        }
        Ok(())
    }

    /// Lets go of all sources, and closes the connections that were refused or not served yet.
    pub(crate) fn clear(&self) {
        self.adopted.clear();
        self.refused.clear(&self.poller);
        self.sources.clear(&self.poller);
        *self.watched.lock() = 0;
    }

    /// The sources, for a child process that must let go of them.
    pub(crate) fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// Waits for one connection or datagram. `None` when `until` or a shutdown came first.
    pub(crate) fn next(&self, until: Option<Instant>) -> io::Result<Option<Accepted>> {
        let mut events = Events::new();
        while self.core.is_serving() {
            if let Some(session) = self.adopted.take() {
                return Ok(Some(Accepted::Connection(session)));
            }
            let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
            self.poller.wait(&mut events, self.shortened(timeout))?;
            let now = self.core.config.clock.now();
            for drained in self.sources.handle_due(now, &self.poller) {
                // Threads hold these connections. Their next read or write fails.
                let (_, held) = self.registry.abort(Scope::Origin(&drained.origin));
                drained.count(held);
            }
            self.guard(|| self.refused.expire(now, &self.poller));
            for event in events.iter() {
                let accepted = match (Sources::index_of(event.key), event.key) {
                    (Some(index), _) => self.guard(|| self.accept(index)).flatten(),
                    (None, WAKE) => {
                        self.core.handle_wake();
                        None
                    }
                    (None, CLOSING) => None, // the loop looks
                    (None, key) => {
                        self.guard(|| self.refused.ready(key - REFUSED, &self.poller));
                        None
                    }
                };
                if accepted.is_some() {
                    // Other events are found again: all descriptors are level-triggered.
                    return Ok(accepted);
                }
            }
            if until.is_some_and(|at| at <= Instant::now()) {
                break;
            }
        }
        Ok(None)
    }

    /// The wait must not outlast the pause of a listener, or the deadline of a refused connection.
    fn shortened(&self, timeout: Option<Duration>) -> Option<Duration> {
        let now = self.core.config.clock.now();
        let due = self.sources.next_due().into_iter();
        let due = due.chain(self.refused.next_deadline()).min();
        let left = due.map(|at| at.saturating_duration_since(now));
        timeout.into_iter().chain(left).min()
    }

    /// Accepting, and ending what was refused, may call `handle_refusal` and the trace, whose
    /// panics must not end the server. A connection is lost then.
    fn guard<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(call))
            .inspect_err(|panic| self.core.report_panic(&ClientAddress::Memory, &**panic))
            .ok()
    }

    /// Accepts one connection. A listener that takes no more of them is closed.
    fn accept_from(
        &self,
        listener: &StreamListener,
        index: usize,
    ) -> io::Result<Option<Box<Session>>> {
        let accepted = listener.accept_one(0);
        if listener.is_done() {
            self.sources.remove(index, &self.poller);
        }
        accepted
    }

    /// Watches another listener from now on, until `timeout` at most.
    pub(crate) fn add_listener(
        &self,
        listener: Arc<StreamListener>,
        timeout: Option<(Instant, Arc<ListenTimeout>)>,
    ) -> io::Result<usize> {
        let index = self.sources.add(Source::Listener(listener), &self.poller)?;
        // The accepting thread may have let go of all listeners just before.
        if !self.core.is_serving() {
            self.sources.remove(index, &self.poller);
            return Err(not_serving());
        }
        if let Some((until, timeout)) = timeout {
            self.sources.expire(index, until, timeout);
            self.poller.notify();
        }
        Ok(index)
    }

    /// Ends the connections of this origin, and aborts at `abort_at` what is left.
    pub(crate) fn drain(&self, origin: &Arc<Origin>, abort_at: Option<Instant>) {
        // This wakes the threads that sleep for these connections.
        origin.begin_drain(abort_at);
        if let Some(at) = abort_at {
            let core = Arc::downgrade(&self.core);
            self.sources.abort_at(at, origin, &core);
            self.poller.notify();
        }
    }

    pub(crate) fn remove_source(&self, index: usize) {
        self.sources.remove(index, &self.poller);
    }

    fn accept(&self, index: usize) -> Option<Accepted> {
        match self.sources.get(index)? {
            Source::Listener(listener) => match self.accept_from(&listener, index) {
                Ok(Some(session)) if !session.calls_handler() => {
                    self.refused.add(session, REFUSED, &self.poller);
                    None
                }
                Ok(session) => session.map(Accepted::Connection),
                Err(error) => {
                    let until = self.core.config.clock.now() + listener.failed(&error);
                    self.sources.pause(index, until, &self.poller);
                    None
                }
            },
            Source::Datagrams(job) => match job.receive() {
                Ok(request) => request.map(|request| Accepted::Datagram(request, job)),
                Err(error) => {
                    log::debug!("{}: {error}", job.server_address());
                    None
                }
            },
        }
    }
}
