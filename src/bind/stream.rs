//! Connected sockets: accepted ones, and those that the program makes.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::address::{ClientAddress, ServerAddress};

/// A connected socket that doesn't block.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Takes over a connected socket of the caller, and returns its peer.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<(Stream, ClientAddress)> {
        let socket = Socket::from(fd);
        if socket.r#type()? != Type::STREAM {
            let text = "the descriptor is not a stream socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        socket.set_nonblocking(true)?;
        let stream = Stream::from_socket(socket)?;
        let peer = stream.peer_address()?;
        Ok((stream, peer))
    }

    /// Begins to connect to `address`. The socket becomes writable when that has succeeded or
    /// failed; [`take_error`](Stream::take_error) returns which.
    pub(crate) fn connect(address: &ServerAddress) -> io::Result<(Stream, ClientAddress)> {
        let (domain, to, peer) = match address {
            ServerAddress::Inet(inet) => (
                Domain::for_address(*inet),
                SockAddr::from(*inet),
                ClientAddress::from(*inet),
            ),
            ServerAddress::Unix(Some(path)) => (
                Domain::UNIX,
                SockAddr::unix(path)?,
                ClientAddress::Unix(Some(Arc::new(path.clone()))),
            ),
            ServerAddress::Unix(None) => {
                let text = "a Unix socket without a path cannot be connected to";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&to) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
            _ => Ok((Stream::from_socket(socket)?, peer)),
        }
    }

    fn from_socket(socket: Socket) -> io::Result<Stream> {
        if socket.local_addr()?.domain() == Domain::UNIX {
            return Ok(Stream::Unix(socket.into()));
        }
        socket.set_tcp_nodelay(true)?;
        Ok(Stream::Tcp(socket.into()))
    }

    fn peer_address(&self) -> io::Result<ClientAddress> {
        Ok(match self {
            Stream::Tcp(stream) => stream.peer_addr()?.into(),
            Stream::Unix(stream) => {
                let peer = stream.peer_addr()?;
                let path = peer.as_pathname();
                ClientAddress::Unix(path.map(|path| Arc::new(path.to_owned())))
            }
        })
    }

    /// Why [`connect`](Stream::connect) failed, once; `None` if it has succeeded.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(self).take_error()
    }

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
