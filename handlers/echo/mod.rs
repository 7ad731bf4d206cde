//! `serve echo`: every byte comes back as it was sent (RFC 862), or in upper case.

pub mod client;

use std::io::{BufRead, Write};

use clap::Args;
use socketserver::{DatagramRequest, DatagramRequestHandler, Next, Result, StreamRequest, StreamRequestHandler};

use crate::service::{Context, Failure, Served, Service};

/// Bytes that are echoed before they are sent. Less than `wfile` holds, so that a client that doesn't read its answers
/// holds no thread: the next bytes are looked at when these are out.
const CHUNK: usize = 8 * 1024;

/// The options of `serve echo`.
#[derive(Debug, Args)]
pub struct Echo {
    /// Return ASCII letters in upper case
    #[arg(long, env = "SOCKETSERVER_UPPER")]
    upper: bool,
    /// Serve datagrams instead of connections
    #[arg(long, env = "SOCKETSERVER_UDP")]
    udp: bool,
}

impl Service for Echo {
    const NAME: &'static str = "echo";
    const PORT: u16 = 7007;

    fn open(self, _: &Context) -> Result<Served, Failure> {
        let handler = EchoHandler { upper: self.upper };
        Ok(match self.udp {
            true => Served::Datagram(Box::new(move |_| Box::new(handler))),
            false => Served::stream(move |_| Box::new(handler)),
        })
    }
}

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
        if self.upper { request.reply(&request.packet().to_ascii_uppercase()) } else { request.reply(request.packet()) }
    }
}
