//! Sockets that listen: bound here with options that std does not offer, or taken over from the
//! caller.

mod accept;
mod datagram;
mod stream;
mod unix_path;

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix};
use socket2::{Domain, SockRef, Socket, Type};

use crate::address::{Address, ClientAddress, ServerAddress};
use crate::error::{Error, Result};
pub(crate) use datagram::{Datagram, DatagramSink, Destination, DropCount, Received, no_address};
pub(crate) use stream::Stream;
use unix_path::PathGuard;

/// Which IP addresses a server listens on (Python's `address_family`).
///
/// ```
/// use socketserver::{AddressFamily, Builder, Next, StreamRequest};
///
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let builder = Builder::new().address_family(AddressFamily::V4);
/// let server = builder.tcp(":0", move |_| close)?;
/// assert!(server.server_address().inet().unwrap().is_ipv4());
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressFamily {
    /// The family of the address; `:PORT` is both.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// The options of a socket.
#[derive(Clone, Debug)]
pub(crate) struct BindOptions {
    pub(crate) request_queue_size: u32,
    pub(crate) allow_reuse_address: bool,
    pub(crate) allow_reuse_port: bool,
    pub(crate) address_family: AddressFamily,
    /// Size of the receive buffer of a datagram socket, in bytes.
    pub(crate) receive_buffer: Option<usize>,
}

impl Default for BindOptions {
    fn default() -> BindOptions {
        BindOptions {
            request_queue_size: 1024,
            allow_reuse_address: true,
            allow_reuse_port: false,
            address_family: AddressFamily::Any,
            receive_buffer: None,
        }
    }
}

/// A listening socket. When it is dropped, a Unix socket's path is removed, and it closes.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The first field, as the path must go before the socket closes.
    _path: Option<PathGuard>,
    socket: ListenerKind,
    address: ServerAddress,
    /// Connections in the backlog may be older than the options of a socket that was bound
    /// elsewhere. False once the backlog was seen empty.
    may_predate_options: AtomicBool,
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
            let (socket, guard) = PathGuard::bind(path, Type::STREAM, |socket, address| {
                socket.bind(address)?;
                socket.listen(backlog(options))
            })
            .map_err(failed)?;
            return Listener::new(ListenerKind::Unix(socket.into()), Some(guard)).map_err(failed);
        }
        let socket = bind_inet(address, Type::STREAM, options).map_err(failed)?;
        socket.listen(backlog(options)).map_err(failed)?;
        Listener::new(ListenerKind::Tcp(socket.into()), None).map_err(failed)
    }

    fn new(socket: ListenerKind, path: Option<PathGuard>) -> io::Result<Listener> {
        let address = match &socket {
            ListenerKind::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                // Accepted sockets inherit this: a small answer needn't wait, and it costs no call
                // for each connection.
                SockRef::from(listener).set_tcp_nodelay(true)?;
                ServerAddress::Inet(listener.local_addr()?)
            }
            ListenerKind::Unix(listener) => {
                listener.set_nonblocking(true)?;
                ServerAddress::Unix(listener.local_addr()?.as_pathname().map(Into::into))
            }
        };
        Ok(Listener {
            may_predate_options: AtomicBool::new(false),
            _path: path,
            socket,
            address,
        })
    }

    /// Takes a listening socket over from the caller, and gives it the options. A Unix socket's
    /// path stays when it closes.
    pub(crate) fn from_fd(fd: OwnedFd, options: &BindOptions) -> Result<Listener> {
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
        let domain = socket.local_addr()?.domain();
        adopt(&socket, domain, options)?;
        socket.listen(backlog(options))?;
        let listening = match domain {
            Domain::IPV4 | Domain::IPV6 => ListenerKind::Tcp(socket.into()),
            Domain::UNIX => ListenerKind::Unix(socket.into()),
            _ => return Err(unfit("of an unknown family")),
        };
        let mut listener = Listener::new(listening, None)?;
        listener.may_predate_options = AtomicBool::new(true);
        Ok(listener)
    }

    /// Takes a connection, without waiting.
    pub(crate) fn accept(&self) -> io::Result<(Stream, ClientAddress)> {
        let accepted = accept::accept(self.as_fd());
        let predates = self.may_predate_options.load(Ordering::Relaxed);
        if predates && accepted.is_err() {
            self.may_predate_options.store(false, Ordering::Relaxed);
        }
        let (fd, peer) = accepted?;
        Ok(match &self.socket {
            ListenerKind::Tcp(_) => {
                if predates {
                    // Fails only for a connection that is gone; its first read says so.
                    let _ = SockRef::from(&fd).set_tcp_nodelay(true);
                }
                (Stream::Tcp(fd.into()), client_address(peer))
            }
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

/// Gives a socket that was bound elsewhere the options that can still be set, and checks the option
/// that cannot.
fn adopt(socket: &Socket, domain: Domain, options: &BindOptions) -> Result<()> {
    let wanted = match options.address_family {
        AddressFamily::Any => None,
        AddressFamily::V4 => Some((Domain::IPV4, "IPv4")),
        AddressFamily::V6 => Some((Domain::IPV6, "IPv6")),
    };
    if let Some((wanted, name)) = wanted
        && domain != wanted
        && domain != Domain::UNIX
    {
        let reason = format!("the descriptor's address is not of the family {name}");
        return Err(Error::Unsupported(reason));
    }
    // systemd passes descriptors on without the flag; commands must not inherit them.
    socket.set_cloexec(true)?;
    if domain == Domain::UNIX {
        return Ok(());
    }
    set_reuse(socket, socket.r#type()?, options)?;
    Ok(())
}

fn set_reuse(socket: &Socket, kind: Type, options: &BindOptions) -> io::Result<()> {
    // For UDP the option would let a second server take the first one's datagrams.
    if options.allow_reuse_address && kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    if options.allow_reuse_port {
        socket.set_reuse_port(true)?;
    }
    Ok(())
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
    let unix = SocketAddrUnix::try_from(peer).ok();
    let path = unix.and_then(|unix| unix_path(&unix));
    ClientAddress::Unix(path.map(|path| Arc::new(OsString::from_vec(path).into())))
}

/// The path of a Unix address, or the abstract name after a NUL byte; `None` without either.
fn unix_path(unix: &SocketAddrUnix) -> Option<Vec<u8>> {
    #[cfg(target_os = "linux")]
    if let Some(name) = unix.abstract_name() {
        return Some([b"\0", name].concat());
    }
    unix.path_bytes().map(<[u8]>::to_vec)
}

/// A bound socket of the first of the address's candidates that this machine has. A candidate that
/// another server holds is an error: a server that listens on the rest of its addresses would be
/// taken for one that listens on all of them.
fn bind_inet(address: &Address, kind: Type, options: &BindOptions) -> io::Result<Socket> {
    let (candidates, dual) = candidates(address, options.address_family)?;
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        "the name has no address of this family",
    );
    for candidate in candidates {
        match bind_one(candidate, dual, kind, options) {
            Err(error) if is_unavailable(&error) => last = error,
            bound => return bound,
        }
    }
    Err(last)
}

/// Whether the machine lacks the address or its whole family, as without IPv6 in the kernel.
fn is_unavailable(error: &io::Error) -> bool {
    let errors = [
        Errno::AFNOSUPPORT,
        Errno::PROTONOSUPPORT,
        Errno::ADDRNOTAVAIL,
    ];
    Errno::from_io_error(error).is_some_and(|errno| errors.contains(&errno))
}

/// Where to try to bind, and whether an IPv6 socket serves IPv4 too.
fn candidates(address: &Address, family: AddressFamily) -> io::Result<(Vec<SocketAddr>, bool)> {
    let v4 = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let v6 = |port| SocketAddr::from(([0u16; 8], port));
    Ok(match (address, family) {
        // Where the kernel has no IPv6, every interface means every IPv4 interface.
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
    set_reuse(&socket, kind, options)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
