//! Sockets that listen: made with the options that std doesn't offer, and taken from those who have
//! one already.

mod accept;
mod datagram;
mod unix_path;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use rustix::net::SocketAddrAny;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::{Address, ClientAddress, ServerAddress};
use crate::error::{Error, Result};
pub(crate) use datagram::{Datagram, Destination};
use unix_path::PathGuard;

/// Which IP addresses a server listens on (Python's `address_family`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// Whatever the address is; `:PORT` is both.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// How a socket is made.
#[derive(Clone, Debug)]
pub(crate) struct BindOptions {
    pub(crate) request_queue_size: u32,
    pub(crate) allow_reuse_address: bool,
    pub(crate) allow_reuse_port: bool,
    pub(crate) address_family: AddressFamily,
}

impl Default for BindOptions {
    fn default() -> BindOptions {
        BindOptions {
            request_queue_size: 1024,
            allow_reuse_address: true,
            allow_reuse_port: false,
            address_family: AddressFamily::Any,
        }
    }
}

/// A connected socket that doesn't block.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// This side's address.
    pub(crate) fn server_address(&self) -> io::Result<ServerAddress> {
        Ok(match self {
            Stream::Tcp(stream) => ServerAddress::Inet(stream.local_addr()?),
            Stream::Unix(stream) => {
                ServerAddress::Unix(stream.local_addr()?.as_pathname().map(Into::into))
            }
        })
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// A listening socket. Dropped, it closes, and a Unix socket's path goes.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: ListenerKind,
    address: ServerAddress,
    _path: Option<PathGuard>,
}

#[derive(Debug)]
enum ListenerKind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens at `address`.
    pub(crate) fn bind(address: &Address, options: &BindOptions) -> Result<Listener> {
        let failed = |source| Error::Bind {
            address: address.to_string(),
            source,
        };
        if let Address::Unix(path) = address {
            let guard = PathGuard::claim(path, Type::STREAM).map_err(failed)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
            socket
                .bind(&SockAddr::unix(path).map_err(failed)?)
                .map_err(failed)?;
            let guard = guard.bound().map_err(failed)?;
            socket.listen(backlog(options)).map_err(failed)?;
            return Listener::new(ListenerKind::Unix(socket.into()), Some(guard)).map_err(failed);
        }
        let socket = bind_inet(address, Type::STREAM, options).map_err(failed)?;
        socket.listen(backlog(options)).map_err(failed)?;
        // Accepted sockets inherit this on Linux: a small answer needn't wait, and it costs no call
        // for each connection.
        socket.set_tcp_nodelay(true).map_err(failed)?;
        Listener::new(ListenerKind::Tcp(socket.into()), None).map_err(failed)
    }

    fn new(socket: ListenerKind, path: Option<PathGuard>) -> io::Result<Listener> {
        let address = match &socket {
            ListenerKind::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                ServerAddress::Inet(listener.local_addr()?)
            }
            ListenerKind::Unix(listener) => {
                listener.set_nonblocking(true)?;
                ServerAddress::Unix(listener.local_addr()?.as_pathname().map(Into::into))
            }
        };
        Ok(Listener {
            socket,
            address,
            _path: path,
        })
    }

    /// Takes a listening socket over from the caller; a Unix socket's path stays when it closes.
    pub(crate) fn from_fd(fd: OwnedFd) -> Result<Listener> {
        let unfit = |what: &str| {
            Error::Unsupported(format!(
                "the descriptor is {what}, no listening stream socket"
            ))
        };
        let socket = Socket::from(fd);
        let kind = socket.r#type().map_err(|_| unfit("no socket"))?;
        if kind != Type::STREAM {
            return Err(unfit("a datagram socket"));
        }
        // macOS does not answer this question.
        #[cfg(any(target_os = "linux", target_os = "freebsd"))]
        if !socket.is_listener()? {
            return Err(unfit("a socket that doesn't listen"));
        }
        let address = socket.local_addr()?;
        let listening = match address.domain() {
            Domain::IPV4 | Domain::IPV6 => ListenerKind::Tcp(socket.into()),
            Domain::UNIX => ListenerKind::Unix(socket.into()),
            _ => return Err(unfit("of an unknown family")),
        };
        Ok(Listener::new(listening, None)?)
    }

    /// Takes a connection, without waiting.
    pub(crate) fn accept(&self) -> io::Result<(Stream, ClientAddress)> {
        let (fd, peer) = accept::accept(self.as_fd())?;
        Ok(match &self.socket {
            ListenerKind::Tcp(_) => (Stream::Tcp(fd.into()), client_address(peer)),
            ListenerKind::Unix(_) => (Stream::Unix(fd.into()), client_address(peer)),
        })
    }

    pub(crate) fn server_address(&self) -> &ServerAddress {
        &self.address
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            ListenerKind::Tcp(listener) => listener.as_fd(),
            ListenerKind::Unix(listener) => listener.as_fd(),
        }
    }
}

fn backlog(options: &BindOptions) -> i32 {
    options.request_queue_size.try_into().unwrap_or(i32::MAX)
}

/// The client behind a peer's address.
fn client_address(peer: Option<SocketAddrAny>) -> ClientAddress {
    let Some(peer) = peer else {
        return ClientAddress::Unix(None);
    };
    if let Ok(address) = SocketAddr::try_from(peer.clone()) {
        return ClientAddress::from(address);
    }
    let path = rustix::net::SocketAddrUnix::try_from(peer)
        .ok()
        .and_then(|unix| {
            let bytes = unix.path_bytes()?.to_vec();
            Some(Arc::new(std::os::unix::ffi::OsStringExt::from_vec(bytes)))
        });
    ClientAddress::Unix(path.map(|path: Arc<std::ffi::OsString>| Arc::new(path.as_ref().into())))
}

/// A bound socket of the first of the address's candidates that can be had.
fn bind_inet(address: &Address, kind: Type, options: &BindOptions) -> io::Result<Socket> {
    let (candidates, dual) = candidates(address, options.address_family)?;
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        "the name has no address of this family",
    );
    for candidate in candidates {
        match bind_one(candidate, dual, kind, options) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Where to try to bind, and whether an IPv6 socket serves IPv4 too.
fn candidates(address: &Address, family: AddressFamily) -> io::Result<(Vec<SocketAddr>, bool)> {
    let v4 = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let v6 = |port| SocketAddr::from(([0u16; 8], port));
    Ok(match (address, family) {
        // Without IPv6 in the kernel, every interface is every IPv4 interface.
        (Address::Every { port }, AddressFamily::Any) => (vec![v6(*port), v4(*port)], true),
        (Address::Every { port }, AddressFamily::V4) => (vec![v4(*port)], false),
        (Address::Every { port }, AddressFamily::V6) => (vec![v6(*port)], false),
        (Address::Inet { host, port }, family) => {
            let fits = |address: &SocketAddr| match family {
                AddressFamily::Any => true,
                AddressFamily::V4 => address.is_ipv4(),
                AddressFamily::V6 => address.is_ipv6(),
            };
            (
                (host.as_str(), *port)
                    .to_socket_addrs()?
                    .filter(fits)
                    .collect(),
                false,
            )
        }
        (Address::Unix(_), _) => (Vec::new(), false),
    })
}

fn bind_one(
    address: SocketAddr,
    dual: bool,
    kind: Type,
    options: &BindOptions,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    // For UDP the option would let a second server take the first one's datagrams.
    if options.allow_reuse_address && kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    if options.allow_reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
