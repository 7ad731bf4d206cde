//! Tests of handlers without sockets, and of deadlines without waiting.
//!
//! A [`TestConnection`] has the same life as a server's connection. But its peer is the test, its
//! transport is memory, and its clock changes only when the test advances it. A [`TestDatagram`]
//! does the same for datagrams.
//!
//! ```
//! use std::io::Write;
//! use std::time::Duration;
//! use socketserver::testing::TestConnection;
//! use socketserver::{Builder, Next, StreamRequest};
//!
//! let shout = |request: &mut StreamRequest| {
//!     while let Some(line) = request.rfile.take_line(80)? {
//!         request.wfile.write_all(&line.to_ascii_uppercase())?;
//!     }
//!     Ok(Next::Wait)
//! };
//! let builder = Builder::new().idle_timeout(Some(Duration::from_secs(60)));
//! let mut client = TestConnection::new(builder, move |_| shout);
//! client.send(b"hel");
//! assert_eq!(client.received(), b"");
//! client.send(b"lo\n");
//! assert_eq!(client.received(), b"HELLO\n");
//! client.advance(Duration::from_secs(60));
//! assert!(client.is_closed());
//! ```
//!
//! A [`TestServer`] has several connections, which may reach one another. The test is the other
//! server of the connections that its handlers make, and connects to the listening sockets that
//! they open.

mod connection;
mod datagram;
mod engine;
mod server;

pub use connection::TestConnection;
pub use datagram::TestDatagram;
pub use server::TestServer;
