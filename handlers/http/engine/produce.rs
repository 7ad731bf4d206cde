//! Response content that is produced piece by piece.

use std::io;

use socketserver::StreamRequest;

/// Produces the content of a response piece by piece.
///
/// This example sends a million lines, with only a thousand of them in memory at a time:
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
    /// An error ends the connection, so that the client notices the incomplete content.
    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced>;

    /// Called once, before the first piece. A producer that other threads wake takes the
    /// connection's [waker](StreamRequest::waker) here. After a wake, the next piece is produced
    /// immediately, even before its time. Does nothing by default.
    fn begin(&mut self, request: &StreamRequest) {
        let _ = request;
    }

    /// Called if the client has closed its side, before the first piece and before a piece that
    /// follows an empty one. Such a client may be gone, so a producer should not begin costly work
    /// after this call. Does nothing by default.
    fn hurry(&mut self) {}

    /// Whether the content ends with the current piece when the server shuts down. Defaults to
    /// false: the content continues during the grace period.
    fn ends_at_shutdown(&self) -> bool {
        false
    }

    /// The length of all pieces together, in bytes. It is called before the first piece. If it
    /// returns a length, the response has `Content-Length`; otherwise the response is chunked.
    /// Defaults to `None`.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// What a response does after a piece.
///
/// This example sends one event per second, three in total:
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
    /// The next piece can be produced as soon as this piece is sent.
    More,
    /// The next piece is produced after this time, or when the connection's waker is called. Until
    /// then the connection holds no thread.
    After(std::time::Duration),
    /// This was the last piece.
    Over,
}
