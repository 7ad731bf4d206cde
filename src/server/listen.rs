//! Listening on further addresses while the server serves.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::address::{Address, ServerAddress, ToAddress};
use crate::bind::{BindOptions, Listener};
use crate::clock::deadline;
use crate::error::{Error, Result};
use crate::handle::{Core, Origin, ServerHandle, Service};
use crate::handler::{RequestHandlerClass, StreamRequestHandler};
use crate::process::NewcomerKind;
use crate::process::accept::{AcceptRules, StreamListener};
use crate::process::sources::ListenTimeout;
use crate::reach::Waker;
use crate::session::StreamService;

/// What a listener of [`ServerHandle::listen`] accepts, and which port it takes.
///
/// The data connection of a protocol such as FTP: one client, which has this address, within a
/// minute, on a port of a range that a firewall lets through:
///
/// ```
/// use std::net::{IpAddr, TcpStream};
/// use std::time::Duration;
/// use socketserver::{Builder, Listen, Next, Service, StreamRequest};
///
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let server = Builder::new().tcp("127.0.0.1:0", move |_| close)?.spawn()?;
/// let data = Service::new("data");
/// let options = Listen::new()
///     .once(Some(Duration::from_secs(60)))
///     .peer(IpAddr::from([127, 0, 0, 1]))
///     .ports(40_000..=50_000)
///     .secondary()
///     .service(&data);
/// let listener = server.handle().listen("127.0.0.1:0", options, move |_| close)?;
/// let address = listener.server_address().inet().unwrap();
/// assert!((40_000..=50_000).contains(&address.port()));
/// TcpStream::connect(address)?;
/// server.stop()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct Listen {
    rules: AcceptRules,
    timeout: Option<Duration>,
    waker: Option<Waker>,
    ports: Option<RangeInclusive<u16>>,
    service: Option<Service>,
}

impl Listen {
    /// Accepts any number of connections from every client.
    pub fn new() -> Listen {
        Listen::default()
    }

    /// Accepts one connection, and then closes. If no client connects within `timeout`, it closes
    /// as well; `None` is without end. Defaults to any number of connections.
    pub fn once(mut self, timeout: Option<Duration>) -> Listen {
        self.rules.once = true;
        self.timeout = timeout;
        self
    }

    /// Wakes the connection of `waker` if the time of [`once`](Listen::once) passes without a
    /// client. [`RunningListener::has_timed_out`] is true then. Defaults to no connection.
    ///
    /// In a handler that waits for a client of its own:
    ///
    /// ```
    /// use std::time::Duration;
    /// use socketserver::{Listen, Next, Result, RunningListener, StreamRequest};
    ///
    /// fn begin(request: &mut StreamRequest) -> Result<RunningListener> {
    ///     let options = Listen::new()
    ///         .once(Some(Duration::from_secs(60)))
    ///         .wake_at_timeout(&request.waker());
    ///     let close = |_: &mut StreamRequest| Ok(Next::Close);
    ///     request.server.listen("127.0.0.1:0", options, move |_| close)
    /// }
    /// fn woken(listener: RunningListener) {
    ///     if listener.has_timed_out() {
    ///         eprintln!("nobody came");
    ///     }
    /// }
    /// ```
    pub fn wake_at_timeout(mut self, waker: &Waker) -> Listen {
        self.waker = Some(waker.clone());
        self
    }

    /// Accepts only clients with this IP address. Other clients are closed, and counted as refused.
    /// Defaults to every client.
    pub fn peer(mut self, peer: IpAddr) -> Listen {
        self.rules.peer = Some(peer.to_canonical());
        self
    }

    /// The connections belong to other connections of this server, as the data connections of FTP
    /// do. So they are not verified, and do not count towards
    /// [`Limits::max_per_address`](crate::Limits::max_per_address). One that is refused gets no
    /// answer, because its client could take the answer for data. Without this call they are
    /// verified, counted and answered as all connections are.
    pub fn secondary(mut self) -> Listen {
        self.rules.is_secondary = true;
        self
    }

