//! How a server is put together.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Server, ServerTimes, TcpServer, UdpServer, UnixDatagramServer, UnixStreamServer};
use crate::address::{Address, Networks};
use crate::bind::{AddressFamily, BindOptions, Datagram, Listener};
use crate::clock::Clock;
use crate::config::{Limits, Timeouts};
use crate::error::{Error, Result};
use crate::handle::Core;
use crate::handler::{
    DatagramRequestHandler, RequestHandlerClass, StreamRequestHandler, serve_datagram,
};
use crate::hooks::{DefaultHooks, ServerHooks};
use crate::process::{ProcessRequest, ThreadingMixIn};
use crate::request::DatagramRequest;
use crate::session::StreamService;
use crate::tls::Tls;
use crate::trace::Trace;

/// Settings of a server; the last call makes it, and binds its socket.
///
/// ```
/// use std::time::Duration;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let hello = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     Ok(Next::Wait)
/// };
/// let builder = Builder::new().idle_timeout(Some(Duration::from_secs(60)));
/// let server = builder.tcp("127.0.0.1:0", move |_: &_| hello).unwrap();
/// assert_ne!(server.server_address().inet().unwrap().port(), 0);
/// ```
pub struct Builder {
    bind: BindOptions,
    timeouts: Timeouts,
    limits: Limits,
    clock: Clock,
    hooks: Option<Box<dyn ServerHooks>>,
    process: Arc<dyn ProcessRequest>,
    tls: Option<Tls>,
    plaintext: bool,
    proxies: Option<Networks>,
    trace: Option<Arc<dyn Trace>>,
    timeout: Option<Duration>,
    poll_interval: Duration,
    grace: Duration,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            bind: BindOptions::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            clock: Clock::default(),
            hooks: None,
            process: Arc::new(ThreadingMixIn::new()),
            tls: None,
            plaintext: false,
            proxies: None,
            trace: None,
            timeout: None,
            poll_interval: Duration::from_millis(500),
            grace: Duration::from_secs(10),
        }
    }
}

/// The settings.
impl Builder {
    /// The defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// How requests are processed. Defaults to a [`ThreadingMixIn`] of the server's own.
    pub fn process(self, how: impl ProcessRequest) -> Builder {
        Builder {
            process: Arc::new(how),
            ..self
        }
    }

    /// What looks at the server and decides for it. Defaults to [`DefaultHooks`].
    pub fn hooks(self, hooks: impl ServerHooks) -> Builder {
        Builder {
            hooks: Some(Box::new(hooks)),
            ..self
        }
    }

    /// How many connections the system keeps until they are accepted (the listen backlog). Defaults
    /// to 1,024 (5 in Python).
    pub fn request_queue_size(mut self, backlog: u32) -> Builder {
        self.bind.request_queue_size = backlog;
        self
    }

    /// Whether a TCP port that an earlier server has just left can be bound again at once. Defaults
    /// to true (false in Python's `TCPServer`, true in its HTTP server).
    pub fn allow_reuse_address(mut self, yes: bool) -> Builder {
        self.bind.allow_reuse_address = yes;
        self
    }

    /// Whether several servers may bind the same port, and share its connections. Defaults to
    /// false.
    pub fn allow_reuse_port(mut self, yes: bool) -> Builder {
        self.bind.allow_reuse_port = yes;
        self
    }

    /// Which IP addresses to listen on. Defaults to [`AddressFamily::Any`]: those that the address
    /// names; `:PORT` is both families on one socket.
    pub fn address_family(mut self, family: AddressFamily) -> Builder {
        self.bind.address_family = family;
        self
    }

    /// How long `handle_request` waits for a request. Defaults to `None`: for ever.
    pub fn timeout(self, timeout: Option<Duration>) -> Builder {
        Builder { timeout, ..self }
    }

    /// How often `service_actions` is called; shutdown never waits for it. Without hooks it isn't.
    /// Defaults to 500 ms.
    pub fn poll_interval(self, interval: Duration) -> Builder {
        Builder {
            poll_interval: interval.max(Duration::from_millis(1)),
            ..self
        }
    }

    /// How long requests in flight may go on after a shutdown. Defaults to 10 s.
    pub fn grace(self, grace: Duration) -> Builder {
        Builder { grace, ..self }
    }

    /// All deadlines at once. Defaults to [`Timeouts::default`].
    pub fn timeouts(self, timeouts: Timeouts) -> Builder {
        Builder { timeouts, ..self }
    }

    /// How long a connection may be silent between messages. Defaults to 10 min.
    pub fn idle_timeout(mut self, time: Option<Duration>) -> Builder {
        self.timeouts.idle = time;
        self
    }

    /// How long a handshake, a PROXY header, or the head of a message may take. Defaults to 10 s.
    pub fn head_timeout(mut self, time: Option<Duration>) -> Builder {
        self.timeouts.head = time;
        self
    }

