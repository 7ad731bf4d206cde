//! Connections over a socket that the caller has opened, and TLS that begins later on such a
//! connection.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Connection, Kind, timed_out};

impl Connection {
    /// Returns a connection without TLS over a stream. The timeouts of the stream must be set
    /// already.
    pub(crate) fn over(stream: TcpStream, timeout: Duration, trace: bool) -> Connection {
        Connection {
            kind: Kind::Tcp(stream),
            trace,
            timeout,
        }
    }

    /// Starts TLS on a connection without TLS, and completes the handshake.
    ///
    /// # Errors
    /// Those of the handshake; `Unsupported` if the connection is not TCP without TLS.
    pub(crate) fn secure(
        self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Connection> {
        let Kind::Tcp(tcp) = self.kind else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, tcp);
        while stream.conn.is_handshaking() {
            let (read, written) = timed_out(stream.conn.complete_io(&mut stream.sock))?;
            if (read, written) == (0, 0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Connection {
            kind: Kind::Tls(Box::new(stream)),
            ..self
        })
    }

    /// The socket of a TCP connection, encrypted or not.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match &self.kind {
            Kind::Tcp(stream) => Some(stream),
            Kind::Tls(stream) => Some(&stream.sock),
            Kind::Unix(_) => None,
        }
    }

    /// Whether the bytes that are sent and received from now on are shown.
    pub(crate) fn set_trace(&mut self, trace: bool) {
        self.trace = trace;
    }

    /// Whether the bytes that are sent and received are shown.
    pub(crate) fn is_traced(&self) -> bool {
        self.trace
    }
}