    /// Takes a free port of this range, tried in order. Defaults to the port of the address.
    pub fn ports(mut self, ports: RangeInclusive<u16>) -> Listen {
        self.ports = Some(ports);
        self
    }

    /// The service that the connections belong to, which may have limits, deadlines and statistics
    /// of its own. Several listeners may belong to the same one. Defaults to those of the server.
    pub fn service(mut self, service: &Service) -> Listen {
        self.service = Some(service.clone());
        self
    }

    fn bind(&self, address: &Address) -> Result<Listener> {
        let options = BindOptions::default();
        let Some(ports) = self.ports.clone() else {
            return Listener::bind(address, &options);
        };
        let mut last = Error::Address(format!("no port is in the range {ports:?}"));
        for port in ports {
            match Listener::bind(&with_port(address, port), &options) {
                Err(Error::Bind { address, source }) if is_in_use(&source) => {
                    last = Error::Bind { address, source };
                }
                bound => return bound,
            }
        }
        Err(last)
    }
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn with_port(address: &Address, port: u16) -> Address {
    match address {
        Address::Inet { host, .. } => Address::Inet {
            host: host.clone(),
            port,
        },
        Address::Every { .. } => Address::Every { port },
        Address::Unix(path) => Address::Unix(path.clone()),
    }
}

impl ServerHandle {
    /// Has the running server listen on another address. The connections are served by handlers of
    /// `class`, without TLS and PROXY headers, with the limits, deadlines and statistics of the
    /// server, and of the [`Service`] that they belong to. May be called from handlers. The
    /// listening socket closes when the returned value is dropped, and when the server stops
    /// serving.
    ///
    /// ```
    /// use socketserver::{Builder, Listen, Next, StreamRequest};
    ///
    /// let ignore = |request: &mut StreamRequest| {
    ///     request.rfile.take_all();
    ///     Ok(Next::Wait)
    /// };
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| ignore)?.spawn()?;
    ///
    /// let listener = server.handle().listen("127.0.0.1:0", Listen::new(), move |_| ignore)?;
    /// assert_ne!(listener.server_address().inet().unwrap().port(), 0);
    /// drop(listener);
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Address`] if `address` is not valid. [`Error::Bind`] if it, or every port of the
    /// range, cannot be bound. [`Error::Io`] if the server is shutting down or was not
    /// [activated](crate::Server::server_activate). [`Error::Unsupported`] in a child of
    /// [`ForkingMixIn`](crate::ForkingMixIn), and if the concurrency model cannot serve handlers
    /// that [need concurrency](StreamRequestHandler::needs_concurrency).
    pub fn listen<H: StreamRequestHandler>(
        &self,
        address: impl ToAddress,
        options: Listen,
        class: impl RequestHandlerClass<H>,
    ) -> Result<RunningListener> {
        let core = &self.0;
        if core.is_forked() {
            let text = "a forked child cannot give its server a listening socket";
            return Err(Error::Unsupported(text.to_owned()));
        }
        core.model().check_concurrency(H::needs_concurrency())?;
        let socket = options.bind(&address.to_address()?)?;
        let address = socket.server_address().clone();
        let origin = Origin::of_listener(options.service);
        let service = StreamService {
            class: Box::new(move |client| Box::new(class(client))),
            tls: None,
            plaintext: true,
            proxies: None,
            origin: Some(Arc::clone(&origin)),
        };
        let timeout = Arc::new(ListenTimeout {
            waker: options.waker,
            ..ListenTimeout::default()
        });
        let until = deadline(core.config.clock.now(), options.timeout);
        let listener = StreamListener::new(
            Arc::new(socket),
            Arc::new(service),
            Arc::clone(core),
            options.rules,
        );
        let newcomer = NewcomerKind::Listener {
            listener: Arc::new(listener),
            timeout: until.map(|at| (at, Arc::clone(&timeout))),
        };
        let index = core.add(newcomer.erase())?;
        Ok(RunningListener {
            core: Arc::downgrade(core),
            index,
            address,
            origin,
            timeout,
        })
    }
}

/// A listening socket of a running server, from [`ServerHandle::listen`].
///
/// | what ends it | listening socket | its connections |
/// |---|---|---|
/// | [`close`](RunningListener::close), dropping it | closes at once | go on |
/// | [`drain`](RunningListener::drain) | closes at once | idle ones close, the others have a grace time |
/// | the end of its server | closes at once | end as all connections of the server do |
///
/// ```
/// use std::net::TcpStream;
/// use socketserver::{Builder, Listen, Next, StreamRequest};
///
/// let ignore = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     Ok(Next::Wait)
/// };
/// let server = Builder::new().tcp("127.0.0.1:0", move |_| ignore)?.spawn()?;
/// let listener = server.handle().listen("127.0.0.1:0", Listen::new(), move |_| ignore)?;
/// let address = listener.server_address().inet().unwrap();
/// let client = TcpStream::connect(address)?;
/// assert!(!listener.has_timed_out());
/// listener.close();
/// # drop(client);
/// server.stop()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
#[must_use = "dropping it closes the listening socket"]
pub struct RunningListener {
    core: Weak<Core>,
    index: usize,
    address: ServerAddress,
    origin: Arc<Origin>,
    timeout: Arc<ListenTimeout>,
}

impl RunningListener {
    /// The address, with the real port after port 0.
    pub fn server_address(&self) -> &ServerAddress {
        &self.address
    }

