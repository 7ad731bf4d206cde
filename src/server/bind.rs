//! Binding a server's socket: the last call to a [`Builder`].

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    Builder, Server, ServerKind, ServerTimes, TcpServer, UdpServer, UnixDatagramServer,
    UnixStreamServer,
};
use crate::address::{Address, ToAddress};
use crate::bind::{Datagram, Listener};
use crate::clock::ManualClock;
use crate::error::{Error, Result};
use crate::handle::{Configuration, Core, ModelTraits};
use crate::handler::{
    DatagramRequestHandler, RequestHandlerClass, StreamRequestHandler, serve_datagram,
};
use crate::hooks::DefaultHooks;
use crate::process::datagrams::{DatagramClass, DatagramService};
use crate::session::StreamService;

/// Binding.
impl Builder {
    /// A server of connections to `address`, TCP or Unix.
    ///
    /// The ways to make a server, by what it listens on:
    ///
    /// ```
    /// use std::net::{TcpListener, UdpSocket};
    /// use socketserver::{Builder, DatagramRequest, Next, StreamRequest};
    ///
    /// let stream = |_: &_| |_: &mut StreamRequest| Ok(Next::Close);
    /// let datagram = |_: &_| |request: &mut DatagramRequest| request.reply(b"hello");
    /// let path = std::env::temp_dir().join(format!("bind-{}", std::process::id()));
    ///
    /// let any = Builder::new().bind("127.0.0.1:0", stream)?; // also "unix:PATH"
    /// let tcp = Builder::new().tcp("127.0.0.1:0", stream)?;
    /// let unix = Builder::new().unix_stream(path.with_extension("stream"), stream)?;
    /// let own = Builder::new().from_listener(TcpListener::bind("127.0.0.1:0")?, stream)?;
    ///
    /// let any_datagrams = Builder::new().bind_datagram("127.0.0.1:0", datagram)?;
    /// let udp = Builder::new().max_packet_size(1400).udp("127.0.0.1:0", datagram)?;
    /// let unix_datagrams = Builder::new().unix_datagram(path.with_extension("dgram"), datagram)?;
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let own_datagrams = Builder::new().from_datagram_socket(socket, datagram)?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Address`] if `address` is not valid; [`Error::Bind`] if it cannot be bound;
    /// [`Error::Unsupported`] for [`max_per_address`](Builder::max_per_address) together with
    /// [`proxy_protocol`](Builder::proxy_protocol) and a [`ForkingMixIn`](crate::ForkingMixIn),
    /// which can't count these clients, and for handlers that
    /// [need concurrency](StreamRequestHandler::needs_concurrency) with a model that serves one
    /// after the other. All ways to make a stream server have this error.
    pub fn bind<H: StreamRequestHandler>(
        self,
        address: impl ToAddress,
        class: impl RequestHandlerClass<H>,
    ) -> Result<Server> {
        let listener = Listener::bind(&address.to_address()?, &self.bind)?;
        self.stream_server(listener, class)
    }

    /// A server of datagrams to `address`, UDP or Unix.
    ///
    /// # Errors
    /// [`Error::Address`] if `address` is not valid; [`Error::Bind`] if it cannot be bound;
    /// [`Error::Unsupported`] for [`ordered_datagrams`](Builder::ordered_datagrams) together with a
    /// [`ForkingMixIn`](crate::ForkingMixIn). All ways to make a datagram server have this error.
    pub fn bind_datagram<H: DatagramRequestHandler>(
        self,
        address: impl ToAddress,
        class: impl RequestHandlerClass<H>,
    ) -> Result<Server> {
        let socket = Datagram::bind(&address.to_address()?, &self.bind)?;
        self.datagram_server(socket, class)
    }

    /// A server of TCP connections. The address is text such as `127.0.0.1:7007` or `:7007`, a pair
    /// such as `("127.0.0.1", 7007)`, or a [`SocketAddr`](std::net::SocketAddr).
    ///
    /// # Errors
    /// [`Error::Address`] if `at` is not a host and a port; [`Error::Bind`] if it cannot be bound.
    pub fn tcp<H: StreamRequestHandler>(
        self,
        at: impl ToAddress,
        class: impl RequestHandlerClass<H>,
    ) -> Result<TcpServer> {
        self.bind(inet(&at)?, class)
    }

    /// A server of connections to a Unix socket. A path that no server uses any more is taken over;
    /// the path of a running server is an error. A lock file beside the path (`PATH.lock`) exists
    /// while the path is bound.
    ///
    /// # Errors
    /// [`Error::Bind`] if the path cannot be bound.
    pub fn unix_stream<H: StreamRequestHandler>(
        self,
        at: impl AsRef<Path>,
        class: impl RequestHandlerClass<H>,
    ) -> Result<UnixStreamServer> {
        self.bind(Address::Unix(at.as_ref().to_owned()), class)
    }

    /// A server on a listening socket of the caller: a listener of the standard library, or a
    /// descriptor from another process. The socket gets the settings of this builder, including the
    /// backlog.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a descriptor that is not a listening stream socket, or not of the
    /// [`address_family`](Builder::address_family).
    pub fn from_listener<H: StreamRequestHandler>(
        self,
        listener: impl Into<OwnedFd>,
        class: impl RequestHandlerClass<H>,
    ) -> Result<TcpServer> {
        let listener = Listener::from_fd(listener.into(), &self.bind)?;
        self.stream_server(listener, class)
    }

    /// A server of UDP datagrams. Addresses are those of [`tcp`](Builder::tcp).
    ///
    /// # Errors
    /// [`Error::Address`] if `at` is not a host and a port; [`Error::Bind`] if it cannot be bound.
    pub fn udp<H: DatagramRequestHandler>(
        self,
        at: impl ToAddress,
        class: impl RequestHandlerClass<H>,
    ) -> Result<UdpServer> {
        self.bind_datagram(inet(&at)?, class)
    }

    /// A server of datagrams to a Unix socket. Paths are treated as by
    /// [`unix_stream`](Builder::unix_stream).
    ///
    /// # Errors
    /// [`Error::Bind`] if the path cannot be bound.
    pub fn unix_datagram<H: DatagramRequestHandler>(
        self,
        at: impl AsRef<Path>,
        class: impl RequestHandlerClass<H>,
    ) -> Result<UnixDatagramServer> {
        self.bind_datagram(Address::Unix(at.as_ref().to_owned()), class)
    }

    /// A server on a datagram socket of the caller.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a descriptor that is not a datagram socket.
    pub fn from_datagram_socket<H: DatagramRequestHandler>(
        self,
        socket: impl Into<OwnedFd>,
        class: impl RequestHandlerClass<H>,
    ) -> Result<UdpServer> {
        let socket = Datagram::from_fd(socket.into(), &self.bind)?;
        self.datagram_server(socket, class)
    }

    fn stream_server<H: StreamRequestHandler>(
        mut self,
        listener: Listener,
        class: impl RequestHandlerClass<H>,
    ) -> Result<Server> {
        if self.process.forks() && self.limits.max_per_address.is_some() && self.proxies.is_some() {
            return Err(Error::Unsupported(
                "a limit of connections per client address does not go with PROXY headers and \
                 ForkingMixIn: only the child that serves a connection reads its header, and no \
                 process counts them all. Use another concurrency model, or drop the limit"
                    .to_owned(),
            ));
        }
        self.model().check_concurrency(H::needs_concurrency())?;
        let service = ServerKind::Stream(Arc::new(self.stream_service(class)));
        let mut server = self.server(service)?;
        server.add_listener(listener);
        Ok(server)
    }

    fn datagram_server<H: DatagramRequestHandler>(
        self,
        socket: Datagram,
        class: impl RequestHandlerClass<H>,
    ) -> Result<Server> {
        if self.process.forks() && self.ordered_datagrams {
            return Err(Error::Unsupported(
                "ordered_datagrams does not go with ForkingMixIn: each datagram is served in a \
                 process of its own. Use another concurrency model, or drop ordered_datagrams"
                    .to_owned(),
            ));
        }
        let service = DatagramService {
            class: datagram_class(class),
            is_ordered: self.ordered_datagrams,
        };
        let mut server = self.server(ServerKind::Datagrams(service))?;
        server.add_datagram_socket(socket);
        Ok(server)
    }

    /// What connections in memory need.
    pub(crate) fn in_memory<H: StreamRequestHandler>(
        mut self,
        class: impl RequestHandlerClass<H>,
    ) -> Result<(Arc<Core>, StreamService)> {
        let service = self.stream_service(class);
        self.connects_in_memory = true;
        Ok((self.core()?, service))
    }

    /// What datagrams in memory need.
    pub(crate) fn in_memory_datagrams<H: DatagramRequestHandler>(
        mut self,
        class: impl RequestHandlerClass<H>,
    ) -> Result<(Arc<Core>, DatagramClass)> {
        Ok((self.core()?, datagram_class(class)))
    }

    /// The hand that sets the clock: that of the settings, or a new one for the system's clock.
    pub(crate) fn manual_clock(&self) -> ManualClock {
        self.clock.manual().unwrap_or_default()
    }

    fn stream_service<H: StreamRequestHandler>(
        &mut self,
        class: impl RequestHandlerClass<H>,
    ) -> StreamService {
        StreamService {
            class: Box::new(move |client| Box::new(class(client))),
            tls: self.tls.take(),
            plaintext: self.plaintext,
            proxies: self.proxies.take(),
            origin: None,
        }
    }

    fn server(mut self, service: ServerKind) -> Result<Server> {
        let times = ServerTimes {
            timeout: self.timeout,
            interval: self.hooks.is_some().then_some(self.poll_interval),
        };
        Ok(Server {
            core: self.core()?,
            process: self.process,
            engine: Mutex::new(None),
            service,
            sources: Vec::new(),
            addresses: Vec::new(),
            bind: self.bind,
            times,
            is_drained: true,
        })
    }

    fn model(&self) -> ModelTraits {
        ModelTraits {
            forks: self.process.forks(),
            is_concurrent: self.process.is_concurrent(),
        }
    }

    fn core(&mut self) -> Result<Arc<Core>> {
        let hooks = self.hooks.take();
        let config = Configuration {
            name: self.name.take(),
            connects_in_memory: self.connects_in_memory,
            timeouts: self.timeouts.clone(),
            limits: self.limits.clone(),
            clock: self.clock.clone(),
            hooks: hooks.unwrap_or_else(|| Box::new(DefaultHooks)),
            trace: self.trace.take(),
            grace: self.grace,
        };
        Ok(Arc::new(Core::new(config, self.model())?))
    }
}

fn datagram_class<H: DatagramRequestHandler>(class: impl RequestHandlerClass<H>) -> DatagramClass {
    Arc::new(move |request| serve_datagram(&class, request))
}

fn inet(at: &impl ToAddress) -> Result<Address> {
    match at.to_address()? {
        unix @ Address::Unix(_) => Err(Error::Address(format!(
            "`{unix}` is a Unix socket; expected HOST:PORT"
        ))),
        address => Ok(address),
    }
}
