//! The servers.

mod adopt;
mod bind;
mod builder;
mod listen;
mod spawn;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::address::{ClientAddress, ServerAddress, ToAddress};
use crate::bind::{BindOptions, Datagram, Listener};
use crate::clock::deadline;
use crate::error::Result;
use crate::handle::{Core, InFlight, LifecyclePhase, ServerHandle};
use crate::hooks::ServerHooks;
use crate::process;
use crate::process::ProcessRequest;
use crate::process::accept::{AcceptRules, StreamListener};
use crate::process::datagrams::{DatagramJob, DatagramService};
use crate::process::engine::Engine;
use crate::process::sources::Source;
use crate::session::StreamService;
pub use builder::Builder;
pub use listen::{Listen, RunningListener};
pub use spawn::ServerGuard;

/// How long handlers that were aborted get to notice it.
const ABORT_TIMEOUT: Duration = Duration::from_millis(500);

/// A shutdown logs this many requests in flight by their clients, and the number of the others.
const MAX_LOGGED_REQUESTS: usize = 20;

/// A server: sockets that listen, handlers, and a concurrency model. Made by [`Builder`].
///
/// Dropping it closes the listening sockets, lets the requests in flight end within the grace time,
/// and then waits for threads or children where Python does (`block_on_close`), as leaving Python's
/// `with server:` does. A panic that unwinds through the server's owner waits for the grace time at
/// most.
///
/// In Python's way, one request at a time:
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let hello = |request: &mut StreamRequest| {
///     request.wfile.write_all(b"hello")?;
///     Ok(Next::Close)
/// };
/// let mut server = Builder::new().tcp("127.0.0.1:0", move |_| hello)?;
/// server.listen_also("127.0.0.1:0")?;
/// assert_eq!(server.server_addresses().len(), 2);
/// assert!(server.fileno().is_some());
/// server.server_activate()?;
///
/// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
/// client.write_all(b"\n")?;
/// server.handle_request()?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello");
///
/// server.handle().shutdown(); // usually by a signal or another thread
/// server.serve_forever()?;
/// server.server_close();
/// # Ok::<(), socketserver::Error>(())
/// ```
pub struct Server {
    core: Arc<Core>,
    process: Arc<dyn ProcessRequest>,
    /// Made when it is first needed.
    engine: Mutex<Option<Arc<dyn Engine>>>,
    service: ServerKind,
    sources: Vec<Source>,
    addresses: Vec<ServerAddress>,
    bind: BindOptions,
    times: ServerTimes,
    /// Whether nothing was begun since the requests in flight were last waited for.
    is_drained: bool,
}

/// What a server's sockets carry, and who handles it.
enum ServerKind {
    Stream(Arc<StreamService>),
    Datagrams(DatagramService),
}

#[derive(Clone, Debug)]
struct ServerTimes {
    /// For `handle_request`.
    timeout: Option<Duration>,
    /// For `service_actions`; `None` when there are no hooks.
    interval: Option<Duration>,
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
    /// The address on which the server listens (Python's `server_address`), with the real port
    /// after port 0. The first one if there are several.
    pub fn server_address(&self) -> &ServerAddress {
        &self.addresses[0]
    }

    /// All addresses on which the server listens.
    pub fn server_addresses(&self) -> &[ServerAddress] {
        &self.addresses
    }

    /// A handle to shut the server down, or to look at it, from any thread.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(Arc::clone(&self.core))
    }

    /// Prepares to serve: checks that the concurrency model works in this process, and starts the
    /// pool's threads. [`serve_forever`](Server::serve_forever) does so too. A program that
    /// announces that it is ready must call this before the announcement, because it may fail.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the system refuses a poller or a thread;
    /// [`Error::Unsupported`](crate::Error::Unsupported) when the concurrency model cannot work in
    /// this process.
    pub fn server_activate(&self) -> Result<()> {
        self.engine().map(drop)
    }

    /// Serves until [`ServerHandle::shutdown`], and then until the requests in flight have ended or
    /// the grace time is over. Requests that are still running then are aborted; a handler that
    /// does not react to that gets 500 ms more. A shutdown takes effect immediately (Python looks
    /// every `poll_interval`).
    ///
    /// It may be called again, unless the server was [closed](ServerHandle::close). It returns
    /// immediately if a shutdown was requested since it last returned.
    ///
    /// # Errors
    /// As for [`server_activate`](Server::server_activate).
    pub fn serve_forever(&mut self) -> Result<()> {
        let engine = self.engine()?;
        self.core.set_serving_thread();
        let result = if self.core.begin() {
            self.is_drained = false;
            self.serve_until_shutdown(&*engine)
        } else {
            Ok(())
        };
        self.wind_down();
        self.core.end();
        result
    }

    /// Waits for one request, at most for the builder's [`timeout`](crate::Builder::timeout), and
    /// processes it. Calls `handle_timeout` if none arrives. Returns immediately if a shutdown was
    /// requested.
    ///
    /// If requests are processed in threads or children, this returns when the request was handed
    /// over. The connection then stays open until it ends, a shutdown finds it idle, or the server
    /// is dropped.
    ///
    /// # Errors
    /// As for [`server_activate`](Server::server_activate).
    pub fn handle_request(&mut self) -> Result<()> {
        let engine = self.engine()?;
        self.core.set_serving_thread();
        if !self.core.begin_request() {
            return Ok(());
        }
        self.is_drained = false;
        let until = deadline(Instant::now(), self.times.timeout);
        let served = engine.handle_one(&self.sources, until)?;
        if !served && self.core.is_serving() {
            self.call_hook(|hooks| hooks.handle_timeout());
        }
        Ok(())
    }

    /// Closes the listening sockets, and waits for the requests in flight, exactly as dropping the
    /// server does.
    pub fn server_close(self) {
        drop(self);
    }

    /// The descriptor of the first listening socket (Python's `fileno`), for poll(2). `None` once
    /// the sockets are closed, where Python returns -1.
    pub fn fileno(&self) -> Option<BorrowedFd<'_>> {
        self.sources.first().map(AsFd::as_fd)
    }

    /// Calls a hook that is not about a client.
    fn call_hook(&self, call: impl FnOnce(&dyn ServerHooks)) {
        let _handler = self.core.enter_handler();
        self.core.call_hook(&ClientAddress::Memory, call);
    }

    /// Calls the concurrency model, which may be the user's: its panic must not unwind out of the
    /// server's `drop`.
    fn guard_model<T>(&self, call: impl FnOnce(&dyn ProcessRequest) -> T) -> Option<T> {
        self.core
            .guard(&ClientAddress::Memory, || call(&*self.process))
    }

    fn engine(&self) -> Result<Arc<dyn Engine>> {
        self.process.check()?;
        let mut engine = self.engine.lock();
        Ok(Arc::clone(match &mut *engine {
            Some(engine) => engine,
            none => none.insert(process::engine_for(&self.process, &self.core)?),
        }))
    }

    /// The loop of every server, whatever its engine: paces `service_actions`.
    fn serve_until_shutdown(&self, engine: &dyn Engine) -> Result<()> {
        engine.listen(&self.sources)?;
        let interval = self.times.interval;
        let mut next = deadline(Instant::now(), interval);
        while self.core.is_serving() {
            engine.serve_until(next)?;
            if next.is_some_and(|due| due <= Instant::now()) {
                self.call_hook(|hooks| hooks.service_actions());
                next = deadline(Instant::now(), interval);
            }
        }
        Ok(())
    }

    /// Accepts nothing more, and ends what is still running. An error of `serve_forever` ends it as
    /// a shutdown does.
    fn wind_down(&mut self) {
        self.core.enter(LifecyclePhase::Draining);
        let engine = self.engine.lock().clone();
        if let Some(engine) = &engine {
            engine.stop_listening();
        }
        if self.core.is_closed() {
            self.sources.clear();
        }
        if let Some(engine) = engine
            && !std::mem::replace(&mut self.is_drained, true)
        {
            engine.close_idle();
            self.drain(&*engine);
        }
    }

    /// Lets the requests in flight end within the grace time, which began when the shutdown was
    /// asked for; then aborts them.
    fn drain(&self, engine: &dyn Engine) {
        let until = self.core.grace_deadline();
        let handle = self.handle();
        log_in_flight(log::Level::Info, "waiting for", handle.in_flight());
        if engine.wait_drained(LifecyclePhase::Draining, until) {
            return;
        }
        log_in_flight(log::Level::Warn, "aborting", handle.in_flight());
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

    /// Listens on another address too, with the same handlers, limits and threads.
    ///
    /// # Errors
    /// [`Error::Address`](crate::Error::Address) if `address` is not valid;
    /// [`Error::Bind`](crate::Error::Bind) if it cannot be bound.
    pub fn listen_also(&mut self, address: impl ToAddress) -> Result<()> {
        let address = address.to_address()?;
        match &self.service {
            ServerKind::Stream(_) => self.add_listener(Listener::bind(&address, &self.bind)?),
            ServerKind::Datagrams(_) => {
                self.add_datagram_socket(Datagram::bind(&address, &self.bind)?);
            }
        }
        Ok(())
    }

    fn add_listener(&mut self, listener: Listener) {
        if let ServerKind::Stream(service) = &self.service {
            self.addresses.push(listener.server_address().clone());
            let listener = StreamListener::new(
                Arc::new(listener),
                Arc::clone(service),
                Arc::clone(&self.core),
                AcceptRules::default(),
            );
            self.sources.push(Source::Listener(Arc::new(listener)));
        }
    }

    fn add_datagram_socket(&mut self, socket: Datagram) {
        if let ServerKind::Datagrams(service) = &self.service {
            self.addresses.push(socket.server_address().clone());
            let socket = Arc::new(socket);
            self.core.count_drops(&socket);
            let job = DatagramJob::new(socket, Arc::clone(&self.core), service);
            self.sources.push(Source::Datagrams(Arc::new(job)));
        }
    }
}

