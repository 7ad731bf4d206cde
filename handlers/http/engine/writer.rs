//! Writes responses. All responses are written here.

use std::cell::Cell;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use socketserver::{StreamRequestHandler, WFile};

use super::file_content::FileContent;
use super::produce::Produce;
use super::response::{Content, Response};
use super::status::reason;
use crate::protocol::date;
use crate::protocol::head::{Head, Method, Version};

/// Header lines of every response. `Server` (RFC 9110 §10.2.4) has no version, which would only
/// help an attacker. `nosniff` forbids browsers to guess a type that differs from `Content-Type`
/// (the Fetch standard, "X-Content-Type-Options header").
const ALWAYS: &str = "Server: socketserver\r\nX-Content-Type-Options: nosniff\r\n";

/// Maximum length of a file's content that is appended to the response's head before both are
/// written, in bytes. Such a copy costs less than another write, which takes the output's lock.
const MAX_GATHERED_BODY: u64 = 2048;

thread_local! {
    /// The buffer in which a thread builds a response's head. It is reused, so that a response
    /// needs no allocation.
    static GATHERED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Maximum length of content in memory that is copied into the connection's buffer, in bytes. For
/// such short content a copy is cheaper than a shared reference and a vectored write.
const MAX_COPIED: usize = 8192;

/// The properties of a request and its connection that affect how the response is written.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Whether the body is left out, as for HEAD. `Content-Length` is still sent (RFC 9110 §9.3.2).
    pub head_only: bool,
    /// Whether the connection is kept alive after the response.
    pub keep_alive: bool,
    /// Whether the client speaks HTTP/1.0. Such a client needs `Connection: keep-alive` if the
    /// connection is kept alive (RFC 9112 §C.2.2).
    pub http_1_0: bool,
    /// How long the client must use HTTPS. Only sent over TLS (RFC 6797 §7.2).
    pub hsts: Option<Duration>,
}

impl Frame {
    /// The frame of a connection's last response, to a request that can't be served.
    pub fn last(hsts: Option<Duration>) -> Frame {
        Frame {
            head_only: false,
            keep_alive: false,
            http_1_0: false,
            hsts,
        }
    }

    /// The frame of the response to a request with this head.
    pub fn of(head: &Head<'_>, keep_alive: bool, hsts: Option<Duration>) -> Frame {
        Frame {
            head_only: head.method == Method::Head,
            keep_alive: head.keep_alive && keep_alive,
            http_1_0: head.version == Version::Http10,
            hsts,
        }
    }

    fn connection(self) -> &'static str {
        match (self.keep_alive, self.http_1_0) {
            (true, false) => "\r\n",
            (true, true) => "Connection: keep-alive\r\n\r\n",
            (false, _) => "Connection: close\r\n\r\n",
        }
    }
}

/// The result of writing a response.
pub struct Written {
    pub status: u16,
    /// The length of the body in bytes. 0 if it is unknown, or if the body is left out.
    pub bytes: u64,
    /// Whether the response's headers say that the connection is kept alive.
    pub keep_alive: bool,
    pub next: Following,
}

/// What the connection must do after the written part of a response.
pub enum Following {
    /// Nothing: the response is completely written.
    Nothing,
    /// Send the content piece by piece.
    Stream(Box<dyn Produce>),
    /// Switch to another protocol.
    Upgrade(Box<dyn StreamRequestHandler>),
}

