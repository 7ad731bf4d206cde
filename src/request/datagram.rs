//! One datagram, and what sends answers to it.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::PeerTurn;
use crate::address::ClientAddress;
use crate::bind::{DatagramSink, Destination, Received};
use crate::error::Result;
use crate::handle::{Core, ServerHandle};
use crate::trace::Traffic;

/// One datagram, as its handler sees it (Python's `self.request`).
///
/// A server of text. Longer datagrams than the buffer are truncated, and refused here:
///
/// ```
/// use socketserver::testing::TestDatagram;
/// use socketserver::{Builder, DatagramRequest};
///
/// let handler = |request: &mut DatagramRequest| {
///     if request.is_truncated() {
///         return request.reply(b"too long");
///     }
///     if let Some(address) = request.local_ip() {
///         println!("sent to {address}"); // only on a server that is bound to every address
///     }
///     request.reply(&request.packet().to_ascii_uppercase())
/// };
/// let client = std::net::SocketAddr::from(([192, 0, 2, 1], 5000));
/// let mut server = TestDatagram::new(Builder::new().max_packet_size(10), move |_| handler);
/// server.send(client, b"hello").send(client, b"hello, how are you?");
/// assert_eq!(server.received_by(client), [&b"HELLO"[..], b"too long"]);
/// ```
#[derive(Debug)]
pub struct DatagramRequest {
    /// The sender's address.
    pub client_address: ClientAddress,
    /// Reads the datagram's bytes like a file (Python's `rfile`).
    /// [`packet`](DatagramRequest::packet) returns all of them, whatever was read.
    pub rfile: PacketReader,
    /// The reply: sent as one datagram when `finish` has returned, unless it is empty (Python's
    /// `wfile`). It is sent even if `handle` failed or panicked.
    pub wfile: Vec<u8>,
    /// The server: to shut it down, or to read its statistics.
    pub server: ServerHandle,
    /// Sends the replies.
    pub(crate) sink: Arc<dyn DatagramSink>,
    pub(crate) truncated: bool,
    pub(crate) local: Option<Destination>,
    /// Counted among those that a shutdown waits for.
    pub(crate) in_flight: bool,
    /// When the datagram began to wait for an earlier one of its peer.
    pub(crate) queued_at: Option<Instant>,
    /// Where datagrams are served in order: the duty to serve the peer's next one.
    pub(crate) turn: Option<PeerTurn>,
}

/// The largest buffer for one datagram. UDP carries at most 65,527 bytes (RFC 768, RFC 8200); a
/// Unix socket may carry more.
const MAX_PACKET_SIZE: usize = 1 << 20;

fn packet_size(core: &Core) -> usize {
    core.config.limits.max_packet_size.clamp(1, MAX_PACKET_SIZE)
}

impl DatagramRequest {
    /// A request without a datagram, whose buffer holds the longest one that the server accepts.
    pub(crate) fn new(core: &Arc<Core>, sink: Arc<dyn DatagramSink>) -> DatagramRequest {
        DatagramRequest {
            client_address: ClientAddress::Memory,
            rfile: PacketReader::new(vec![0; packet_size(core)]),
            wfile: Vec::new(),
            server: ServerHandle(Arc::clone(core)),
            sink,
            truncated: false,
            local: None,
            in_flight: false,
            queued_at: None,
            turn: None,
        }
    }

    /// Whether the buffer holds the longest datagram that the server accepts. That of a datagram
    /// that waited in a queue holds only this datagram.
    pub(crate) fn has_whole_buffer(&self) -> bool {
        self.rfile.buffer.len() == packet_size(&self.server.0)
    }

    /// The datagram that was received into the buffer.
    pub(crate) fn begin(&mut self, received: Received) {
        self.rfile.begin(received.len);
        self.client_address = received.client;
        self.truncated = received.truncated;
        self.local = received.local;
    }

    /// The datagram's bytes (Python's `request[0]`).
    pub fn packet(&self) -> &[u8] {
        self.rfile.packet()
    }

    /// Whether the datagram was longer than
    /// [`Limits::max_packet_size`](crate::Limits::max_packet_size).
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The address that the datagram was sent to, which may be a broadcast or multicast address.
    /// Known only where the server is bound to every address (`0.0.0.0`, `[::]`).
    pub fn local_ip(&self) -> Option<IpAddr> {
        self.local.as_ref().map(|local| local.ip)
    }

    /// Sends a datagram to the client immediately, from the address that the request was sent to.
    /// The reply to a broadcast or multicast request comes from the interface that received it.
    ///
    /// # Errors
    /// Those of `sendto`; `InvalidInput` for a Unix client that has no address.
    pub fn reply(&self, bytes: &[u8]) -> Result<()> {
        let local = self.local.as_ref();
        let (core, sink) = (&self.server.0, &*self.sink);
        send(core, sink, &self.client_address, local, bytes)
    }

