//! Datagram sockets, which reply from the address that a request was sent to.

mod drops;

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, sendto};
use socket2::{Domain, Socket, Type};

use super::unix_path::PathGuard;
use super::{BindOptions, adopt, bind_inet, client_address};
use crate::address::{Address, ClientAddress, ServerAddress};
use crate::error::{Error, Result};
use crate::sys;
pub(crate) use crate::sys::Destination;
pub(crate) use drops::DropCount;
use drops::Drops;

/// Sends the datagrams of handlers: a socket, or the memory of a test.
pub(crate) trait DatagramSink: fmt::Debug + Send + Sync {
    /// Sends one datagram to `to`, from `from` where it is given.
    fn send_to(
        &self,
        bytes: &[u8],
        to: &ClientAddress,
        from: Option<&Destination>,
    ) -> io::Result<()>;
}

/// A datagram socket. When it is dropped, a Unix socket's path is removed, and it closes.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// The first field, as the path must go before the socket closes.
    _path: Option<PathGuard>,
    socket: DatagramKind,
    address: ServerAddress,
    /// Bound to every address: the system must report which one each datagram was sent to
    /// (rust-lang/rust#128704).
    wildcard: bool,
    /// The datagrams that the system dropped at this socket.
    drops: Arc<Drops>,
}

#[derive(Debug)]
enum DatagramKind {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// One datagram.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) len: usize,
    pub(crate) truncated: bool,
    pub(crate) client: ClientAddress,
    pub(crate) local: Option<Destination>,
}

impl Datagram {
    /// Receives at `address`.
    pub(crate) fn bind(address: &Address, options: &BindOptions) -> Result<Datagram> {
        let failed = |source| Error::Bind {
            address: address.to_string(),
            source,
        };
        if let Address::Unix(path) = address {
            let (socket, guard) =
                PathGuard::bind(path, Type::DGRAM, Socket::bind).map_err(failed)?;
            set_receive_buffer(&socket, options).map_err(failed)?;
            return Datagram::new(DatagramKind::Unix(socket.into()), Some(guard)).map_err(failed);
        }
        let socket = bind_inet(address, Type::DGRAM, options).map_err(failed)?;
        set_receive_buffer(&socket, options).map_err(failed)?;
        Datagram::new(DatagramKind::Udp(socket.into()), None).map_err(failed)
    }

    /// Takes a bound socket over from the caller; a Unix socket's path stays when it closes.
    pub(crate) fn from_fd(fd: OwnedFd, options: &BindOptions) -> Result<Datagram> {
        let unfit = |what: &str| {
            Error::Unsupported(format!("the descriptor is {what}, no datagram socket"))
        };
        let socket = Socket::from(fd);
        if socket.r#type().map_err(|_| unfit("no socket"))? != Type::DGRAM {
            return Err(unfit("a stream socket"));
        }
        let domain = socket.local_addr()?.domain();
        adopt(&socket, domain, options)?;
        set_receive_buffer(&socket, options)?;
        let kind = match domain {
            Domain::IPV4 | Domain::IPV6 => DatagramKind::Udp(socket.into()),
            Domain::UNIX => DatagramKind::Unix(socket.into()),
            _ => return Err(unfit("of an unknown family")),
        };
        Ok(Datagram::new(kind, None)?)
    }

    fn new(socket: DatagramKind, path: Option<PathGuard>) -> io::Result<Datagram> {
        let (address, wildcard) = match &socket {
            DatagramKind::Udp(udp) => {
                udp.set_nonblocking(true)?;
                let address = udp.local_addr()?;
                if address.ip().is_unspecified() {
                    sys::ask_for_destination(udp.as_fd(), address.is_ipv6())?;
                }
                (ServerAddress::Inet(address), address.ip().is_unspecified())
            }
            DatagramKind::Unix(unix) => {
                unix.set_nonblocking(true)?;
                (
                    ServerAddress::Unix(unix.local_addr()?.as_pathname().map(Into::into)),
                    false,
                )
            }
        };
        let drops = match &socket {
            DatagramKind::Udp(udp) => Drops::since_now(udp.as_fd()),
            DatagramKind::Unix(unix) => Drops::since_now(unix.as_fd()),
        };
        Ok(Datagram {
            _path: path,
            socket,
            address,
            wildcard,
            drops: Arc::new(drops),
        })
    }

    pub(crate) fn server_address(&self) -> &ServerAddress {
        &self.address
    }

    /// Takes one datagram, without waiting.
    pub(crate) fn recv_from(&self, buffer: &mut [u8]) -> io::Result<Received> {
        if self.wildcard {
            let message = sys::receive_with_destination(self.as_fd(), buffer)?;
            return Ok(Received {
                len: message.len,
                truncated: message.truncated,
                client: ClientAddress::from(message.peer),
                local: message.destination,
            });
        }
        let (len, truncated, peer) = receive(self.as_fd(), buffer)?;
        Ok(Received {
            len,
            truncated,
            client: client_address(peer),
            local: None,
        })
    }

    /// An IPv6 socket knows IPv4 peers by their mapped address.
    fn for_this_socket(&self, peer: SocketAddr) -> SocketAddr {
        match (peer, &self.address) {
            (SocketAddr::V4(v4), ServerAddress::Inet(SocketAddr::V6(_))) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => peer,
        }
    }
}

