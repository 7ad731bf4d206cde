//! Responses as values. A route or a site makes them, and the connection writes them.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use socketserver::StreamRequestHandler;

use super::application::Failure;
use super::file_content::{FileContent, ReadyFile};
use super::pending::PendingHeaders;
use super::produce::Produce;
use crate::protocol::cookie::Cookie;

/// A response: status, headers, content. `Date`, `Server`, `Content-Length` and `Connection` are
/// added when it is sent.
///
/// ```
/// use serde_json::json;
/// use socketserver_http::{Cookie, Produce, Produced, Response};
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
    /// Header lines, without `Content-Length` and the headers that the connection adds.
    pub(crate) headers: String,
    pub(crate) content: Content,
    /// Settings for the connection. Boxed to keep responses small, because most have none.
    delivery: Option<Box<Delivery>>,
}

/// Settings for the delivery of a response. Most responses use the defaults.
#[derive(Default)]
pub struct Delivery {
    /// The user, for the access log.
    pub user: Option<String>,
    /// How long the response is delayed.
    pub delay: Duration,
    /// Header lines that are still being computed.
    pub pending: Option<Box<dyn PendingHeaders>>,
    /// Whether the connection ends after the response.
    pub closes: bool,
    /// The error or panic that ends the connection after the response.
    pub failure: Option<Failure>,
}

/// The content of a response.
pub enum Content {
    Bytes(Vec<u8>),
    /// A whole file with prepared header lines.
    File(Arc<dyn ReadyFile>),
    /// A part of a file.
    Part(FileContent, Range<u64>),
    /// The connection switches to another protocol after this response (RFC 9110 §7.8).
    Upgrade(Box<dyn StreamRequestHandler>),
    /// Content that is produced piece by piece.
    Stream(Box<dyn Produce>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Content::File(file) => write!(f, "file of {} bytes", file.length()),
            Content::Part(_, range) => write!(f, "bytes {range:?} of a file"),
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
            headers: String::new(),
            content: Content::Bytes(Vec::new()),
            delivery: None,
        }
    }

    /// A response with status 200 and plain text.
    pub fn text(text: impl Into<String>) -> Response {
        Response::new(200).content("text/plain; charset=utf-8", text.into().into_bytes())
    }

    /// A response with status 200 and an HTML page.
    pub fn html(html: impl Into<String>) -> Response {
        Response::new(200).content("text/html; charset=utf-8", html.into().into_bytes())
    }

    /// A response with status 200 and a value as JSON.
    ///
    /// # Errors
    /// The value can't be written as JSON, for example because it is a map with keys that are not
    /// strings.
    pub fn json(value: &impl Serialize) -> io::Result<Response> {
        let bytes = serde_json::to_vec(value)?;
        Ok(Response::new(200).content("application/json", bytes))
    }

    /// Sets the content.
    #[doc(hidden)]
    pub fn with_content(self, content: Content) -> Response {
        Response { content, ..self }
    }

    /// Sets the content and its media type.
    pub fn content(self, media_type: &str, bytes: Vec<u8>) -> Response {
        self.with_content(Content::Bytes(bytes))
            .header("Content-Type", media_type)
    }

    /// Sets content that is produced and sent piece by piece.
    pub fn stream(self, media_type: &str, pieces: impl Produce) -> Response {
        self.with_content(Content::Stream(Box::new(pieces)))
            .header("Content-Type", media_type)
    }

    /// Redirects the client to another URL, which it then requests with GET (status 303, RFC 9110
    /// §15.4.4).
    pub fn see_other(location: &str) -> Response {
        Response::new(303).header("Location", location)
    }

    /// Adds a header. Control characters are removed, because a line end would begin another
    /// header.
    pub fn header(mut self, name: &str, value: &str) -> Response {
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
        self.headers += &format!("{}: {}\r\n", clean(name), clean(value));
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

    /// Sets the status.
    pub fn with_status(self, status: u16) -> Response {
        Response { status, ..self }
    }

    /// Adds header lines, each with its line end.
    #[doc(hidden)]
    pub fn add_lines(&mut self, lines: &str) {
        self.headers += lines;
    }

    /// Whether the response can be written immediately.
    #[doc(hidden)]
    pub fn is_due(&self) -> bool {
        self.delivery.as_ref().is_none_or(|delivery| {
            delivery.delay.is_zero()
                && delivery.pending.is_none()
                && delivery.failure.is_none()
                && !delivery.closes
        })
    }

    /// The delivery settings, for changes.
    #[doc(hidden)]
    pub fn delivery(&mut self) -> &mut Delivery {
        self.delivery.get_or_insert_default()
    }

    /// Takes the delivery settings. `None` if they are the defaults.
    #[doc(hidden)]
    pub fn take_delivery(&mut self) -> Option<Box<Delivery>> {
        self.delivery.take()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("user", &self.user)
            .field("delay", &self.delay)
            .field("closes", &self.closes)
            .finish_non_exhaustive()
    }
}