    /// How long a peer may send nothing within a message. Defaults to 30 s.
    pub fn read_timeout(mut self, time: Option<Duration>) -> Builder {
        self.timeouts.read = time;
        self
    }

    /// How long a peer may take nothing of an answer. Defaults to 30 s.
    pub fn write_timeout(mut self, time: Option<Duration>) -> Builder {
        self.timeouts.write = time;
        self
    }

    /// Below how many bytes a second, over 10 s within a message, a peer is cut; 0 is off. Defaults
    /// to 100.
    pub fn min_rate(mut self, bytes_per_second: u64) -> Builder {
        self.timeouts.min_rate = bytes_per_second;
        self
    }

    /// All limits at once. Defaults to [`Limits::default`].
    pub fn limits(self, limits: Limits) -> Builder {
        Builder { limits, ..self }
    }

    /// How many connections may be open. Defaults to 16,384.
    pub fn max_connections(mut self, count: usize) -> Builder {
        self.limits.max_connections = count;
        self
    }

    /// How many connections one client address may have open. Defaults to `None`: no limit.
    pub fn max_per_address(mut self, count: Option<usize>) -> Builder {
        self.limits.max_per_address = count;
        self
    }

    /// How many ready connections may wait for a thread before new ones are refused. Defaults to
    /// 16,384.
    pub fn max_queue(mut self, count: usize) -> Builder {
        self.limits.max_queue = count;
        self
    }

    /// How many bytes of an unfinished message are kept. Defaults to 64 KiB.
    pub fn max_message(mut self, bytes: usize) -> Builder {
        self.limits.max_message = bytes;
        self
    }

    /// The longest datagram, from 1 byte to 1 MiB; a value outside of this range means the nearest
    /// one in it. Defaults to 8,192 bytes, Python's.
    pub fn max_packet_size(mut self, bytes: usize) -> Builder {
        self.limits.max_packet_size = bytes;
        self
    }

    /// Encrypts every connection. Defaults to `None`.
    pub fn tls(self, tls: Option<Tls>) -> Builder {
        Builder { tls, ..self }
    }

    /// With TLS, whether a client that speaks in the clear is served too, told apart by its first
    /// byte (0x16 begins a TLS handshake, RFC 8446 §5.1): [`is_tls`](crate::StreamRequest::is_tls)
    /// tells the handler, which should do no more than say where to go. The handler of such a
    /// client is made when that byte has come, so a protocol where the server speaks first gets
    /// nowhere in the clear. Defaults to false: the client is closed, with an alert.
    pub fn allow_plaintext(self, yes: bool) -> Builder {
        Builder {
            plaintext: yes,
            ..self
        }
    }

    /// From these peers, and only from them, a PROXY header (v1 or v2) tells who the client is;
    /// they must send one. From all others the same bytes are data. Defaults to `None`.
    pub fn proxy_protocol(self, peers: Option<Networks>) -> Builder {
        Builder {
            proxies: peers.filter(|peers| !peers.is_empty()),
            ..self
        }
    }

    /// Shows all that crosses the wire to `trace`. Defaults to nobody.
    pub fn trace(self, trace: impl Trace) -> Builder {
        Builder {
            trace: Some(Arc::new(trace)),
            ..self
        }
    }

    /// Where the time of deadlines comes from. Defaults to the system's clock.
    pub fn clock(self, clock: Clock) -> Builder {
        Builder { clock, ..self }
    }
}

/// The servers.
impl Builder {
    /// A server of TCP connections.
    ///
    /// # Errors
    /// [`Error::Address`] for what isn't `HOST:PORT`, [`Error::Bind`] if it can't be had.
    pub fn tcp<H: StreamRequestHandler>(
        self,
        at: &str,
        class: impl RequestHandlerClass<H>,
    ) -> Result<TcpServer> {
        let listener = Listener::bind(&inet(at)?, &self.bind)?;
        self.stream_server(listener, class)
    }

    /// A server of connections to a Unix socket; a stale path is taken over, a living server's is
    /// an error.
    ///
    /// # Errors
    /// [`Error::Bind`] if it can't be had.
    pub fn unix_stream<H: StreamRequestHandler>(
        self,
        at: impl AsRef<Path>,
        class: impl RequestHandlerClass<H>,
    ) -> Result<UnixStreamServer> {
        let listener = Listener::bind(&Address::Unix(at.as_ref().to_owned()), &self.bind)?;
        self.stream_server(listener, class)
    }

    /// A server of connections to any address, TCP or Unix: for programs that take it from their
    /// users.
    ///
    /// # Errors
    /// [`Error::Bind`] if it can't be had.
    pub fn stream<H: StreamRequestHandler>(
        self,
        at: &Address,
        class: impl RequestHandlerClass<H>,
    ) -> Result<TcpServer> {
        let listener = Listener::bind(at, &self.bind)?;
        self.stream_server(listener, class)
    }

