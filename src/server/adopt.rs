//! Connections that the program makes itself and hands to a running server.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use crate::address::{Address, ClientAddress, ServerAddress, ToAddress};
use crate::bind::Stream;
use crate::error::{Error, Result};
use crate::handle::{Core, Origin, ServerHandle, Service};
use crate::handler::StreamRequestHandler;
use crate::process::NewcomerKind;
use crate::session::{Session, StreamClass, StreamService};
use crate::stats::Stats;
use crate::transport::{MemoryPeer, MemoryStream, Transport};

impl ServerHandle {
    /// Gives the server a connected stream of the program: a [`TcpStream`](std::net::TcpStream), a
    /// [`UnixStream`](std::os::unix::net::UnixStream), one half of a socket pair. From now on
    /// `handler` serves it. It has the life, limits, deadlines and statistics of an accepted
    /// connection, but is neither verified nor encrypted, and does not count towards
    /// [`Limits::max_per_address`](crate::Limits::max_per_address).
    ///
    /// May be called from handlers. The handler's `setup` is called later, on the thread that
    /// serves the connection. A [`Synchronous`](crate::Synchronous) server serves it after the
    /// present connection has ended. The descriptor no longer blocks, and neither do its
    /// duplicates.
    ///
    /// # Errors
    /// [`Error::Refused`] at the limit of connections. [`Error::Io`] for a descriptor that is not a
    /// connected stream, and if the server is shutting down or was not
    /// [activated](crate::Server::server_activate). [`Error::Unsupported`] in a child of
    /// [`ForkingMixIn`](crate::ForkingMixIn), which cannot give its server a connection.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let echo = |request: &mut StreamRequest| {
    ///     request.wfile.write_all(request.rfile.take_all())?;
    ///     Ok(Next::Wait)
    /// };
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| echo)?.spawn()?;
    ///
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// server.handle().adopt(theirs, echo)?;
    /// ours.write_all(b"hello")?;
    /// let mut answer = [0; 5];
    /// ours.read_exact(&mut answer)?;
    /// assert_eq!(&answer, b"hello");
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    pub fn adopt(
        &self,
        stream: impl Into<OwnedFd>,
        handler: impl StreamRequestHandler,
    ) -> Result<()> {
        self.adopt_stream(stream.into(), None, handler)
    }

    /// As [`adopt`](ServerHandle::adopt), for a connection that belongs to `service`: it has the
    /// limits, deadlines and statistics of that service.
    ///
    /// # Errors
    /// As for [`adopt`](ServerHandle::adopt), also at the service's limit of connections.
    pub fn adopt_for(
        &self,
        service: &Service,
        stream: impl Into<OwnedFd>,
        handler: impl StreamRequestHandler,
    ) -> Result<()> {
        self.adopt_stream(stream.into(), Some(service), handler)
    }

    fn adopt_stream(
        &self,
        stream: OwnedFd,
        service: Option<&Service>,
        handler: impl StreamRequestHandler,
    ) -> Result<()> {
        let (stream, peer) = Stream::from_fd(stream)?;
        let made = MadeConnection {
            transport: Transport::plain(stream, self.0.config.clock.now()),
            peer,
            is_connecting: false,
            memory_peer: None,
        };
        self.add_connection(made, service, handler)
    }

    /// Connects to `address`, an IP address and a port or the path of a Unix socket, and has
    /// `handler` serve the connection as [`adopt`](ServerHandle::adopt) does. Does not wait: the
    /// connection is parked until the peer accepts, at most for
    /// [`Timeouts::head`](crate::Timeouts::head). If that fails,
    /// [`connect_failed`](StreamRequestHandler::connect_failed) is called.
    ///
    /// # Errors
    /// As for [`adopt`](ServerHandle::adopt). [`Error::Connect`] for failures that are known at
    /// once. [`Error::Address`] if `address` is not valid, or is a host name: looking it up would
    /// wait. [`ToSocketAddrs`](std::net::ToSocketAddrs) does that, on a thread that may wait.
    pub fn connect(
        &self,
        address: impl ToAddress,
        handler: impl StreamRequestHandler,
    ) -> Result<()> {
        self.connect_to(&address.to_address()?, None, handler)
    }

    /// As [`connect`](ServerHandle::connect), for a connection that belongs to `service`: it has
    /// the limits, deadlines and statistics of that service.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpListener;
    /// use std::os::unix::net::UnixStream;
    /// use socketserver::{Builder, Limits, Next, Service, StreamRequest};
    ///
    /// let echo = |request: &mut StreamRequest| {
    ///     request.wfile.write_all(request.rfile.take_all())?;
    ///     Ok(Next::Wait)
    /// };
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| echo)?.spawn()?;
    /// let upstream = Service::new("upstream").limits(Limits::default().max_connections(2));
    ///
    /// let other = TcpListener::bind("127.0.0.1:0")?;
    /// server.handle().connect_for(&upstream, other.local_addr()?, echo)?;
    /// let (_ours, theirs) = UnixStream::pair()?;
    /// server.handle().adopt_for(&upstream, theirs, echo)?;
    /// let (_ours_too, theirs) = UnixStream::pair()?;
    /// assert!(server.handle().adopt_for(&upstream, theirs, echo).is_err()); // the limit
    /// # let mut accepted = other.accept()?.0;
    /// # accepted.write_all(b"hello")?;
    /// # accepted.read_exact(&mut [0; 5])?;
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`connect`](ServerHandle::connect), also at the service's limit of connections.
    pub fn connect_for(
        &self,
        service: &Service,
        address: impl ToAddress,
        handler: impl StreamRequestHandler,
    ) -> Result<()> {
        self.connect_to(&address.to_address()?, Some(service), handler)
    }

    fn connect_to(
        &self,
        address: &Address,
        service: Option<&Service>,
        handler: impl StreamRequestHandler,
    ) -> Result<()> {
        let address = without_lookup(address)?;
        if self.0.config.connects_in_memory {
            let peer = match address {
                ServerAddress::Inet(address) => address.into(),
                ServerAddress::Unix(path) => ClientAddress::Unix(path.map(Arc::new)),
            };
            let made = MadeConnection::in_memory(&self.0, peer);
            return self.add_connection(made, service, handler);
        }
        let (stream, peer) = Stream::connect(&address).map_err(|source| Error::Connect {
            address: address.to_string(),
            source,
        })?;
        let made = MadeConnection {
            transport: Transport::plain(stream, self.0.config.clock.now()),
            peer,
            is_connecting: true,
            memory_peer: None,
        };
        self.add_connection(made, service, handler)
    }

    /// Gives the server one end of a connection in memory.
    pub(crate) fn adopt_in_memory(&self, handler: impl StreamRequestHandler) -> Result<()> {
        let made = MadeConnection::in_memory(&self.0, ClientAddress::Memory);
        self.add_connection(made, None, handler)
    }

    fn add_connection(
        &self,
        made: MadeConnection,
        service: Option<&Service>,
        handler: impl StreamRequestHandler,
    ) -> Result<()> {
        let core = &self.0;
        if core.is_forked() {
            let text = "a forked child cannot give its server a connection";
            return Err(Error::Unsupported(text.to_owned()));
        }
        let origin = service.map(|service| Origin::of_program(service.clone()));
        // Counted before the phase is read, as for an accepted connection.
        let admission = core.admit(origin.as_ref()).map_err(Error::Refused)?;
        let service = Arc::new(StreamService {
            class: only(handler),
            tls: None,
            plaintext: true,
            proxies: None,
            origin,
        });
        let MadeConnection {
            transport,
            peer,
            is_connecting,
            memory_peer,
        } = made;
        let transport = transport.tapped(core.tap(&peer));
        let mut session = Box::new(Session::new(transport, peer, &service, core));
        session.begin_adopted(is_connecting);
        session.admitted(admission);
        let newcomer = match memory_peer {
            Some(peer) => NewcomerKind::InMemory { session, peer },
            None => NewcomerKind::Connection(session),
        };
        core.add(newcomer.erase())?;
        let accepted = |stats: &Stats| {
            stats.accepted.fetch_add(1, Relaxed);
        };
        core.count(service.origin.as_ref(), accepted);
        Ok(())
    }
}

