//! The connection under a WebSocket handler: it passes the received bytes to the protocol, and
//! sends the bytes that the protocol produces.

use std::io::{self, Read, Write};
use std::time::Duration;

use socketserver::{Error, Next, Outbox, Result, StreamRequest, StreamRequestHandler, Timeout};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocket, WebSocketConfig};

use super::{WebSocketHandler, WebSocketPeer};

/// Maximum length of a message from the client, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// Size of the protocol's own input buffer, in bytes. The buffer grows for longer messages. Each
/// connection has one, and each read first fills the whole buffer with zeros. With the default of
/// 128 KiB, the filling took most of the time of a short message.
const READ_BUFFER: usize = 4096;

/// Time without a message from the client after which the server sends a ping (RFC 6455 §5.5.2). If
/// the client then sends nothing for the same time, the connection ends.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// The bytes between the connection's buffers and the protocol: received bytes as input, and bytes
/// to send as output.
#[derive(Default)]
pub(super) struct Pipe {
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

pub(super) struct WebSocketConnection {
    socket: WebSocket<Pipe>,
    handler: Box<dyn WebSocketHandler>,
    /// Whether `on_open` was called.
    is_open: bool,
    /// Whether a ping was sent and the client has sent nothing since.
    awaits_pong: bool,
    /// The outbox of the handler's senders. `None` until the handler creates a sender.
    outbox: Option<Outbox>,
}

impl WebSocketConnection {
    pub(super) fn new(handler: Box<dyn WebSocketHandler>) -> WebSocketConnection {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        WebSocketConnection {
            socket: WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config)),
            handler,
            is_open: false,
            awaits_pong: false,
            outbox: None,
        }
    }

    /// Processes the received messages. Returns false if the connection is over.
    fn take_messages(&mut self, request: &StreamRequest) -> Result<bool> {
        loop {
            match self.socket.read() {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    let (handler, mut peer) = self.handler_and_peer(request);
                    handler.on_message(message, &mut peer);
                }
                // The protocol queues pongs and the reply to a close frame. The next flush sends
                // them.
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(true);
                }
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    return Ok(false);
                }
                // A client that disconnects without a close frame is not an error.
                Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Ok(false);
                }
                Err(tungstenite::Error::Io(error)) => return Err(error.into()),
                Err(error) => return Err(Error::Protocol(format!("WebSocket: {error}"))),
            }
        }
    }

    /// Whether a close frame was sent.
    fn is_closing(&self) -> bool {
        let outbox = self.outbox.as_ref();
        !self.socket.can_write() || outbox.is_some_and(Outbox::has_last_bytes)
    }

    fn handler_and_peer<'a>(
        &'a mut self,
        request: &'a StreamRequest,
    ) -> (&'a mut dyn WebSocketHandler, WebSocketPeer<'a>) {
        let peer = WebSocketPeer {
            socket: &mut self.socket,
            request,
            outbox: &mut self.outbox,
        };
        (&mut *self.handler, peer)
    }

    /// Sends the bytes that the protocol has produced. A close frame follows the messages of the
    /// senders, and nothing follows it.
    fn send_output(&mut self, request: &mut StreamRequest) -> io::Result<()> {
        // Sending a queued pong or close frame fails only if the client is gone.
        let _ = self.socket.flush();
        let output = std::mem::take(&mut self.socket.get_mut().output);
        match &self.outbox {
            Some(outbox) if outbox.has_last_bytes() => Ok(()),
            // In `finish` the outbox is closed and its messages are sent: write the frame here.
            Some(outbox) if !self.socket.can_write() && !outbox.is_closed() => {
                outbox.close_with(output);
                Ok(())
            }
            _ => request.wfile.write_all(&output),
        }
    }
}

impl StreamRequestHandler for WebSocketConnection {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        self.is_open = true;
        let (handler, mut peer) = self.handler_and_peer(request);
        handler.on_open(&mut peer);
        Ok(self.send_output(request)?)
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let has_input = !request.rfile.buffer().is_empty();
        let pipe = self.socket.get_mut();
        pipe.input.clear();
        pipe.taken = 0;
        pipe.input.extend_from_slice(request.rfile.take_all());
        pipe.ended = request.rfile.is_eof();
        if request.cause().is_woken() && !self.is_closing() {
            let (handler, mut peer) = self.handler_and_peer(request);
            handler.on_wake(&mut peer);
        }
        let going_on = self.take_messages(request);
        self.awaits_pong &= !has_input;
        if request.cause().is_due() && !has_input {
            if self.awaits_pong {
                return Err(Error::Timeout(Timeout::Idle));
            }
            if self.is_closing() {
                // The client has not replied to the close frame in time.
                return Ok(Next::Close);
            }
            self.awaits_pong = self.socket.send(Message::Ping(Vec::new().into())).is_ok();
        }
        self.send_output(request)?;
        Ok(if going_on? && !request.rfile.is_eof() {
            Next::after(PING_INTERVAL)
        } else {
            Next::Close
        })
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        if !self.is_closing() {
            let going_away = CloseFrame {
                code: CloseCode::Away,
                reason: "".into(),
            };
            // This fails only if the client has already closed the connection.
            let _ = self.socket.close(Some(going_away));
        }
        Ok(self.send_output(request)?)
    }
}

impl Drop for WebSocketConnection {
    /// Calls `on_close`, in whichever way the connection has ended.
    fn drop(&mut self) {
        if self.is_open {
            self.handler.on_close();
        }
    }
}