    /// A server on a listening socket that the caller has: a std listener, or a descriptor that
    /// another process handed over. It gets the settings of this builder, the backlog too.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a descriptor that is no listening stream socket, or not of the
    /// [`address_family`](Builder::address_family).
    pub fn from_listener<H: StreamRequestHandler>(
        self,
        listener: impl Into<OwnedFd>,
        class: impl RequestHandlerClass<H>,
    ) -> Result<TcpServer> {
        let listener = Listener::from_fd(listener.into(), &self.bind)?;
        self.stream_server(listener, class)
    }

    /// A server of UDP datagrams.
    ///
    /// # Errors
    /// [`Error::Address`] for what isn't `HOST:PORT`, [`Error::Bind`] if it can't be had.
    pub fn udp<H: DatagramRequestHandler>(
        self,
        at: &str,
        class: impl RequestHandlerClass<H>,
    ) -> Result<UdpServer> {
        let socket = Datagram::bind(&inet(at)?, &self.bind)?;
        self.datagram_server(socket, class)
    }

    /// A server of datagrams to a Unix socket; paths are treated as by
    /// [`unix_stream`](Builder::unix_stream).
    ///
    /// # Errors
    /// [`Error::Bind`] if it can't be had.
    pub fn unix_datagram<H: DatagramRequestHandler>(
        self,
        at: impl AsRef<Path>,
        class: impl RequestHandlerClass<H>,
    ) -> Result<UnixDatagramServer> {
        let socket = Datagram::bind(&Address::Unix(at.as_ref().to_owned()), &self.bind)?;
        self.datagram_server(socket, class)
    }

    /// A server of datagrams to any address, UDP or Unix: for programs that take it from their
    /// users.
    ///
    /// # Errors
    /// [`Error::Bind`] if it can't be had.
    pub fn datagram<H: DatagramRequestHandler>(
        self,
        at: &Address,
        class: impl RequestHandlerClass<H>,
    ) -> Result<UdpServer> {
        let socket = Datagram::bind(at, &self.bind)?;
        self.datagram_server(socket, class)
    }

    /// A server on a datagram socket that the caller has.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a descriptor that is no datagram socket.
    pub fn from_datagram_socket<H: DatagramRequestHandler>(
        self,
        socket: impl Into<OwnedFd>,
        class: impl RequestHandlerClass<H>,
    ) -> Result<UdpServer> {
        let socket = Datagram::from_fd(socket.into(), &self.bind)?;
        self.datagram_server(socket, class)
    }

    fn stream_server<S, H: StreamRequestHandler>(
        mut self,
        listener: Listener,
        class: impl RequestHandlerClass<H>,
    ) -> Result<Server<S>> {
        let service = self.service(class);
        let mut server = self.server()?;
        server.service = Some(Arc::new(service));
        server.add_listener(listener);
        Ok(server)
    }

    /// What connections in memory need.
    pub(crate) fn in_memory<H: StreamRequestHandler>(
        mut self,
        class: impl RequestHandlerClass<H>,
    ) -> Result<(Arc<Core>, StreamService)> {
        let service = self.service(class);
        let hooks = self.hooks.unwrap_or_else(|| Box::new(DefaultHooks));
        Ok((
            Arc::new(Core::new(
                self.timeouts,
                self.limits,
                self.clock,
                hooks,
                self.trace,
            )?),
            service,
        ))
    }

    fn service<H: StreamRequestHandler>(
        &mut self,
        class: impl RequestHandlerClass<H>,
    ) -> StreamService {
        StreamService {
            class: Box::new(move |client| Box::new(class.instantiate(client))),
            tls: self.tls.take(),
            plaintext: self.plaintext,
            proxies: self.proxies.take(),
        }
    }

    fn datagram_server<S, H: DatagramRequestHandler>(
        self,
        socket: Datagram,
        class: impl RequestHandlerClass<H>,
    ) -> Result<Server<S>> {
        let serve = move |request: &mut DatagramRequest| serve_datagram(&class, request);
        let mut server = self.server()?;
        server.datagrams = Some(Arc::new(serve));
        server.add_datagram_socket(socket);
        Ok(server)
    }

    fn server<S>(self) -> Result<Server<S>> {
        let interval = self.hooks.is_some().then_some(self.poll_interval);
        let hooks = self.hooks.unwrap_or_else(|| Box::new(DefaultHooks));
        Ok(Server {
            core: Arc::new(Core::new(
                self.timeouts,
                self.limits,
                self.clock,
                hooks,
                self.trace,
            )?),
            process: self.process,
            sources: Vec::new(),
            addresses: Vec::new(),
            service: None,
            datagrams: None,
            bind: self.bind,
            times: ServerTimes {
                timeout: self.timeout,
                interval,
                grace: self.grace,
            },
            dispatcher: None,
            kind: PhantomData::<fn() -> S>,
        })
    }
}

fn inet(text: &str) -> Result<Address> {
    match text.parse()? {
        Address::Unix(_) => Err(Error::Address(format!(
            "`{text}` is a Unix socket; expected HOST:PORT"
        ))),
        address => Ok(address),
    }
}
