//! The servers.

mod builder;

use std::marker::PhantomData;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::address::{Address, ServerAddress};
use crate::bind::{BindOptions, Datagram, Listener};
use crate::error::Result;
use crate::handle::{Core, LifecyclePhase, ServerHandle};
use crate::process::accept::StreamListener;
use crate::process::datagrams::{DatagramClass, DatagramJob};
use crate::process::sources::Source;
use crate::process::{Dispatcher, Pool, ProcessRequest, ThreadingMixIn};
use crate::session::StreamService;
pub use builder::Builder;

/// How long handlers that were cut get to notice it.
const ABORT_TIMEOUT: Duration = Duration::from_millis(500);

/// A server: sockets that listen, handlers, and a way to process requests. Made by [`Builder`].
///
/// Dropping it closes the listening sockets; see [`server_close`](Server::server_close).
pub struct Server<S> {
    core: Arc<Core>,
    process: Arc<dyn ProcessRequest>,
    sources: Vec<Source>,
    addresses: Vec<ServerAddress>,
    service: Option<Arc<StreamService>>,
    datagrams: Option<DatagramClass>,
    bind: BindOptions,
    times: ServerTimes,
    dispatcher: Option<Dispatcher>,
    kind: PhantomData<fn() -> S>,
}

#[derive(Clone, Debug)]
struct ServerTimes {
    /// For `handle_request`.
    timeout: Option<Duration>,
    /// For `service_actions`; `None` when there are no hooks.
    interval: Option<Duration>,
    grace: Duration,
}

/// Serves TCP connections (Python's `TCPServer`).
pub type TcpServer = Server<TcpListener>;
/// Serves UDP datagrams (Python's `UDPServer`).
pub type UdpServer = Server<UdpSocket>;
/// Serves connections to a Unix socket (Python's `UnixStreamServer`).
pub type UnixStreamServer = Server<UnixListener>;
/// Serves datagrams to a Unix socket (Python's `UnixDatagramServer`).
pub type UnixDatagramServer = Server<UnixDatagram>;

impl<S> Server<S> {
    /// Where the server listens (Python's `server_address`); the first, if there are several.
    pub fn server_address(&self) -> &ServerAddress {
        &self.addresses[0]
    }

    /// Everywhere the server listens.
    pub fn server_addresses(&self) -> &[ServerAddress] {
        &self.addresses
    }

