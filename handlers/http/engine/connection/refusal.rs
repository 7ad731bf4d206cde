//! Error responses to malformed, unsupported and late requests.

use std::io;

use socketserver::StreamRequest;

use super::{Flow, HttpHandler};
use crate::engine::error_page::error_page;
use crate::engine::writer::{self, Frame};
use crate::protocol::head::HeadError;

/// Maximum length of a refused request's request line in the access log, in bytes.
const MAX_LOGGED_LINE: usize = 1024;

impl HttpHandler {
    /// Refuses a request that can't be served, and ends the connection. `head` is `None` if the
    /// request's head (or the bytes in its place) is still at the beginning of the buffer.
    pub(super) fn refuse(
        &mut self,
        request: &mut StreamRequest,
        head: Option<&[u8]>,
        refused: HeadError,
    ) -> io::Result<Flow> {
        let frame = Frame::last(self.hsts(request));
        let detail = format!("The request was refused: {}.", refused.reason);
        let page = error_page(refused.status, &detail);
        let written = writer::write(&mut request.wfile, frame, page)?;
        // The log gets the request line as far as it has arrived. If the head was consumed before,
        // the buffer has parts of the body, and a line of the body must not be logged as a request.
        let line = first_line(head.unwrap_or(request.rfile.buffer()));
        let line = &line[..line.len().min(MAX_LOGGED_LINE)];
        self.log(request, line, None, &written, None);
        request.linger();
        Ok(Flow::Over)
    }
}

/// The request line of a head, without its line end.
pub(super) fn first_line(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    &head[..memchr::memchr2(b'\r', b'\n', head).unwrap_or(head.len())]
}