/// The address to connect to.
fn without_lookup(address: &Address) -> Result<ServerAddress> {
    let text = address.to_string();
    match address {
        Address::Unix(path) => Ok(ServerAddress::Unix(Some(path.clone()))),
        Address::Inet { .. } | Address::Every { .. } => match text.parse::<SocketAddr>() {
            Ok(address) => Ok(address.into()),
            Err(_) => Err(Error::Address(format!(
                "cannot connect to `{text}`: use an IP address and a port, or unix:PATH; looking \
                 up a name would wait"
            ))),
        },
    }
}

/// A connection that the program has made.
struct MadeConnection {
    transport: Transport,
    peer: ClientAddress,
    /// The peer has not accepted it yet.
    is_connecting: bool,
    /// The other end of a connection in memory, for the test.
    memory_peer: Option<MemoryPeer>,
}

impl MadeConnection {
    fn in_memory(core: &Core, peer: ClientAddress) -> MadeConnection {
        let (stream, memory_peer) = MemoryStream::pair();
        MadeConnection {
            transport: Transport::memory(stream, core.config.clock.now()),
            peer,
            is_connecting: false,
            memory_peer: Some(memory_peer),
        }
    }
}

/// The class of a connection whose handler exists already.
fn only(handler: impl StreamRequestHandler) -> StreamClass {
    let handler: Box<dyn StreamRequestHandler> = Box::new(handler);
    let handler = Mutex::new(Some(handler));
    Box::new(move |_| {
        let taken = handler.lock().take();
        taken.expect("a session makes its handler once")
    })
}