    /// What others use to end the server, or to look at it.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(Arc::clone(&self.core))
    }

    /// Starts the threads of the pool ahead of [`serve_forever`](Server::serve_forever), which does
    /// so too. Call it before you announce that the server is ready: then a lack of threads is
    /// known in time. Does nothing in the other concurrency models.
    ///
    /// # Errors
    /// When the system refuses a poller or a thread, or the concurrency model cannot work here.
    pub fn start_threads(&self) -> Result<()> {
        self.process.check()?;
        if let Some(pool) = self.process.pool() {
            pool.engine(&self.core.clock)?;
        }
        Ok(())
    }

    /// Serves until [`ServerHandle::shutdown`], and then until the requests in flight have ended or
    /// the grace time is over; what is still running then is cut. At once after an earlier
    /// shutdown. Nothing is polled for: a shutdown takes effect immediately (Python looks every
    /// `poll_interval`).
    ///
    /// # Errors
    /// When the system refuses a poller or a thread, or the way to process can't work here.
    pub fn serve_forever(&mut self) -> Result<()> {
        self.process.check()?;
        let result = match self.process.pool().cloned() {
            Some(pool) => self.serve_by_pool(&pool),
            None => self.serve_by_dispatcher(),
        };
        self.core.end();
        result
    }

    /// Waits for one request, at most for the builder's `timeout`, and has it processed; calls
    /// `handle_timeout` if none came.
    ///
    /// # Errors
    /// As for [`serve_forever`](Server::serve_forever).
    pub fn handle_request(&mut self) -> Result<()> {
        self.process.check()?;
        let until = self
            .times
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let process = Arc::clone(&self.process);
        let served = self.dispatcher()?.handle_one(&*process, until)?;
        self.process.service_actions();
        if !served && self.core.is_serving() {
            self.core.hooks.handle_timeout();
        }
        Ok(())
    }

    /// Closes the listening sockets, and waits for threads or children where Python does
    /// (`block_on_close`). Dropping the server closes the sockets too, but waits for nobody.
    pub fn server_close(mut self) {
        self.core.enter(LifecyclePhase::Draining);
        self.close_sockets();
        self.process.server_close();
    }

    fn dispatcher(&mut self) -> Result<&Dispatcher> {
        let dispatcher = match self.dispatcher.take() {
            Some(dispatcher) => dispatcher,
            None => Dispatcher::new(&self.core, &self.sources)?,
        };
        if self.process.pool().is_none() {
            dispatcher.register_waker();
        }
        Ok(self.dispatcher.insert(dispatcher))
    }

    fn serve_by_dispatcher(&mut self) -> Result<()> {
        let process = Arc::clone(&self.process);
        let interval = self.times.interval;
        let result = self.dispatcher()?.run(&*process, interval);
        self.core.enter(LifecyclePhase::Draining); // an error ends it as a shutdown does
        let dispatcher = self.dispatcher.take();
        dispatcher.iter().for_each(Dispatcher::stop_listening);
        self.close_sockets();
        self.drain(|| dispatcher.as_ref().map_or(0, Dispatcher::abort));
        Ok(result?)
    }

    fn serve_by_pool(&mut self, pool: &ThreadingMixIn) -> Result<()> {
        let engine = pool.engine(&self.core.clock)?;
        ThreadingMixIn::register_waker(&engine, &self.core);
        let mut indices = Vec::new();
        let added = self.sources.iter().try_for_each(|source| {
            indices.push(engine.add_source(source.clone())?);
            Ok(())
        });
        if added.is_ok() {
            self.wait_for_shutdown();
        }
        self.core.enter(LifecyclePhase::Draining); // an error ends it as a shutdown does
        indices
            .into_iter()
            .for_each(|index| engine.remove_source(index));
        self.close_sockets();
        engine.close_idle_connections(&self.core);
        self.drain(|| Pool::abort(&engine, &self.core));
        added
    }

    fn wait_for_shutdown(&self) {
        let mut next = self
            .times
            .interval
            .map(|interval| Instant::now() + interval);
        while self.core.is_serving() {
            self.core
                .wake_pipe
                .wait(next.map(|due| due.saturating_duration_since(Instant::now())));
            self.core.handle_wake();
            if let (Some(due), Some(interval)) = (next, self.times.interval)
                && due <= Instant::now()
            {
                self.core.hooks.service_actions();
                next = Some(Instant::now() + interval);
            }
        }
    }

    fn close_sockets(&mut self) {
        self.dispatcher = None;
        self.sources.clear();
    }

    /// Lets the requests in flight end within the grace time; then cuts them.
    fn drain(&self, cut: impl Fn() -> usize) {
        let until = Instant::now() + self.times.grace;
        let handle = self.handle();
        for request in handle.in_flight() {
            log::info!(
                "waiting for {}, busy for {:.1?}",
                request.client_address,
                request.since.elapsed()
            );
        }
        // Children first: a connection counts as open until its process is reaped.
        if self.wait_for_children(LifecyclePhase::Draining, until)
            && self.core.wait_drained(LifecyclePhase::Draining, until)
        {
            return;
        }
        for request in handle.in_flight() {
            log::warn!(
                "cutting {}, busy for {:.1?}",
                request.client_address,
                request.since.elapsed()
            );
        }
        let children = self.process.pending();
        self.core.enter(LifecyclePhase::Aborting);
        self.process.abort();
        self.core
            .stats
            .aborted
            .fetch_add((cut() + children) as u64, Relaxed);
        let until = Instant::now() + ABORT_TIMEOUT;
        if !(self.wait_for_children(LifecyclePhase::Aborting, until)
            && self.core.wait_drained(LifecyclePhase::Aborting, until))
        {
            log::warn!(
                "{} connections are still in a handler's hands",
                self.core.open_connections()
            );
        }
    }

    /// Waits for requests that run in other processes. Their end can't be waited for with a
    /// deadline, so this looks.
    fn wait_for_children(&self, phase: LifecyclePhase, until: Instant) -> bool {
        loop {
            self.process.service_actions();
            if self.process.pending() == 0 {
                return true;
            }
            if Instant::now() >= until || self.core.phase() != phase {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl<S> Server<S> {
    /// Listens at another address too, with the same handlers, limits and threads.
    ///
    /// # Errors
    /// [`Error::Bind`](crate::Error::Bind).
    pub fn listen_also(&mut self, address: &Address) -> Result<()> {
        if self.datagrams.is_some() {
            let socket = Datagram::bind(address, &self.bind)?;
            self.add_datagram_socket(socket);
        } else {
            let listener = Listener::bind(address, &self.bind)?;
            self.add_listener(listener);
        }
        Ok(())
    }

    fn add_listener(&mut self, listener: Listener) {
        if let Some(service) = &self.service {
            self.addresses.push(listener.server_address().clone());
            let listener = StreamListener::new(
                Arc::new(listener),
                Arc::clone(service),
                Arc::clone(&self.core),
            );
            self.sources.push(Source::Listener(Arc::new(listener)));
            self.dispatcher = None;
        }
    }

    fn add_datagram_socket(&mut self, socket: Datagram) {
        if let Some(class) = &self.datagrams {
            self.addresses.push(socket.server_address().clone());
            let job = DatagramJob::new(Arc::new(socket), Arc::clone(&self.core), Arc::clone(class));
            self.sources.push(Source::Datagrams(Arc::new(job)));
            self.dispatcher = None;
        }
    }
}

impl<S> std::os::fd::AsFd for Server<S> {
    /// The first listening socket (Python's `fileno`).
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.sources[0].as_fd()
    }
}

impl<S> Drop for Server<S> {
    fn drop(&mut self) {
        self.core.enter(LifecyclePhase::Draining);
        self.core.end();
    }
}

impl<S> std::fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