/// Logs what a shutdown waits for or aborts, the oldest first. A busy server has thousands of
/// requests in flight, which would bury every other line.
fn log_in_flight(level: log::Level, what: &str, mut requests: Vec<InFlight>) {
    requests.sort_by_key(|request| request.since);
    for request in requests.iter().take(MAX_LOGGED_REQUESTS) {
        log::log!(
            level,
            "{what} {}, busy for {:.1?}",
            request.client_address,
            request.since.elapsed()
        );
    }
    if let Some(more) = requests.len().checked_sub(MAX_LOGGED_REQUESTS)
        && more > 0
    {
        log::log!(level, "{what} {more} more");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.core.close();
        // A handler that drops its own server must not wait for itself. Requests that Python leaves
        // to themselves (`daemon_threads`, no `block_on_close`) are not waited for.
        let blocks = self.guard_model(|process| process.blocks_on_close()) != Some(false)
            && !self.core.is_called_by_handler();
        self.is_drained |= !blocks;
        self.wind_down();
        if blocks && !std::thread::panicking() {
            self.guard_model(|process| process.server_close());
        }
        self.core.set_engine_view(None);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Next;
    use crate::process::Synchronous;
    use crate::request::StreamRequest;

    #[test]
    fn a_shutdown_of_the_last_run_leaves_nothing_in_the_next_one() {
        let class = |_: &_| |_: &mut StreamRequest| Ok(Next::Close);
        let settings = Builder::new().process(Synchronous);
        let server = settings.tcp("127.0.0.1:0", class).unwrap();
        let core = &server.core;
        assert!(core.begin());
        for _ in 0..2000 {
            std::thread::scope(|scope| {
                scope.spawn(|| server.handle().shutdown());
                while core.is_serving() {
                    std::hint::spin_loop();
                }
                core.end();
                assert!(core.begin());
            });
            assert!(core.is_serving());
            assert!(!core.wake_pipe.is_closing(), "it would wake every wait");
        }
    }
}
