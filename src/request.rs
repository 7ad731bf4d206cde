//! What a handler is given.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::address::{ClientAddress, ServerAddress};
use crate::bind::Datagram;
use crate::buffer::{RFile, WFile};
use crate::error::Result;
use crate::handle::ServerHandle;
use crate::trace::{Trace, Traffic};
use crate::transport::Transport;

/// One connection, as its handler sees it (Python's `self.request`, `self.client_address` and
/// `self.server`).
#[derive(Debug)]
pub struct StreamRequest {
    /// Who is served: the client's real address, after a PROXY header.
    pub client_address: ClientAddress,
    /// What the client sent.
    pub rfile: RFile,
    /// What goes to the client.
    pub wfile: WFile,
    /// The server, to ask for its end or its figures.
    pub server: ServerHandle,
    /// Whom the client has proved to be, set by a handler that wraps others (CGI's `REMOTE_USER`,
    /// RFC 3875 §4.1.11). Defaults to `None`: nobody asked, or the proof has no name.
    pub identity: Option<Arc<str>>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) server_address: Option<ServerAddress>,
    pub(crate) linger: bool,
}

impl StreamRequest {
    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.transport.tls().is_some()
    }

    /// The protocol that TLS agreed on (ALPN), if any.
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.transport.tls().and_then(|tls| tls.alpn_protocol())
    }

    /// The address that the client connected to, after a PROXY header.
    pub fn server_address(&self) -> Option<ServerAddress> {
        self.server_address.clone().or_else(|| {
            self.transport
                .stream()
                .and_then(|s| s.server_address().ok())
        })
    }

    /// The connection's descriptor (Python's `fileno`), for a handler that waits for its client and
    /// for something else at the same time, by poll(2): a client that went away shows as a hang-up,
    /// and so does the cut at the end of the grace time. It is not for reading or writing. `None`
    /// for a test's connection in memory.
    pub fn fileno(&self) -> Option<BorrowedFd<'_>> {
        self.transport.fd()
    }

    /// Says that the client may still be sending what nobody will read: after the answer its bytes
    /// are dropped for a while, as closing at once would destroy the answer by a reset (RFC 9112
    /// §9.6).
    pub fn linger(&mut self) {
        self.linger = true;
    }
}

/// One datagram, as its handler sees it.
#[derive(Debug)]
pub struct DatagramRequest {
    /// Who sent it.
    pub client_address: ClientAddress,
    /// What is sent back when `handle` returns, if it isn't empty (Python's `wfile`).
    pub wfile: Vec<u8>,
    /// The server, to ask for its end or its figures.
    pub server: ServerHandle,
    pub(crate) socket: Arc<Datagram>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) length: usize,
    pub(crate) truncated: bool,
    pub(crate) local: Option<Destination>,
    /// Counted among those that a shutdown waits for.
    pub(crate) in_flight: bool,
}

/// The address and interface that a datagram was sent to.
pub(crate) type Destination = crate::bind::Destination;

impl DatagramRequest {
    /// The datagram's bytes (Python's `request[0]`).
    pub fn packet(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Whether the datagram was longer than
    /// [`Limits::max_packet_size`](crate::Limits::max_packet_size).
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The address that the datagram was sent to, where the system tells: on a wildcard address.
    pub fn local_ip(&self) -> Option<IpAddr> {
        self.local.as_ref().map(|local| local.ip)
    }

    /// Sends a datagram to the client at once, from the address that it asked.
    ///
    /// # Errors
    /// Those of `sendto`; `InvalidInput` for a Unix client that has no address.
    pub fn reply(&self, bytes: &[u8]) -> Result<()> {
        send(
            &self.socket,
            &self.server.0.trace,
            &self.client_address,
            self.local.as_ref(),
            bytes,
        )
    }

    /// A datagram has come: a shutdown waits until it is served.
    pub(crate) fn begin_in_flight(&mut self) {
        self.in_flight = true;
        self.server.0.datagram_started();
    }

    /// The datagram is served.
    pub(crate) fn end_in_flight(&mut self) {
        if std::mem::take(&mut self.in_flight) {
            self.server.0.datagram_finished();
        }
    }

    /// Sends [`wfile`](DatagramRequest::wfile), and empties it.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.wfile.is_empty() {
            return Ok(());
        }
        let sent = self.reply(&self.wfile);
        self.wfile.clear();
        sent
    }

    /// What outlives this call: sends further datagrams to the client, now or later, from any
    /// thread.
    pub fn replier(&self) -> Replier {
        Replier {
            socket: Arc::clone(&self.socket),
            client: self.client_address.clone(),
            local: self.local.clone(),
            trace: self.server.0.trace.clone(),
        }
    }
}

impl Drop for DatagramRequest {
    fn drop(&mut self) {
        self.end_in_flight();
    }
}

/// Sends datagrams to one client, from the address that it asked.
#[derive(Clone)]
pub struct Replier {
    socket: Arc<Datagram>,
    client: ClientAddress,
    local: Option<Destination>,
    trace: Option<Arc<dyn Trace>>,
}

impl fmt::Debug for Replier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replier")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Replier {
    /// Sends one datagram.
    ///
    /// # Errors
    /// Those of `sendto`.
    pub fn reply(&self, bytes: &[u8]) -> Result<()> {
        send(
            &self.socket,
            &self.trace,
            &self.client,
            self.local.as_ref(),
            bytes,
        )
    }
}

fn send(
    socket: &Datagram,
    trace: &Option<Arc<dyn Trace>>,
    client: &ClientAddress,
    local: Option<&Destination>,
    bytes: &[u8],
) -> Result<()> {
    socket.send_to(bytes, client, local)?;
    if let Some(trace) = trace {
        trace.traffic(client, Traffic::Sent(bytes));
    }
    Ok(())
}
