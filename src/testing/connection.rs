//! One side of a connection in memory, which the test plays.

use std::fmt;
use std::time::Duration;

use super::TestServer;
use crate::address::ClientAddress;
use crate::handle::ServerHandle;
use crate::handler::{RequestHandlerClass, StreamRequestHandler};
use crate::process::registry::ConnectionKey;
use crate::server::Builder;
use crate::transport::MemoryPeer;

/// A connection in memory, seen from the client's side.
///
/// Everything happens in the calls of the test, on its thread. If another thread has left something
/// for the connection, it is served at the next call. The test cannot send or read while a handler
/// blocks. So a blocking read or write that would wait for the test fails immediately with a
/// timeout error.
///
/// Dropping it is a disconnect, as by a reset: what it has sent and the server has not read is
/// lost. [`finish`](TestConnection::finish) ends it without a loss.
///
/// What a handler that sends numbers does with a client that is slow, and at the end:
///
/// ```
/// use std::io::Write;
/// use std::time::Duration;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, ClientAddress, Next, StreamRequest};
///
/// let count = |request: &mut StreamRequest| {
///     let bytes = request.rfile.take_all().len();
///     writeln!(request.wfile, "{bytes} bytes")?;
///     Ok(if request.rfile.is_eof() { Next::Close } else { Next::Wait })
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| count);
/// client.send(b"hello").send_bytewise(b"ab");
/// assert_eq!(client.received(), b"5 bytes\n1 bytes\n1 bytes\n");
/// client.take_only(3).send(b"x");
/// assert_eq!(client.received(), b"1 b");
/// client.take_only(usize::MAX).finish();
/// assert_eq!(client.received(), b"ytes\n0 bytes\n");
/// assert!(client.is_closed());
/// assert_eq!(client.server().stats().failed, 0);
///
/// let address = std::net::SocketAddr::from(([192, 0, 2, 1], 50_000));
/// let class = move |_: &ClientAddress| count;
/// let mut other = TestConnection::from(Builder::new(), ClientAddress::from(address), class);
/// assert_eq!(other.address(), &ClientAddress::from(address));
/// other.advance(Duration::from_secs(600)); // the idle timeout
/// assert!(other.is_closed());
/// let mut third = TestConnection::new(Builder::new(), move |_| count);
/// assert!(third.shutdown().is_closed());
/// ```
pub struct TestConnection {
    test: TestServer,
    key: ConnectionKey,
    peer: MemoryPeer,
    address: ClientAddress,
}

impl TestConnection {
    pub(super) fn of(
        test: &TestServer,
        key: ConnectionKey,
        peer: MemoryPeer,
        address: ClientAddress,
    ) -> TestConnection {
        TestConnection {
            test: test.clone(),
            key,
            peer,
            address,
        }
    }

    /// Connects to a server of its own with these settings, as for [`TestServer::new`], which has
    /// several connections.
    ///
    /// # Panics
    /// When the system refuses the few descriptors that a server needs.
    pub fn new<H: StreamRequestHandler>(
        settings: Builder,
        class: impl RequestHandlerClass<H>,
    ) -> TestConnection {
        TestServer::new(settings, class).connect()
    }

    /// As [`new`](TestConnection::new), for a client with this address.
    ///
    /// # Panics
    /// As for [`new`](TestConnection::new).
    pub fn from<H: StreamRequestHandler>(
        settings: Builder,
        client: ClientAddress,
        class: impl RequestHandlerClass<H>,
    ) -> TestConnection {
        TestServer::new(settings, class).connect_from(client)
    }

    /// Sends bytes in one segment, and runs the server until it waits.
    pub fn send(&mut self, bytes: &[u8]) -> &mut TestConnection {
        self.peer.send(bytes);
        self.wake();
        self
    }

    /// Sends bytes one by one.
    pub fn send_bytewise(&mut self, bytes: &[u8]) -> &mut TestConnection {
        for byte in bytes {
            self.send(&[*byte]);
        }
        self
    }

    /// Ends the client's side; the server's answers can still be received.
    pub fn finish(&mut self) -> &mut TestConnection {
        self.peer.finish();
        self.wake();
        self
    }

    /// What the server sent since the last call.
    pub fn received(&mut self) -> Vec<u8> {
        self.test.engine().settle();
        self.peer.take()
    }

    /// From now on the client takes only this number of bytes, until the next call.
    pub fn take_only(&mut self, bytes: usize) -> &mut TestConnection {
        self.peer.set_room(bytes);
        self.wake();
        self
    }

    /// Advances the clock of the server, for all its connections. Deadlines that pass take effect
    /// in their order.
    pub fn advance(&mut self, by: Duration) -> &mut TestConnection {
        self.test.advance(by);
        self
    }

    /// Whether the server has closed the connection, or at least its side of it.
    pub fn is_closed(&self) -> bool {
        self.test.engine().settle();
        !self.test.engine().is_open(self.key) || self.peer.server_finished()
    }

    /// Shuts the server down, with all its connections.
    pub fn shutdown(&mut self) -> &mut TestConnection {
        self.test.shutdown();
        self
    }

    /// The server that the handler sees.
    pub fn server(&self) -> &ServerHandle {
        self.test.handle()
    }

    /// The address that the server knows this side by: the client's, or the one that a handler has
    /// connected to.
    pub fn address(&self) -> &ClientAddress {
        &self.address
    }

    fn wake(&mut self) {
        self.test.engine().wake(self.key);
    }
}

impl Drop for TestConnection {
    fn drop(&mut self) {
        self.peer.reset();
        // A test that fails must not run its handlers once more.
        if !std::thread::panicking() {
            self.wake();
        }
    }
}

impl fmt::Debug for TestConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestConnection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
