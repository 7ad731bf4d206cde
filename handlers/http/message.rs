//! Requests and responses, as the author of an HTTP service sees them.

use std::fmt;
use std::io::{self, Read, Write};

use socketserver::{ClientAddress, RFile, StreamRequestHandler, WFile};

use super::body::Body;
use super::head::{Head, Method};

/// The client may send its body (RFC 9110 §15.2.1).
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A request: its head, and its body to be read.
pub struct Request<'a> {
    /// Method, target, fields.
    pub head: &'a Head<'a>,
    /// Who asks.
    pub client_address: &'a ClientAddress,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a [u8]>,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) body: BodyReader<'a>,
}

impl<'a> Request<'a> {
    /// The method.
    pub fn method(&self) -> Method {
        self.head.method
    }

    /// The path, percent-decoded, with the slash that it begins with; without the query.
    pub fn path(&self) -> &str {
        self.path
    }

    /// What stands after the `?`, as it was sent.
    pub fn query(&self) -> Option<&str> {
        self.query.and_then(|query| std::str::from_utf8(query).ok())
    }

    /// What stands in the path where the route has `{name}`; empty for a name that the route
    /// doesn't have.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }

    /// The first field of this name, in any case; `None` if it is absent or no UTF-8.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.head
            .values(name)
            .next()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The body. Reading waits for the client, within the server's deadlines; 100 (Continue) is
    /// sent if the client waits for it. What isn't read is dropped.
    pub fn body(&mut self) -> &mut BodyReader<'a> {
        &mut self.body
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("head", self.head)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The body of a request, whatever its framing.
pub struct BodyReader<'a> {
    source: Option<(&'a mut Body, &'a mut RFile)>,
    pub(super) wfile: &'a mut WFile,
    /// The client waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1).
    continue_due: bool,
}

impl<'a> BodyReader<'a> {
    /// For a request without a body.
    pub(super) fn without(wfile: &'a mut WFile) -> BodyReader<'a> {
        BodyReader {
            source: None,
            wfile,
            continue_due: false,
        }
    }

    pub(super) fn new(
        body: &'a mut Body,
        rfile: &'a mut RFile,
        wfile: &'a mut WFile,
        continue_due: bool,
    ) -> BodyReader<'a> {
        BodyReader {
            source: Some((body, rfile)),
            wfile,
            continue_due,
        }
    }

    /// Whether another request can follow although nobody reads the rest: it is short, and on its
    /// way.
    pub(super) fn keeps_connection(&self) -> bool {
        self.source.as_ref().is_none_or(|(body, _)| {
            body.is_whole() || (!self.continue_due && body.may_be_dropped())
        })
    }
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((body, rfile)) = &mut self.source else {
            return Ok(0);
        };
        if std::mem::take(&mut self.continue_due) {
            self.wfile.write_all(CONTINUE)?;
            self.wfile.flush()?;
        }
        loop {
            match body.try_read(rfile, buffer)? {
                Some(count) => return Ok(count),
                None => drop(rfile.wait_for_more()?),
            }
        }
    }
}

impl fmt::Debug for BodyReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader").finish_non_exhaustive()
    }
}

/// A response: status, fields, content. `Date`, `Server`, `Content-Length` and `Connection` are
/// added when it is sent.
#[derive(Debug)]
pub struct Response {
    pub(super) status: u16,
    pub(super) fields: String,
    pub(super) content: Content,
}

/// What a response carries.
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// The connection speaks another protocol from here on (RFC 9110 §7.8).
    Upgrade(Box<dyn StreamRequestHandler>),
    /// Pieces that are asked for one after the other.
    Stream(Box<dyn Produce>),
}

/// Makes the content of a response piece by piece.
pub trait Produce: Send + 'static {
    /// Appends the next piece.
    ///
    /// # Errors
    /// An error ends the connection, so that the client notices that something is missing.
    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced>;

    /// Bytes of all pieces together, asked before the first one. If they are known, the client is
    /// told (`Content-Length`), and the content goes out as it is; if not, in chunks. Defaults to
    /// unknown.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// What follows a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Produced {
    /// The next piece can be made as soon as this one is out.
    More,
    /// The next piece comes after this time; until then the connection holds no thread.
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

    /// Content of a media type.
    pub fn content(self, media_type: &str, bytes: Vec<u8>) -> Response {
        Response {
            content: Content::Bytes(bytes),
            ..self
        }
        .field("Content-Type", media_type)
    }

    /// Content that is made piece by piece, and goes out as it is made.
    pub fn stream(self, media_type: &str, pieces: impl Produce) -> Response {
        Response {
            content: Content::Stream(Box::new(pieces)),
            ..self
        }
        .field("Content-Type", media_type)
    }

    /// Goes somewhere else (303, RFC 9110 §15.4.4).
    pub fn see_other(location: &str) -> Response {
        Response::new(303).field("Location", location)
    }

    /// Adds a field. What a value can't hold (control bytes: a line end would begin another field)
    /// is left out.
    pub fn field(mut self, name: &str, value: &str) -> Response {
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
        self.fields += &format!("{}: {}\r\n", clean(name), clean(value));
        self
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