    /// Sends a datagram to any address immediately, through the server's socket: for relays, chat
    /// rooms and games, where one client's datagram concerns others. An IP address becomes a
    /// [`ClientAddress`] by `from`.
    ///
    /// On a server that is bound to every address (`0.0.0.0`, `[::]`), the system chooses the
    /// source address by its routes. A client that accepts answers only from the address that it
    /// sent to is reached by [`reply`](DatagramRequest::reply) or by its own [`Replier`].
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use socketserver::testing::TestDatagram;
    /// use socketserver::{Builder, ClientAddress, DatagramRequest};
    ///
    /// let [a, b]: [SocketAddr; 2] =
    ///     ["192.0.2.1:7", "192.0.2.2:7"].map(|address| address.parse().unwrap());
    /// let forward = move |request: &mut DatagramRequest| {
    ///     request.send_to(request.packet(), &ClientAddress::from(b))
    /// };
    /// let mut server = TestDatagram::new(Builder::new(), move |_| forward);
    /// server.send(a, b"to b");
    /// assert_eq!(server.received_by(b), [b"to b"]);
    /// ```
    ///
    /// # Errors
    /// Those of sendto(2), such as `WouldBlock` while the send buffer is full, an error for a
    /// datagram that is too long, and `PermissionDenied` for a broadcast address. `InvalidInput`
    /// for an address that is not of the socket's kind: a Unix path on a UDP socket, an IP address
    /// on a Unix socket, or a Unix client that has no address.
    pub fn send_to(&self, bytes: &[u8], to: &ClientAddress) -> Result<()> {
        send(&self.server.0, &*self.sink, to, None, bytes)
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
    pub(crate) fn send_wfile(&mut self) -> Result<()> {
        if self.wfile.is_empty() {
            return Ok(());
        }
        let sent = self.reply(&self.wfile);
        self.wfile.clear();
        sent
    }

    /// A handle that sends further datagrams to the client, now or later, from any thread. It may
    /// outlive this call and the server, and does not keep the server's port open. See
    /// [`pending_reply`](DatagramRequest::pending_reply) for a reply that must not be lost.
    ///
    /// ```
    /// use socketserver::testing::TestDatagram;
    /// use socketserver::{Builder, DatagramRequest};
    ///
    /// let handler = |request: &mut DatagramRequest| {
    ///     let (now_and_then, later) = (request.replier(), request.pending_reply());
    ///     now_and_then.reply(b"25 %")?; // usually by another thread
    ///     now_and_then.reply(b"50 %")?;
    ///     later.send(b"done")
    /// };
    /// let client = std::net::SocketAddr::from(([192, 0, 2, 1], 5000));
    /// let mut server = TestDatagram::new(Builder::new(), move |_| handler);
    /// server.send(client, b"begin");
    /// assert_eq!(server.received_by(client), [&b"25 %"[..], b"50 %", b"done"]);
    /// ```
    pub fn replier(&self) -> Replier {
        Replier {
            core: Arc::downgrade(&self.server.0),
            sink: Arc::downgrade(&self.sink),
            client: self.client_address.clone(),
            local: self.local.clone(),
        }
    }

    /// A handle that sends one datagram to the client later, from any thread, even after the server
    /// has ended. It keeps the server's port open until it is sent or dropped.
    pub fn pending_reply(&self) -> PendingReply {
        PendingReply {
            sink: Arc::clone(&self.sink),
            replier: self.replier(),
        }
    }
}

impl Drop for DatagramRequest {
    fn drop(&mut self) {
        self.end_in_flight();
    }
}

/// Reads the bytes of one datagram, and keeps its position (Python's `BytesIO`).
///
/// ```
/// use std::io::Read;
/// use socketserver::testing::TestDatagram;
/// use socketserver::{Builder, DatagramRequest};
///
/// // The first byte is a command; the rest is its argument.
/// let handler = |request: &mut DatagramRequest| {
///     let mut command = [0];
///     request.rfile.read_exact(&mut command)?;
///     match command {
///         [b'u'] => request.reply(&request.rfile.remaining().to_ascii_uppercase()),
///         _ => request.reply(b"unknown command"),
///     }
/// };
/// let client = std::net::SocketAddr::from(([192, 0, 2, 1], 5000));
/// let mut server = TestDatagram::new(Builder::new(), move |_| handler);
/// assert_eq!(server.send(client, b"uhello").received_by(client), [b"HELLO"]);
/// ```
#[derive(Default)]
pub struct PacketReader {
    /// Has the size of the largest datagram that is accepted.
    pub(crate) buffer: Vec<u8>,
    length: usize,
    position: usize,
}

impl PacketReader {
    fn new(buffer: Vec<u8>) -> PacketReader {
        PacketReader {
            buffer,
            ..PacketReader::default()
        }
    }

    /// A datagram of this length is in the buffer.
    fn begin(&mut self, length: usize) {
        (self.length, self.position) = (length, 0);
    }

