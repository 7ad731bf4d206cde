//! Answers to what is no request that can be served, and to clients that must use TLS.

use std::io;

use socketserver::{StreamRequest, WFile};

use super::{Flow, HttpHandler};
use crate::http::engine::application::Answer;
use crate::http::engine::https::Https;
use crate::http::engine::reply;
use crate::http::engine::reply::{Frame, Sent};
use crate::http::protocol::head::{Head, HeadError};

/// Maximum length of a refused request's line in the access log, in bytes.
const MAX_LOGGED_LINE: usize = 1024;

impl HttpHandler {
    /// Refuses what isn't a request that can be served; the connection ends. Without a `head`, what
    /// the buffer begins with is one, or should be.
    pub(super) fn refuse(
        &mut self,
        request: &mut StreamRequest,
        head: Option<&[u8]>,
        refused: HeadError,
    ) -> io::Result<Flow> {
        let frame = Frame::last(self.hsts(request));
        let detail = format!("The request was refused: {}.", refused.reason);
        let sent = reply::error(&mut request.wfile, frame, refused.status, "", &detail)?;
        // The log gets the request line, as far as it has come. A line of the body would pass for a
        // request.
        let line = first_line(head.unwrap_or(request.rfile.buffer()));
        self.log(
            request,
            &line[..line.len().min(MAX_LOGGED_LINE)],
            None,
            &Answer::Sent(sent),
        );
        request.linger();
        Ok(Flow::Over)
    }
}

/// Sends a client that came in the clear where it is encrypted.
pub(super) fn redirect_to_https(to: &mut WFile, head: &Head<'_>, https: Https) -> io::Result<Sent> {
    let frame = Frame::of(head, false, None);
    match https.location(head) {
        // 308, so that a POST stays one. Not to be kept: the port may be plain again tomorrow.
        Some(location) => {
            let fields = format!("Location: {location}\r\nCache-Control: no-store\r\n");
            reply::error(to, frame, 308, &fields, "This site uses HTTPS.")
        }
        None => reply::error(
            to,
            frame,
            400,
            "",
            "This site uses HTTPS, and the request has no host to redirect to.",
        ),
    }
}

/// The request line of a head, without its line end.
pub(super) fn first_line(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    &head[..memchr::memchr2(b'\r', b'\n', head).unwrap_or(head.len())]
}
