//! Python's base class: one request after the other.

use super::{ProcessRequest, Request};

/// Serves each request to its end, on the thread of `serve_forever`, before the next is accepted.
///
/// A shutdown ends an idle connection immediately. A message that is under way may be finished
/// within the grace time, at the end of which the connection is aborted. While a handler computes,
/// no thread listens for signals, so SIGTERM takes effect when the handler returns.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use socketserver::{Builder, Next, StreamRequest, Synchronous};
///
/// // One client at a time, so the handlers may share what no other thread may see.
/// let count = |request: &mut StreamRequest| {
///     writeln!(request.wfile, "{} bytes", request.rfile.take_all().len())?;
///     Ok(Next::Close)
/// };
/// let mut server = Builder::new().process(Synchronous).tcp("127.0.0.1:0", move |_| count)?;
/// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
/// client.write_all(b"hello")?;
/// server.handle_request()?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "5 bytes\n");
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Synchronous;

impl ProcessRequest for Synchronous {
    fn is_concurrent(&self) -> bool {
        false
    }

    fn process_request(&self, request: Request) {
        request.run();
    }
}
