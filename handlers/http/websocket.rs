//! WebSocket (RFC 6455) on a connection that then parks like any other; the protocol itself is
//! `tungstenite`'s.

use std::fmt;
use std::io::{self, Read, Write};

use socketserver::{Error, Next, Result, StreamRequest, StreamRequestHandler};
use tungstenite::error::ProtocolError;
use tungstenite::handshake::derive_accept_key;
pub use tungstenite::protocol::Message;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

use super::head::Method;
use super::message::{Content, Response};
use super::request::Request;

/// The longest message that is taken.
const MAX_MESSAGE: usize = 1 << 20;

/// Makes a request's connection a WebSocket. `on_message` is called for each text or binary
/// message; pings are answered for it. Holds no thread between messages, and ends after the
/// server's idle time-out.
///
/// What isn't a WebSocket handshake is answered by 400 or 426 (RFC 6455 §4.4).
pub fn websocket(
    request: &Request<'_>,
    on_message: impl FnMut(Message, &mut Sender<'_>) + Send + 'static,
) -> Response {
    let upgrades = request
        .head
        .upgrade
        .is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"));
    let key = request
        .header("sec-websocket-key")
        .filter(|key| key.len() == 24);
    let (Method::Get, true, Some(key)) = (request.method(), upgrades, key) else {
        return Response::text("400 Bad Request: this address speaks WebSocket\n").with_status(400);
    };
    if request.header("sec-websocket-version") != Some("13") {
        return Response::new(426).header("Sec-WebSocket-Version", "13");
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config));
    let handler = WebSocketHandler {
        socket,
        on_message: Box::new(on_message),
    };
    Response {
        content: Content::Upgrade(Box::new(handler)),
        ..Response::new(101)
    }
    .header("Upgrade", "websocket")
    .header("Connection", "Upgrade")
    .header("Sec-WebSocket-Accept", &derive_accept_key(key.as_bytes()))
}

/// Sends messages to the peer.
pub struct Sender<'a>(&'a mut WebSocket<Pipe>);

impl Sender<'_> {
    /// Sends a message.
    ///
    /// # Errors
    /// When the connection is closing.
    pub fn send(&mut self, message: impl Into<Message>) -> io::Result<()> {
        self.0.send(message.into()).map_err(io::Error::other)
    }

    /// Begins the end of the connection.
    ///
    /// # Errors
    /// When it is over already.
    pub fn close(&mut self) -> io::Result<()> {
        self.0.close(None).map_err(io::Error::other)
    }
}

impl fmt::Debug for Sender<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// Between the connection's buffers and the protocol: what has come, and what is to go.
#[derive(Default)]
struct Pipe {
    input: Vec<u8>,
    taken: usize,
    ended: bool,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.input[self.taken..];
        if left.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an author does with a message.
type OnMessage = Box<dyn FnMut(Message, &mut Sender<'_>) + Send>;

struct WebSocketHandler {
    socket: WebSocket<Pipe>,
    on_message: OnMessage,
}

impl WebSocketHandler {
    /// Works on what has come; false when the connection is over.
    fn take_messages(&mut self) -> Result<bool> {
        loop {
            match self.socket.read() {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    (self.on_message)(message, &mut Sender(&mut self.socket));
                }
                // Pongs and the answer to a close are queued by the protocol, and go out with the
                // next flush.
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(true);
                }
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    return Ok(false);
                }
                // The client vanished: that is no error, here as elsewhere.
                Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Ok(false);
                }
                Err(tungstenite::Error::Io(error)) => return Err(error.into()),
                Err(error) => return Err(Error::Protocol(format!("WebSocket: {error}"))),
            }
        }
    }
}

impl StreamRequestHandler for WebSocketHandler {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let pipe = self.socket.get_mut();
        pipe.input.clear();
        pipe.taken = 0;
        pipe.input.extend_from_slice(request.rfile.take_all());
        pipe.ended = request.rfile.is_eof();
        let going_on = self.take_messages();
        // A queued pong or close can only fail because the other side is gone.
        let _ = self.socket.flush();
        let output = std::mem::take(&mut self.socket.get_mut().output);
        request.wfile.write_all(&output)?;
        Ok(if going_on? && !request.rfile.is_eof() {
            Next::Wait
        } else {
            Next::Close
        })
    }
}