    fn packet(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Frees the part of the buffer that holds nothing.
    pub(super) fn shrink(&mut self) {
        self.buffer = self.packet().to_vec();
    }

    /// The bytes that were not read yet.
    pub fn remaining(&self) -> &[u8] {
        &self.packet()[self.position..]
    }
}

impl Read for PacketReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.remaining().read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for PacketReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.remaining())
    }

    fn consume(&mut self, count: usize) {
        self.position = self.length.min(self.position.saturating_add(count));
    }
}

impl fmt::Debug for PacketReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketReader")
            .field("length", &self.length)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Sends datagrams to one client, from the address that the request was sent to.
///
/// The last client is told what the present one sends:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use socketserver::testing::TestDatagram;
/// use socketserver::{Builder, DatagramRequest, Replier};
///
/// let last = Arc::new(Mutex::new(None::<Replier>));
/// let handler = move |request: &mut DatagramRequest| {
///     let before = last.lock().unwrap().replace(request.replier());
///     if let Some(before) = before {
///         before.reply(request.packet())?;
///         let note = format!("told {}", before.client_address());
///         before.send_to(note.as_bytes(), &request.client_address)?;
///     }
///     Ok(())
/// };
/// let [a, b] = [1, 2].map(|host| std::net::SocketAddr::from(([192, 0, 2, host], 5000)));
/// let mut server = TestDatagram::new(Builder::new(), move |_| handler.clone());
/// server.send(a, b"first").send(b, b"second");
/// assert_eq!(server.received_by(a), [b"second"]);
/// assert_eq!(server.received_by(b), [b"told 192.0.2.1:5000"]);
/// ```
#[derive(Clone)]
pub struct Replier {
    core: Weak<Core>,
    sink: Weak<dyn DatagramSink>,
    client: ClientAddress,
    local: Option<Destination>,
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
    /// Those of `sendto`; `NotConnected` when the server has closed its socket.
    pub fn reply(&self, bytes: &[u8]) -> Result<()> {
        self.send(bytes, &self.client, self.local.as_ref())
    }

    /// Sends one datagram to any address, as
    /// [`DatagramRequest::send_to`](DatagramRequest::send_to) does.
    ///
    /// # Errors
    /// As for `DatagramRequest::send_to`; `NotConnected` when the server has closed its socket.
    pub fn send_to(&self, bytes: &[u8], to: &ClientAddress) -> Result<()> {
        self.send(bytes, to, None)
    }

    /// The client that [`reply`](Replier::reply) sends to: the sender of the request.
    pub fn client_address(&self) -> &ClientAddress {
        &self.client
    }

    fn send(&self, bytes: &[u8], to: &ClientAddress, from: Option<&Destination>) -> Result<()> {
        let (Some(core), Some(sink)) = (self.core.upgrade(), self.sink.upgrade()) else {
            let closed = "the server has closed its socket";
            return Err(io::Error::new(io::ErrorKind::NotConnected, closed).into());
        };
        send(&core, &*sink, to, from, bytes)
    }
}

/// One datagram that will be sent to a client, from [`DatagramRequest::pending_reply`].
///
/// A reply that must be sent even if the server ends before:
///
/// ```
/// use std::sync::mpsc;
/// use socketserver::testing::TestDatagram;
/// use socketserver::{Builder, DatagramRequest};
///
/// let (send, pending) = mpsc::channel();
/// let handler = move |request: &mut DatagramRequest| {
///     send.send(request.pending_reply()).unwrap(); // to a thread that computes the reply
///     Ok(())
/// };
/// let client = std::net::SocketAddr::from(([192, 0, 2, 1], 5000));
/// let mut server = TestDatagram::new(Builder::new(), move |_| handler.clone());
/// server.send(client, b"question");
/// pending.recv().unwrap().send(b"answer")?;
/// assert_eq!(server.received_by(client), [b"answer"]);
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Debug)]
pub struct PendingReply {
    sink: Arc<dyn DatagramSink>,
    replier: Replier,
}

impl PendingReply {
    /// Sends the datagram.
    ///
    /// # Errors
    /// Those of `sendto`.
    pub fn send(self, bytes: &[u8]) -> Result<()> {
        let Replier {
            core,
            client,
            local,
            ..
        } = &self.replier;
        match core.upgrade() {
            Some(core) => send(&core, &*self.sink, client, local.as_ref(), bytes),
            None => Ok(self.sink.send_to(bytes, client, local.as_ref())?),
        }
    }
}

fn send(
    core: &Core,
    sink: &dyn DatagramSink,
    client: &ClientAddress,
    local: Option<&Destination>,
    bytes: &[u8],
) -> Result<()> {
    sink.send_to(bytes, client, local)?;
    trace(core, client, Traffic::Sent(bytes));
    Ok(())
}

/// Shows a datagram to the server's trace, if there is one. A panic in it is counted and reported.
pub(crate) fn trace(core: &Core, client: &ClientAddress, traffic: Traffic<'_>) {
    if let Some(trace) = &core.config.trace {
        core.call_hook(client, |_| trace.traffic(client, traffic));
    }
}