    /// Whether the time of [`Listen::once`] has passed without a client.
    pub fn has_timed_out(&self) -> bool {
        self.timeout.has_passed.load(SeqCst)
    }

    /// Closes the listening socket, as dropping it does. Connections that were accepted go on.
    pub fn close(self) {
        drop(self);
    }

    /// Closes the listening socket, and ends its connections as a shutdown of the server ends all
    /// connections: those between two messages close at once, those within a message have the time
    /// `grace` to end it, and what is left is aborted and counted
    /// ([`StatsSnapshot::aborted`](crate::StatsSnapshot::aborted)). Does not wait. Handlers see it
    /// by [`StreamRequest::is_shutting_down`](crate::StreamRequest::is_shutting_down) and
    /// [`Cause::is_shutdown`](crate::Cause::is_shutdown). Zero aborts at once, [`Duration::MAX`]
    /// waits without end.
    ///
    /// A [`Synchronous`](crate::Synchronous) server checks the grace time only while a connection
    /// waits for its client. All models but the pool measure it by the system's clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use socketserver::{Builder, Listen, Next, StreamRequest};
    ///
    /// let ignore = |request: &mut StreamRequest| {
    ///     request.rfile.take_all();
    ///     Ok(Next::Wait)
    /// };
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| ignore)?.spawn()?;
    /// let listener = server.handle().listen("127.0.0.1:0", Listen::new(), move |_| ignore)?;
    /// listener.drain(Duration::from_secs(10))?;
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] under [`ForkingMixIn`](crate::ForkingMixIn), whose connections are in
    /// other processes. They go on then, and the listening socket closes.
    pub fn drain(self, grace: Duration) -> Result<()> {
        let Some(core) = self.core.upgrade() else {
            return Ok(()); // the server has ended, and its connections with it
        };
        if core.model().forks {
            let text = "a forking server cannot end the connections of one listening socket, which \
                        are in other processes: use `close`, or another concurrency model";
            return Err(Error::Unsupported(text.to_owned()));
        }
        core.remove_source(self.index);
        core.drain(&self.origin, deadline(core.config.clock.now(), Some(grace)));
        Ok(())
    }
}

impl Drop for RunningListener {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            core.remove_source(self.index);
        }
    }
}

impl fmt::Debug for RunningListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningListener")
            .field("address", &self.address)
            .field("has_timed_out", &self.has_timed_out())
            .finish_non_exhaustive()
    }
}
