//! The handler that returns what it gets: `echo` by itself, `auth` behind a lock.

use std::io::{BufRead, Write};

use socketserver::{
    DatagramRequest, DatagramRequestHandler, Next, Result, StreamRequest, StreamRequestHandler,
};

use super::reflectors::answers_itself;

/// Bytes that are echoed before they are sent. Less than `wfile` holds, so that a client that
/// doesn't read its answers holds no thread: the next bytes are looked at when these are out.
const CHUNK: usize = 8 * 1024;

/// Echoes the bytes of a connection, or datagrams.
#[derive(Clone, Copy, Debug)]
pub struct EchoHandler {
    /// Whether ASCII letters come back in upper case.
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
