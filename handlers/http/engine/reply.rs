//! Writing responses.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use socketserver::WFile;

use crate::files::site::entry::{Body, Entry};
use crate::files::site::multipart::Parts;
use crate::http::engine::application::Answer;
use crate::http::engine::message::{Content, Response};
use crate::http::protocol::date;
use crate::http::protocol::head::{Head, Method, Version};

/// Sent with every response (RFC 9110 §10.2.4); without a version, which would only help an
/// attacker. No browser is to guess another type than the one it is told (the Fetch standard,
/// "X-Content-Type-Options header").
const ALWAYS: &str = "Server: socketserver\r\nX-Content-Type-Options: nosniff\r\n";

/// Bytes for which the head of most answers has room.
const USUAL_HEAD: usize = 512;

/// What went out, for the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) status: u16,
    /// Bytes of the body, as far as they are known.
    pub(crate) bytes: u64,
    /// The client was told that the connection goes on.
    pub(crate) keep_alive: bool,
}

/// What a response needs to know of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The body is left out, its length is not (RFC 9110 §9.3.2).
    pub(crate) head_only: bool,
    /// The connection goes on.
    pub(crate) keep_alive: bool,
    /// HTTP/1.0 clients must be told so (RFC 9112 §C.2.2).
    pub(crate) http_1_0: bool,
    /// How long the client must use HTTPS; only sent over TLS (RFC 6797 §7.2).
    pub(crate) hsts: Option<Duration>,
    pub(crate) sharing: Sharing,
}

/// To which users a cache may give an answer that depends on the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// All: the site has no users.
    #[default]
    Free,
    /// Users who send the same credentials (RFC 9110 §12.5.5): the anonymous user's rights were
    /// enough.
    SameCredentials,
    /// Only this client (RFC 9111 §5.2.2.7).
    Private,
}

impl Frame {
    /// For an answer that is the connection's last.
    pub(crate) fn last(hsts: Option<Duration>) -> Frame {
        Frame {
            head_only: false,
            keep_alive: false,
            http_1_0: false,
            hsts,
            sharing: Sharing::Free,
        }
    }

    /// For the answer to this request.
    pub(crate) fn of(head: &Head<'_>, keep_alive: bool, hsts: Option<Duration>) -> Frame {
        Frame {
            head_only: head.method == Method::Head,
            keep_alive: head.keep_alive && keep_alive,
            http_1_0: head.version == Version::Http10,
            hsts,
            sharing: Sharing::Free,
        }
    }

