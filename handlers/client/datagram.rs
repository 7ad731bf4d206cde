//! A datagram socket that talks to one server.

use std::fmt;
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use socketserver::Address;

use super::{ClientOptions, timed_out};
use crate::common::trace;
use crate::service::Failure;

/// Maximum length in bytes of a datagram over UDP.
pub const MAX_DATAGRAM: usize = 65_507;

/// Exchanges datagrams with a server. Receiving fails with `TimedOut` after the timeout.
pub struct DatagramConnection {
    kind: Kind,
    trace: bool,
}

enum Kind {
    Udp(UdpSocket),
    Unix { socket: UnixDatagram, _own: OwnPath },
}

/// The path of the client's own Unix socket, to which a server sends its answers. It is removed
/// when this value is dropped.
struct OwnPath(PathBuf);

impl Drop for OwnPath {
    fn drop(&mut self) {
        // An error is ignored: the path may be removed already.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl DatagramConnection {
    /// Opens a socket that exchanges datagrams with this server only.
    ///
    /// # Errors
    /// Code 2 for options that need a stream; code 1 if the server cannot be reached.
    pub fn open(address: &Address, options: &ClientOptions) -> Result<DatagramConnection, Failure> {
        options.refuse_stream_only()?;
        let failed =
            |error: &dyn fmt::Display| Failure::run(format!("can't reach {address}: {error}"));
        let kind = match address {
            Address::Unix(path) => {
                let (socket, own) = bind_own_path().map_err(|error| failed(&error))?;
                socket.connect(path).map_err(|error| failed(&error))?;
                socket
                    .set_read_timeout(Some(options.timeout))
                    .map_err(|error| failed(&error))?;
                Kind::Unix { socket, _own: own }
            }
            Address::Inet { host, port } => {
                let socket = connect(host, *port).map_err(|error| failed(&error))?;
                socket
                    .set_read_timeout(Some(options.timeout))
                    .map_err(|error| failed(&error))?;
                Kind::Udp(socket)
            }
            _ => {
                return Err(Failure::usage(format!(
                    "{address} names no host to send to"
                )));
            }
        };
        Ok(DatagramConnection {
            kind,
            trace: options.trace,
        })
    }

    /// Makes [`receive`](DatagramConnection::receive) non-blocking, for callers that wait for
    /// several sockets with `poll`.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn stop_waiting(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Udp(socket) => socket.set_nonblocking(true),
            Kind::Unix { socket, .. } => socket.set_nonblocking(true),
        }
    }

    /// Returns the address that replies come from: an IP address, or `unix:PATH`.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn peer(&self) -> io::Result<String> {
        Ok(match &self.kind {
            Kind::Udp(socket) => socket.peer_addr()?.ip().to_string(),
            Kind::Unix { socket, .. } => {
                let path = socket
                    .peer_addr()?
                    .as_pathname()
                    .map(|path| path.display().to_string());
                format!("unix:{}", path.unwrap_or_default())
            }
        })
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.kind {
            Kind::Udp(socket) => socket.send(bytes)?,
            Kind::Unix { socket, .. } => socket.send(bytes)?,
        };
        if self.trace {
            trace::client("->", bytes);
        }
        Ok(())
    }

    /// Waits for a datagram, and returns its length.
    ///
    /// # Errors
    /// `TimedOut`, or those of the socket.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = timed_out(match &self.kind {
            Kind::Udp(socket) => socket.recv(buffer),
            Kind::Unix { socket, .. } => socket.recv(buffer),
        })?;
        if self.trace {
            trace::client("<-", &buffer[..count]);
        }
        Ok(count)
    }
}

impl AsFd for DatagramConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Udp(socket) => socket.as_fd(),
            Kind::Unix { socket, .. } => socket.as_fd(),
        }
    }
}

impl fmt::Debug for DatagramConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramConnection")
    }
}

fn connect(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        let any = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        match UdpSocket::bind(any).and_then(|socket| socket.connect(address).map(|()| socket)) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_own_path() -> io::Result<(UnixDatagram, OwnPath)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "socketserver-client-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let path = std::env::temp_dir().join(name);
    let socket = UnixDatagram::bind(&path)?;
    Ok((socket, OwnPath(path)))
}