impl DatagramSink for Datagram {
    fn send_to(
        &self,
        bytes: &[u8],
        to: &ClientAddress,
        from: Option<&Destination>,
    ) -> io::Result<()> {
        match (&self.socket, to) {
            (DatagramKind::Udp(udp), ClientAddress::Inet(peer)) => {
                let peer = self.for_this_socket(*peer);
                match from {
                    Some(from) => sys::send_from(udp.as_fd(), bytes, peer, from)?,
                    None => sendto(udp, bytes, SendFlags::empty(), &peer)?,
                };
                Ok(())
            }
            (DatagramKind::Unix(unix), ClientAddress::Unix(Some(path))) => {
                sendto(unix, bytes, SendFlags::empty(), &unix_address(path)?)?;
                Ok(())
            }
            (_, ClientAddress::Unix(None)) => Err(no_address()),
            (socket, to) => {
                let fit = match socket {
                    DatagramKind::Udp(_) => "an IP address and port",
                    DatagramKind::Unix(_) => "the path of a Unix socket",
                };
                let what = format!("cannot send a datagram to `{to}`: this socket needs {fit}");
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
        }
    }
}

/// The error for a datagram to a Unix client that has not bound its socket.
pub(crate) fn no_address() -> io::Error {
    let what = "the client has no address to send to; it must bind its socket";
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl AsFd for Datagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            DatagramKind::Udp(socket) => socket.as_fd(),
            DatagramKind::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Sets `SO_RCVBUF`, which takes a C int.
fn set_receive_buffer(socket: &Socket, options: &BindOptions) -> io::Result<()> {
    const MAX_RECEIVE_BUFFER: usize = i32::MAX as usize;
    match options.receive_buffer {
        Some(bytes) => socket.set_recv_buffer_size(bytes.min(MAX_RECEIVE_BUFFER)),
        None => Ok(()),
    }
}

/// The address of a Unix client, as [`client_address`] wrote it down.
fn unix_address(path: &Path) -> io::Result<SocketAddrUnix> {
    #[cfg(target_os = "linux")]
    if let [0, name @ ..] = path.as_os_str().as_bytes() {
        return Ok(SocketAddrUnix::new_abstract_name(name)?);
    }
    Ok(SocketAddrUnix::new(path)?)
}

/// The length of a datagram, whether it was longer than the buffer, and its sender.
type LengthAndSender = (usize, bool, Option<SocketAddrAny>);

/// Receives one datagram. With the flag, the system returns its true length.
#[cfg(all(
    any(target_os = "linux", target_os = "freebsd"),
    not(feature = "portable-sockets")
))]
fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<LengthAndSender> {
    let space = buffer.len();
    let (_, length, peer) = rustix::net::recvfrom(socket, buffer, RecvFlags::TRUNC)?;
    Ok((length.min(space), length > space, peer))
}

/// Receives one datagram. The message's flags say whether it was truncated.
#[cfg(not(all(
    any(target_os = "linux", target_os = "freebsd"),
    not(feature = "portable-sockets")
)))]
fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<LengthAndSender> {
    use rustix::net::{RecvAncillaryBuffer, ReturnFlags, recvmsg};
    let message = recvmsg(
        socket,
        &mut [io::IoSliceMut::new(buffer)],
        &mut RecvAncillaryBuffer::default(),
        RecvFlags::empty(),
    )?;
    let truncated = message.flags.contains(ReturnFlags::TRUNC);
    Ok((message.bytes, truncated, message.address))
}
