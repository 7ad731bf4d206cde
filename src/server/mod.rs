//! The servers.

mod bind;
mod builder;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::address::{Address, ServerAddress};
use crate::bind::{BindOptions, Datagram, Listener};
use crate::clock::deadline;
use crate::error::Result;
use crate::handle::{Core, LifecyclePhase, ServerHandle};
use crate::process::ProcessRequest;
use crate::process::accept::StreamListener;
use crate::process::datagrams::{DatagramClass, DatagramJob};
use crate::process::engine::{self, Engine};
use crate::process::sources::Source;
use crate::session::StreamService;
pub use builder::Builder;

/// How long handlers that were aborted get to notice it.
const ABORT_TIMEOUT: Duration = Duration::from_millis(500);

/// A server: sockets that listen, handlers, and a concurrency model. Made by [`Builder`].
///
/// Dropping it closes the listening sockets; see [`server_close`](Server::server_close).
pub struct Server {
    core: Arc<Core>,
    process: Arc<dyn ProcessRequest>,
    /// Made when it is first needed.
    engine: Option<Arc<dyn Engine>>,
    service: Service,
    sources: Vec<Source>,
    addresses: Vec<ServerAddress>,
    bind: BindOptions,
    times: ServerTimes,
}

/// What a server's sockets carry, and who handles it.
enum Service {
    Stream(Arc<StreamService>),
    Datagrams(DatagramClass),
}

#[derive(Clone, Debug)]
struct ServerTimes {
    /// For `handle_request`.
    timeout: Option<Duration>,
    /// For `service_actions`; `None` when there are no hooks.
    interval: Option<Duration>,
    grace: Duration,
}

/// Serves TCP connections (Python's `TCPServer`): the same type as every server.
pub type TcpServer = Server;
/// Serves UDP datagrams (Python's `UDPServer`): the same type as every server.
pub type UdpServer = Server;
/// Serves connections to a Unix socket (Python's `UnixStreamServer`): the same type as every
/// server.
pub type UnixStreamServer = Server;
/// Serves datagrams to a Unix socket (Python's `UnixDatagramServer`): the same type as every
/// server.
pub type UnixDatagramServer = Server;

impl Server {
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

    /// Serves until [`ServerHandle::shutdown`], and then until the requests in flight have ended or
    /// the grace time is over; what is still running then is aborted. At once after an earlier
    /// shutdown. Nothing is polled for: a shutdown takes effect immediately (Python looks every
    /// `poll_interval`).
    ///
    /// # Errors
    /// When the system refuses a poller or a thread, or the concurrency model can't work here.
    pub fn serve_forever(&mut self) -> Result<()> {
        let engine = self.engine()?;
        let result = self.serve_until_shutdown(&*engine);
        self.wind_down();
        self.core.end();
        result
    }

    /// Waits for one request, at most for the builder's `timeout`, and has it processed; calls
    /// `handle_timeout` if none came.
    ///
    /// # Errors
    /// As for [`serve_forever`](Server::serve_forever).
    pub fn handle_request(&mut self) -> Result<()> {
        let engine = self.engine()?;
        let until = deadline(Instant::now(), self.times.timeout);
        let served = engine.handle_one(&self.sources, until)?;
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

    fn engine(&mut self) -> Result<Arc<dyn Engine>> {
        self.core.set_serving_thread(self.times.grace);
        self.process.check()?;
        if let Some(engine) = &self.engine {
            return Ok(Arc::clone(engine));
        }
        let engine = engine::for_model(&self.process, &self.core)?;
        Ok(Arc::clone(self.engine.insert(engine)))
    }

    /// The loop of every server, whatever its engine: paces `service_actions`.
    fn serve_until_shutdown(&self, engine: &dyn Engine) -> Result<()> {
        if !self.core.is_serving() {
            return Ok(());
        }
        engine.listen(&self.sources)?;
        let interval = self.times.interval;
        let mut next = deadline(Instant::now(), interval);
        while self.core.is_serving() {
            engine.serve_until(next)?;
            if next.is_some_and(|due| due <= Instant::now()) {
                self.core.hooks.service_actions();
                next = deadline(Instant::now(), interval);
            }
        }
        Ok(())
    }

    /// Closes the sockets, and ends what is still running. An error of `serve_forever` ends a
    /// server as a shutdown does.
    fn wind_down(&mut self) {
        self.core.enter(LifecyclePhase::Draining);
        let engine = self.engine.clone();
        self.close_sockets();
        if let Some(engine) = engine {
            engine.close_idle();
            self.drain(&*engine);
        }
    }

    fn close_sockets(&mut self) {
        if let Some(engine) = &self.engine {
            engine.stop_listening();
        }
        self.sources.clear();
    }

    /// Lets the requests in flight end within the grace time; then aborts them.
    fn drain(&self, engine: &dyn Engine) {
        let until = deadline(Instant::now(), Some(self.times.grace));
        let handle = self.handle();
        for request in handle.in_flight() {
            log::info!(
                "waiting for {}, busy for {:.1?}",
                request.client_address,
                request.since.elapsed()
            );
        }
        if engine.wait_drained(LifecyclePhase::Draining, until) {
            return;
        }
        for request in handle.in_flight() {
            log::warn!(
                "aborting {}, busy for {:.1?}",
                request.client_address,
                request.since.elapsed()
            );
        }
        self.core.enter(LifecyclePhase::Aborting);
        let aborted = engine.abort() as u64;
        self.core.stats.aborted.fetch_add(aborted, Relaxed);
        let until = deadline(Instant::now(), Some(ABORT_TIMEOUT));
        if !engine.wait_drained(LifecyclePhase::Aborting, until) {
            log::warn!(
                "{} connections are still in a handler's hands",
                self.core.open_connections()
            );
        }
    }

    /// Listens at another address too, with the same handlers, limits and threads.
    ///
    /// # Errors
    /// [`Error::Bind`](crate::Error::Bind).
    pub fn listen_also(&mut self, address: &Address) -> Result<()> {
        match &self.service {
            Service::Stream(_) => self.add_listener(Listener::bind(address, &self.bind)?),
            Service::Datagrams(_) => self.add_datagram_socket(Datagram::bind(address, &self.bind)?),
        }
        Ok(())
    }

    fn add_listener(&mut self, listener: Listener) {
        if let Service::Stream(service) = &self.service {
            self.addresses.push(listener.server_address().clone());
            let listener = StreamListener::new(
                Arc::new(listener),
                Arc::clone(service),
                Arc::clone(&self.core),
            );
            self.sources.push(Source::Listener(Arc::new(listener)));
        }
    }

    fn add_datagram_socket(&mut self, socket: Datagram) {
        if let Service::Datagrams(class) = &self.service {
            self.addresses.push(socket.server_address().clone());
            let job = DatagramJob::new(Arc::new(socket), Arc::clone(&self.core), Arc::clone(class));
            self.sources.push(Source::Datagrams(Arc::new(job)));
        }
    }
}

impl AsFd for Server {
    /// The first listening socket (Python's `fileno`).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sources[0].as_fd()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.core.enter(LifecyclePhase::Draining);
        self.core.end();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
