//! The handler that returns the bytes that it receives. The service `echo` uses it directly, and
//! `auth` uses it behind the challenge.

use std::io::{BufRead, Write};

use socketserver::{
    DatagramRequest, DatagramRequestHandler, Next, Result, StreamRequest, StreamRequestHandler,
};

use super::reflectors::answers_itself;

/// Maximum number of bytes that one call echoes. This is less than `wfile` holds, so that a client
/// that does not read the answers occupies no thread: the next bytes are handled when these are
/// sent.
const CHUNK: usize = 8 * 1024;

/// Echoes the bytes of a connection, or datagrams.
#[derive(Clone, Copy, Debug)]
pub struct EchoHandler {
    /// Whether ASCII letters are returned in upper case.
    pub upper: bool,
}

impl StreamRequestHandler for EchoHandler {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let bytes = request.rfile.buffer();
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        let taken = bytes.len();
        if self.upper {
            request.wfile.write_all(&bytes.to_ascii_uppercase())?;
        } else {
            request.wfile.write_all(bytes)?;
        }
        request.rfile.consume(taken);
        let over = request.rfile.is_eof() && request.rfile.buffer().is_empty();
        Ok(if over { Next::Close } else { Next::Wait })
    }
}

impl DatagramRequestHandler for EchoHandler {
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        if answers_itself(&request.client_address) {
            return Ok(());
        }
        if self.upper {
            request.reply(&request.packet().to_ascii_uppercase())
        } else {
            request.reply(request.packet())
        }
    }
}
