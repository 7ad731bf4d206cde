//! Content that is made piece by piece.

use std::io;

use socketserver::StreamRequest;

/// Makes the content of a response piece by piece.
///
/// A million lines, of which only a thousand are in memory at a time:
///
/// ```
/// use std::io;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, StreamRequest};
/// use socketserver_http::{Produce, Produced, Response, Router};
///
/// struct Lines(u32);
///
/// impl Produce for Lines {
///     fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced> {
///         for _ in 0..1000 {
///             piece.extend_from_slice(b"line\n");
///         }
///         self.0 += 1000;
///         Ok(if self.0 < 1_000_000 { Produced::More } else { Produced::Over })
///     }
///     fn begin(&mut self, request: &StreamRequest) {
///         request.set_doing("lines");
///     }
///     fn hurry(&mut self) {
///         // Lines cost little. A producer that computes for long would end its work here.
///     }
///     fn ends_at_shutdown(&self) -> bool {
///         false // the client needs all of them
///     }
///     fn length(&self) -> Option<u64> {
///         Some(5_000_000)
///     }
/// }
///
/// let router = Router::new()
///     .get("/lines", |_| Ok(Response::new(200).stream("text/plain", Lines(0))));
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(b"GET /lines HTTP/1.0\r\n\r\n");
/// let answer = client.received();
/// let head = answer.len() - 5_000_000;
/// assert!(answer[..head].ends_with(b"\r\n\r\n"));
/// ```
pub trait Produce: Send + 'static {
    /// Appends the next piece.
    ///
    /// # Errors
    /// An error ends the connection, so that the client notices that something is missing.
    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced>;

    /// Called once, before the first piece, with the connection: for a producer that is to be woken
    /// ([`StreamRequest::waker`]). A wake has the next piece made before its time has come.
    /// Defaults to nothing.
    fn begin(&mut self, request: &StreamRequest) {
        let _ = request;
    }

    /// Called before the first piece, and before a piece that follows an empty one, if the client
    /// has ended its side: it may have left without waiting for the answer. A producer should not
    /// begin costly work then. Defaults to nothing.
    fn hurry(&mut self) {}

    /// Whether the server's shutdown ends the content here, as its last piece. Defaults to false:
    /// the content goes on for the grace time.
    fn ends_at_shutdown(&self) -> bool {
        false
    }

    /// Bytes of all pieces together, asked before the first one. If they are known, the client is
    /// told (`Content-Length`), and the content goes out as it is; if not, in chunks. Defaults to
    /// unknown.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// What follows a piece.
///
/// An event each second, three in all:
///
/// ```
/// use std::time::Duration;
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{Produced, Router, events};
///
/// let router = Router::new().get("/ticks", |_| {
///     let mut count = 0;
///     Ok(events(move |to| {
///         count += 1;
///         to.data("tick");
///         match count {
///             3 => Produced::Over,
///             _ => Produced::After(Duration::from_secs(1)),
///         }
///     }))
/// });
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(b"GET /ticks HTTP/1.0\r\n\r\n").received();
/// client.advance(Duration::from_secs(2));
/// assert_eq!(client.received(), b"data: tick\n\ndata: tick\n\n");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Produced {
    /// The next piece can be made as soon as this one is out.
    More,
    /// The next piece comes after this time, or when the producer's waker is called. Until then
    /// the connection holds no thread.
    After(std::time::Duration),
    /// That was the last one.
    Over,
}
