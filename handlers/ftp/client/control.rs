//! The control connection: commands out, replies in.
//!
//! This layer does not use the crate `suppaftp`, because its version 12.2 has these faults:
//! - With implicit TLS, the connection, the handshake and the greeting have no time-out. A reply
//!   has a time-out only for each piece of it, so a slow server can block the client without a
//!   limit.
//! - It cannot show what crosses a connection in the clear, as `--trace` does.
//! - A transfer that is dropped closes its connection in an orderly way, as a complete one does,
//!   and the server stores half a file as a whole one. The drop also waits for the server.
//! - Names are text, and the size of a listing has no limit.
//! - It needs a second library for dates (chrono), and one for regular expressions.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::reply::{MAX_REPLY, Parsed, Reply, parse};
use crate::client::Connection;
use crate::common::trace;

/// Minimum time-out of a read: a socket refuses a time-out of 0.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// The beginning of a telnet command (RFC 854). Doubled, it is the byte itself.
const IAC: u8 = 255;

/// The control connection.
#[derive(Debug)]
pub(super) struct Control {
    connection: Connection,
    /// Bytes that were received and are not part of a reply yet.
    received: Vec<u8>,
    timeout: Duration,
}

impl Control {
    pub(super) fn new(connection: Connection, timeout: Duration) -> Control {
        Control {
            connection,
            received: Vec::new(),
            timeout,
        }
    }

    /// Sends a command. The caller has checked that the argument holds no line break.
    pub(super) fn send(&mut self, verb: &str, argument: Option<&[u8]>) -> io::Result<()> {
        let mut line = verb.as_bytes().to_vec();
        if let Some(argument) = argument {
            line.push(b' ');
            for byte in argument {
                line.push(*byte);
                if *byte == IAC {
                    line.push(IAC);
                }
            }
        }
        line.extend_from_slice(b"\r\n");
        self.connection.write_all(&line)?;
        self.connection.flush()
    }

    /// Sends a command whose argument the trace does not show.
    pub(super) fn send_secret(&mut self, verb: &str, secret: &str) -> io::Result<()> {
        let is_traced = self.connection.is_traced();
        self.connection.set_trace(false);
        let sent = self.send(verb, Some(secret.as_bytes()));
        self.connection.set_trace(is_traced);
        if is_traced {
            trace::client("->", format!("{verb} ***\r\n").as_bytes());
        }
        sent
    }

    /// Waits for the next reply, at most `--timeout` and `extra`.
    ///
    /// # Errors
    /// Those of [`receive_within`](Control::receive_within).
    pub(super) fn receive(&mut self, extra: Duration) -> io::Result<Reply> {
        self.receive_within(self.timeout.saturating_add(extra))
    }

    /// Waits for the next reply, at most this time.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end of the connection, `TimedOut`, `InvalidData` for bytes that are
    /// not a reply, and those of the socket.
    pub(super) fn receive_within(&mut self, patience: Duration) -> io::Result<Reply> {
        // The deadline is for the whole reply. Otherwise a server that sends a byte from time to
        // time could block the client without a limit.
        let deadline = Instant::now() + patience;
        let mut piece = [0; 4096];
        loop {
            match parse(&self.received) {
                Parsed::Complete(reply, length) => {
                    self.received.drain(..length);
                    return Ok(reply);
                }
                Parsed::Invalid => return Err(invalid(&self.received)),
                Parsed::Partial => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.connection.set_read_timeout(Some(left.max(MIN_WAIT)))?;
            match self.connection.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts TLS. Bytes that come in the clear after the reply to AUTH are refused: an attacker in
    /// the network could insert them, and the client would take them for replies over TLS.
    ///
    /// # Errors
    /// Those of the handshake, and `InvalidData` for such bytes.
    pub(super) fn secure(
        self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Control> {
        if !self.received.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "bytes in the clear came before the handshake",
            ));
        }
        self.connection.set_read_timeout(Some(self.timeout))?;
        Ok(Control {
            connection: self.connection.secure(config, name)?,
            ..self
        })
    }
}

fn invalid(bytes: &[u8]) -> io::Error {
    let text = if bytes.len() > MAX_REPLY {
        format!("the server sent a reply of more than {MAX_REPLY} bytes")
    } else {
        "the server sent something that is not FTP".to_owned()
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}
