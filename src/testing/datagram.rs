//! A server of datagrams in memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;

use crate::address::ClientAddress;
use crate::bind::{DatagramSink, Destination, Received, no_address};
use crate::clock::ManualClock;
use crate::handle::{Core, ServerHandle};
use crate::handler::{DatagramRequestHandler, RequestHandlerClass};
use crate::process::datagrams::{DatagramClass, serve};
use crate::request::DatagramRequest;
use crate::server::Builder;

/// A server of datagrams in memory, seen from the side of its clients.
///
/// Each datagram is served in the call of the test, on its thread, in the steps of a real server:
/// the trace, `verify_request`, the handler, and `handle_error` for what failed. The clients can
/// have any address.
///
/// ```
/// use std::net::SocketAddr;
/// use socketserver::testing::TestDatagram;
/// use socketserver::{Builder, DatagramRequest};
///
/// let shout = |request: &mut DatagramRequest| {
///     request.wfile = request.packet().to_ascii_uppercase();
///     Ok(())
/// };
/// let client: SocketAddr = "192.0.2.1:5000".parse().unwrap();
/// let mut server = TestDatagram::new(Builder::new(), move |_| shout);
/// server.send(client, b"hello");
/// assert_eq!(server.received_by(client), [b"HELLO"]);
/// ```
pub struct TestDatagram {
    core: Arc<Core>,
    class: DatagramClass,
    network: Arc<MemoryNetwork>,
    time: ManualClock,
}

/// The datagrams that the server sent and no client has received yet, with their receivers.
#[derive(Debug, Default)]
struct MemoryNetwork(Mutex<Vec<(ClientAddress, Vec<u8>)>>);

impl DatagramSink for MemoryNetwork {
    fn send_to(&self, bytes: &[u8], to: &ClientAddress, _: Option<&Destination>) -> io::Result<()> {
        if *to == ClientAddress::Unix(None) {
            return Err(no_address());
        }
        self.0.lock().push((to.clone(), bytes.to_vec()));
        Ok(())
    }
}

impl TestDatagram {
    /// A server with these settings, of which the socket and the concurrency model have no effect
    /// here. Its clock is that of the settings if a [`ManualClock`] sets it, so that the handlers
    /// and their server can have the same one. Otherwise it is a new `ManualClock`.
    ///
    /// # Panics
    /// When the system refuses the few descriptors that a server needs.
    pub fn new<H: DatagramRequestHandler>(
        settings: Builder,
        class: impl RequestHandlerClass<H>,
    ) -> TestDatagram {
        let time = settings.manual_clock();
        let (core, class) = settings
            .clock(time.clock())
            .in_memory_datagrams(class)
            .expect("a socket pair can be had");
        TestDatagram {
            core,
            class,
            network: Arc::default(),
            time,
        }
    }

    /// Sends one datagram from a client, and serves it. A datagram that is longer than
    /// [`max_packet_size`](Builder::max_packet_size) is truncated. After a shutdown nothing is
    /// served.
    pub fn send(&mut self, client: impl Into<ClientAddress>, packet: &[u8]) -> &mut TestDatagram {
        if !self.core.is_serving() {
            return self;
        }
        let network = Arc::clone(&self.network);
        let mut request = DatagramRequest::new(&self.core, network);
        let buffer = &mut request.rfile.buffer;
        let len = packet.len().min(buffer.len());
        buffer[..len].copy_from_slice(&packet[..len]);
        request.begin_in_flight();
        request.begin(Received {
            len,
            truncated: len < packet.len(),
            client: client.into(),
            local: None,
        });
        self.core.stats.accepted.fetch_add(1, Relaxed);
        serve(&self.core, &self.class, &mut request);
        self
    }

    /// The datagrams that the server sent since the last call, with the addresses that they were
    /// sent to, in the order in which they were sent.
    ///
    /// A server that is told to stop, and whose clock is the test's:
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use std::time::Duration;
    /// use socketserver::testing::TestDatagram;
    /// use socketserver::{Builder, ClientAddress, DatagramRequest};
    ///
    /// let handler = |request: &mut DatagramRequest| {
    ///     if request.packet() == b"stop" {
    ///         request.server.shutdown();
    ///     }
    ///     request.reply(b"ok")
    /// };
    /// let client = SocketAddr::from(([192, 0, 2, 1], 5000));
    /// let mut server = TestDatagram::new(Builder::new(), move |_| handler);
    /// let before = server.server().clock().now();
    /// server.advance(Duration::from_secs(60)).send(client, b"stop").send(client, b"more");
    /// assert_eq!(server.received(), [(ClientAddress::from(client), b"ok".to_vec())]);
    /// assert_eq!(server.server().clock().now() - before, Duration::from_secs(60));
    /// ```
    pub fn received(&mut self) -> Vec<(ClientAddress, Vec<u8>)> {
        std::mem::take(&mut *self.network.0.lock())
    }

    /// The datagrams that the server sent to this client since the last call, in the order in which
    /// they were sent. Datagrams to other clients stay.
    pub fn received_by(&mut self, client: impl Into<ClientAddress>) -> Vec<Vec<u8>> {
        let client = client.into();
        let mut sent = self.network.0.lock();
        let own = sent.extract_if(.., |(to, _)| *to == client);
        own.map(|(_, packet)| packet).collect()
    }

    /// Advances the clock.
    pub fn advance(&mut self, by: Duration) -> &mut TestDatagram {
        self.time.advance(by);
        self
    }

    /// The server that the handlers see: to shut it down, or to read its statistics.
    pub fn server(&self) -> ServerHandle {
        ServerHandle(Arc::clone(&self.core))
    }
}

impl std::fmt::Debug for TestDatagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestDatagram")
            .field("received", &self.network.0.lock().len())
            .finish_non_exhaustive()
    }
}