/// Writes a response. Of a stream, only the head is written.
pub fn write(to: &mut WFile, frame: Frame, response: Response) -> io::Result<Written> {
    let Response {
        status,
        headers,
        content,
        ..
    } = response;
    let mut frame = frame;
    // For an HTTP/1.0 client, only the end of the connection shows where a stream ends.
    if let Content::Stream(pieces) = &content
        && frame.http_1_0
        && pieces.length().is_none()
    {
        frame.keep_alive = false;
    }
    // The head is built in a buffer first, because each write to `to` takes a lock.
    let mut head = GATHERED.take();
    head.clear();
    begin(&mut head, frame, status)?;
    if let Content::File(file) = &content {
        head.extend_from_slice(file.header_lines());
    }
    head.extend_from_slice(headers.as_bytes());
    let length = length_line(&mut head, frame, status, &content)?;
    match content {
        Content::Upgrade(_) => head.extend_from_slice(b"\r\n"),
        _ => head.extend_from_slice(frame.connection().as_bytes()),
    }
    let is_gathered = !frame.head_only && gather(&mut head, &content)?;
    to.write_all(&head)?;
    GATHERED.set(head);
    let next = if frame.head_only || is_gathered {
        Following::Nothing
    } else {
        write_content(to, content)?
    };
    Ok(Written {
        status,
        bytes: if frame.head_only { 0 } else { length },
        keep_alive: frame.keep_alive,
        next,
    })
}

/// Appends the content of a small file in memory to the response's head. Returns whether it did.
fn gather(head: &mut Vec<u8>, content: &Content) -> io::Result<bool> {
    let (file, range) = match content {
        Content::File(file) => (file.content(), 0..file.length()),
        Content::Part(file, range) => (file, range.clone()),
        _ => return Ok(false),
    };
    if range.end - range.start > MAX_GATHERED_BODY || !matches!(file, FileContent::Memory(_)) {
        return Ok(false);
    }
    file.read(range, head)?;
    Ok(true)
}

/// Appends `Content-Length` or `Transfer-Encoding`, if the response needs one. Returns the length
/// of the content, or 0 if it is unknown.
fn length_line(
    head: &mut Vec<u8>,
    frame: Frame,
    status: u16,
    content: &Content,
) -> io::Result<u64> {
    let length = match content {
        Content::File(file) => return Ok(file.length()), // among its header lines
        Content::Upgrade(_) => return Ok(0),
        Content::Bytes(_) if matches!(status, 204 | 304) => return Ok(0), // RFC 9110 §8.6
        Content::Bytes(bytes) => Some(bytes.len() as u64),
        Content::Part(_, range) => Some(range.end - range.start),
        Content::Stream(pieces) => pieces.length(),
    };
    match length {
        Some(length) => write!(head, "Content-Length: {length}\r\n")?,
        None if !frame.http_1_0 => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        None => {}
    }
    Ok(length.unwrap_or_default())
}

fn write_content(to: &mut WFile, content: Content) -> io::Result<Following> {
    match content {
        Content::Bytes(bytes) => {
            let length = bytes.len();
            to.send_shared(bytes.into(), 0..length)?;
        }
        Content::File(file) => write_part(to, file.content(), 0..file.length())?,
        Content::Part(file, range) => write_part(to, &file, range)?,
        Content::Stream(pieces) => return Ok(Following::Stream(pieces)),
        Content::Upgrade(handler) => return Ok(Following::Upgrade(handler)),
    }
    Ok(Following::Nothing)
}

fn write_part(to: &mut WFile, file: &FileContent, range: Range<u64>) -> io::Result<()> {
    match file {
        FileContent::Memory(bytes) => {
            let range = range.start as usize..range.end as usize;
            if bytes.len() <= MAX_COPIED {
                to.write_all(&bytes[range])
            } else {
                to.send_shared(Arc::clone(bytes), range)
            }
        }
        FileContent::Descriptor(file) => to.send_file(Arc::clone(file), range),
    }
}

/// Appends the status line and the headers that every response has.
fn begin(to: &mut Vec<u8>, frame: Frame, status: u16) -> io::Result<()> {
    if status == 200 {
        to.extend_from_slice(
            b"HTTP/1.1 200 OK\r\nServer: socketserver\r\nX-Content-Type-Options: nosniff\r\nDate: ",
        );
    } else {
        write!(to, "HTTP/1.1 {status} {}\r\n{ALWAYS}Date: ", reason(status))?;
    }
    to.extend_from_slice(&date::now());
    match frame.hsts {
        Some(time) => {
            let seconds = time.as_secs();
            write!(to, "\r\nStrict-Transport-Security: max-age={seconds}\r\n")
        }
        None => {
            to.extend_from_slice(b"\r\n");
            Ok(())
        }
    }
}
