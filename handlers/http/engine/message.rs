//! Responses, as the author of an HTTP service makes them.

use std::fmt;
use std::io;

use serde::Serialize;
use socketserver::{StreamRequest, StreamRequestHandler};

use crate::http::protocol::cookie::Cookie;

/// A response: status, headers, content. `Date`, `Server`, `Content-Length` and `Connection` are
/// added when it is sent.
///
/// ```
/// use serde_json::json;
/// use socketserver_handlers::http::{Cookie, Produce, Produced, Response};
///
/// let greeting = Response::text("hello\n").header("X-Clacks-Overhead", "GNU Terry Pratchett");
/// assert_eq!(greeting.status(), 200);
/// let missing = Response::html("<h1>There is nothing here</h1>").with_status(404);
/// assert_eq!(missing.status(), 404);
/// let sum = Response::json(&json!({ "sum": 3 }))?;
/// let image = Response::new(200).content("image/gif", b"GIF89a".to_vec());
/// let login = Response::see_other("/me").cookie(Cookie::new("name", "Ada"));
///
/// struct Zeros(u32);
///
/// impl Produce for Zeros {
///     fn produce(&mut self, piece: &mut Vec<u8>) -> std::io::Result<Produced> {
///         piece.extend_from_slice(&[0; 4096]);
///         self.0 -= 1;
///         Ok(if self.0 > 0 { Produced::More } else { Produced::Over })
///     }
/// }
/// let long = Response::new(200).stream("application/octet-stream", Zeros(1_000_000));
/// # drop((sum, image, login, long));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Response {
    pub(crate) status: u16,
    /// Header lines.
    pub(crate) fields: String,
    pub(crate) content: Content,
}

/// What a response carries.
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// The connection speaks another protocol from here on (RFC 9110 §7.8).
    Upgrade(Box<dyn StreamRequestHandler>),
    /// Pieces that are asked for one after the other.
    Stream(Box<dyn Produce>),
}

/// Makes the content of a response piece by piece.
///
/// A million lines, of which only a thousand are in memory at a time:
///
/// ```
/// use std::io;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, StreamRequest};
/// use socketserver_handlers::http::{Produce, Produced, Response, Router};
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
/// use socketserver_handlers::http::{Produced, Router, events};
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

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Content::Upgrade(_) => f.write_str("upgrade"),
            Content::Stream(_) => f.write_str("stream"),
        }
    }
}

impl Response {
    /// A response without content.
    pub fn new(status: u16) -> Response {
        Response {
            status,
            fields: String::new(),
            content: Content::Bytes(Vec::new()),
        }
    }

    /// 200 with plain text.
    pub fn text(text: impl Into<String>) -> Response {
        Response::new(200).content("text/plain; charset=utf-8", text.into().into_bytes())
    }

    /// 200 with a page.
    pub fn html(html: impl Into<String>) -> Response {
        Response::new(200).content("text/html; charset=utf-8", html.into().into_bytes())
    }

    /// 200 with a value as JSON.
    ///
    /// # Errors
    /// When the value can't be written as JSON: a map whose keys are not strings, for example.
    pub fn json(value: &impl Serialize) -> io::Result<Response> {
        let bytes = serde_json::to_vec(value)?;
        Ok(Response::new(200).content("application/json", bytes))
    }

    /// Content of a media type.
    pub fn content(self, media_type: &str, bytes: Vec<u8>) -> Response {
        Response {
            content: Content::Bytes(bytes),
            ..self
        }
        .header("Content-Type", media_type)
    }

    /// Content that is made piece by piece, and goes out as it is made.
    pub fn stream(self, media_type: &str, pieces: impl Produce) -> Response {
        Response {
            content: Content::Stream(Box::new(pieces)),
            ..self
        }
        .header("Content-Type", media_type)
    }

    /// Sends the client to another address, which it asks for by GET (303, RFC 9110 §15.4.4).
    pub fn see_other(location: &str) -> Response {
        Response::new(303).header("Location", location)
    }

    /// Adds a header. Control characters are left out: a line end would begin another header.
    pub fn header(mut self, name: &str, value: &str) -> Response {
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
        self.fields += &format!("{}: {}\r\n", clean(name), clean(value));
        self
    }

    /// Sets a cookie.
    pub fn cookie(self, cookie: Cookie) -> Response {
        self.header("Set-Cookie", &cookie.to_string())
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Another status for the same response.
    pub fn with_status(self, status: u16) -> Response {
        Response { status, ..self }
    }
}