    fn sent(self, status: u16, bytes: u64) -> Sent {
        Sent {
            status,
            bytes: if self.head_only { 0 } else { bytes },
            keep_alive: self.keep_alive,
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

/// The reason phrase of the statuses that are sent.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        101 => "Switching Protocols",
        201 => "Created",
        202 => "Accepted",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        423 => "Locked",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        460 => "Checksum Mismatch",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        502 => "Bad Gateway",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}

/// The status line and the fields that every response has.
fn begin(to: &mut impl Write, frame: Frame, status: u16) -> io::Result<()> {
    if status == 200 {
        to.write_all(
            b"HTTP/1.1 200 OK\r\nServer: socketserver\r\nX-Content-Type-Options: nosniff\r\nDate: ",
        )?;
    } else {
        write!(to, "HTTP/1.1 {status} {}\r\n{ALWAYS}Date: ", reason(status))?;
    }
    to.write_all(&date::now())?;
    match frame.hsts {
        Some(time) => write!(
            to,
            "\r\nStrict-Transport-Security: max-age={}\r\n",
            time.as_secs()
        )?,
        None => to.write_all(b"\r\n")?,
    }
    match frame.sharing {
        Sharing::Free => Ok(()),
        Sharing::SameCredentials => to.write_all(b"Vary: Authorization\r\n"),
        Sharing::Private => to.write_all(b"Cache-Control: private\r\nVary: Authorization\r\n"),
    }
}

/// What is sent of a file.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    Whole,
    /// RFC 9110 §15.3.7.
    Range(Range<u64>),
    /// Several ranges, one part each (RFC 9110 §14.6).
    Ranges(Vec<Range<u64>>),
}

/// What follows the head of an answer from a file.
pub(crate) enum Following {
    Range(Range<u64>),
    Parts(Parts),
}

/// A file, or parts of it. `more` are field lines for this answer.
pub(crate) fn file(
    to: &mut WFile,
    frame: Frame,
    entry: &Entry,
    more: &str,
    selection: Selection,
) -> io::Result<Answer> {
    // Gathered first: each write to `to` takes its lock.
    let mut head = Vec::with_capacity(USUAL_HEAD);
    let (sent, following) = file_head(&mut head, frame, entry, more, selection)?;
    to.write_all(&head)?;
    match following {
        Following::Range(range) => {
            send(to, frame, entry, range)?;
            Ok(Answer::Sent(sent))
        }
        Following::Parts(parts) => Ok(Answer::Stream(sent, Box::new(parts))),
    }
}

/// The head of such an answer.
pub(crate) fn file_head(
    to: &mut impl Write,
    frame: Frame,
    entry: &Entry,
    more: &str,
    selection: Selection,
) -> io::Result<(Sent, Following)> {
    begin(
        to,
        frame,
        if matches!(selection, Selection::Whole) {
            200
        } else {
            206
        },
    )?;
    let (sent, following) = match selection {
        Selection::Whole => {
            to.write_all(entry.fields())?;
            (
                frame.sent(200, entry.length),
                Following::Range(0..entry.length),
            )
        }
        Selection::Range(range) => {
            let bytes = range.end - range.start;
            write!(
                to,
                "Content-Type: {}\r\nContent-Length: {bytes}\r\nContent-Range: bytes {}-{}/{}\r\n",
                entry.media_type,
                range.start,
                range.end - 1,
                entry.length,
            )?;
            to.write_all(entry.validators())?;
            (frame.sent(206, bytes), Following::Range(range))
        }
        Selection::Ranges(ranges) => {
            let parts = Parts::new(entry, ranges);
            let (boundary, total) = (parts.boundary(), parts.total());
            write!(
                to,
                "Content-Type: multipart/byteranges; boundary={boundary}\r\n\
                 Content-Length: {total}\r\n"
            )?;
            to.write_all(entry.validators())?;
            (frame.sent(206, total), Following::Parts(parts))
        }
    };
    to.write_all(more.as_bytes())?;
    to.write_all(frame.connection().as_bytes())?;
    Ok((sent, following))
}

/// A page with another status than 200 whose content is a file: 404.html.
pub(crate) fn page_file(
    to: &mut WFile,
    frame: Frame,
    status: u16,
    fields: &str,
    entry: &Entry,
) -> io::Result<Sent> {
    begin(to, frame, status)?;
    write!(
        to,
        "Content-Type: {}\r\nContent-Length: {}\r\n{fields}",
        entry.media_type, entry.length
    )?;
    to.write_all(frame.connection().as_bytes())?;
    send(to, frame, entry, 0..entry.length)?;
    Ok(frame.sent(status, entry.length))
}

/// The client's copy is still good (RFC 9110 §15.4.5).
pub(crate) fn not_modified(to: &mut WFile, frame: Frame, entry: &Entry) -> io::Result<Sent> {
    begin(to, frame, 304)?;
    to.write_all(entry.validators())?;
    to.write_all(frame.connection().as_bytes())?;
    Ok(frame.sent(304, 0))
}

fn send(to: &mut WFile, frame: Frame, entry: &Entry, range: Range<u64>) -> io::Result<()> {
    if frame.head_only {
        return Ok(());
    }
    match &entry.body {
        // Small enough for the buffer, a copy is cheaper than another reference and a gathered
        // write.
        Body::Memory(bytes) if bytes.len() <= 8192 => {
            to.write_all(&bytes[range.start as usize..range.end as usize])
        }
        Body::Memory(bytes) => {
            to.send_shared(Arc::clone(bytes), range.start as usize..range.end as usize)
        }
        Body::Descriptor(file) => to.send_file(Arc::clone(file), range),
    }
}

/// A page that was made for this response.
pub(crate) fn page(
    to: &mut WFile,
    frame: Frame,
    status: u16,
    fields: &str,
    html: String,
) -> io::Result<Sent> {
    begin(to, frame, status)?;
    write!(
        to,
        "Content-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n{fields}",
        html.len()
    )?;
    to.write_all(frame.connection().as_bytes())?;
    let length = html.len();
    if !frame.head_only {
        to.send_shared(html.into_bytes().into(), 0..length)?;
    }
    Ok(frame.sent(status, length as u64))
}

/// A response without content, and without a Content-Length (RFC 9110 §8.6): 204.
pub(crate) fn empty(to: &mut WFile, frame: Frame, status: u16, fields: &str) -> io::Result<Sent> {
    begin(to, frame, status)?;
    to.write_all(fields.as_bytes())?;
    to.write_all(frame.connection().as_bytes())?;
    Ok(frame.sent(status, 0))
}

/// What an application made.
pub(crate) fn response(to: &mut WFile, frame: Frame, response: Response) -> io::Result<Answer> {
    let Response {
        status,
        fields,
        content,
    } = response;
    let frame = match &content {
        // For an HTTP/1.0 client, only the end of the connection shows where a stream ends.
        Content::Stream(pieces) if frame.http_1_0 && pieces.length().is_none() => Frame {
            keep_alive: false,
            ..frame
        },
        _ => frame,
    };
    begin(to, frame, status)?;
    to.write_all(fields.as_bytes())?;
    match content {
        Content::Bytes(bytes) => {
            // RFC 9110 §8.6: none with these.
            if !matches!(status, 204 | 304) {
                write!(to, "Content-Length: {}\r\n", bytes.len())?;
            }
            to.write_all(frame.connection().as_bytes())?;
            let length = bytes.len();
            if !frame.head_only {
                to.send_shared(bytes.into(), 0..length)?;
            }
            Ok(Answer::Sent(frame.sent(status, length as u64)))
        }
        Content::Stream(pieces) => {
            match pieces.length() {
                Some(length) => write!(to, "Content-Length: {length}\r\n")?,
                None if !frame.http_1_0 => to.write_all(b"Transfer-Encoding: chunked\r\n")?,
                None => {}
            }
            to.write_all(frame.connection().as_bytes())?;
            let sent = frame.sent(status, pieces.length().unwrap_or(0));
            Ok(if frame.head_only {
                Answer::Sent(sent)
            } else {
                Answer::Stream(sent, pieces)
            })
        }
        Content::Upgrade(handler) => {
            to.write_all(b"\r\n")?;
            Ok(Answer::Upgrade(frame.sent(status, 0), handler))
        }
    }
}

/// A short page that says what went wrong.
pub(crate) fn error(
    to: &mut WFile,
    frame: Frame,
    status: u16,
    fields: &str,
    detail: &str,
) -> io::Result<Sent> {
    page(to, frame, status, fields, error_page(status, detail))
}

/// That page.
pub(crate) fn error_page(status: u16, detail: &str) -> String {
    let reason = reason(status);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{status} \
         {reason}</title>\
         <meta name=\"color-scheme\" content=\"light dark\"></head>\n\
         <body><h1>{status} {reason}</h1><p>{detail}</p></body>\n</html>\n"
    )
}
