//! The control connection: sends commands, and receives replies.
//!
//! This layer does not use the crate `suppaftp`, because its version 12.2 has these faults:
//! - With implicit TLS, the connection, the handshake and the greeting have no timeout. For a
//!   reply, the timeout applies to each read, so a slow server can block the client without a
//!   limit.
//! - It cannot show the decrypted traffic of a connection, as `--trace` does.
//! - When an incomplete transfer is dropped, its connection is closed in the same way as after a
//!   complete transfer. Then the server stores a part of the file as the complete file. The drop
//!   also waits for the server.
//! - Names of files are text instead of bytes, and the size of a listing has no limit.
//! - It needs a second library for dates (chrono), and a library for regular expressions.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::reply::{MAX_REPLY, Parsed, Reply, parse};
use crate::client::Connection;
use crate::common::trace;

/// Minimum timeout of a read, because a socket refuses a timeout of 0.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// The first byte of a Telnet command (RFC 854). In an argument, this byte is sent twice.
const IAC: u8 = 255;

/// The control connection.
#[derive(Debug)]
pub(super) struct Control {
    connection: Connection,
    /// The received bytes after the last complete reply.
    received: Vec<u8>,
    /// The value of `--timeout`.
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

    /// Sends a command. The caller must check that the argument contains no line break.
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

    /// Sends a command with a secret argument, which the trace does not show.
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

    /// Waits for the next reply, for at most `--timeout` plus `extra`.
    ///
    /// # Errors
    /// The errors of [`receive_within`](Control::receive_within).
    pub(super) fn receive(&mut self, extra: Duration) -> io::Result<Reply> {
        self.receive_within(self.timeout.saturating_add(extra))
    }

    /// Waits for the next reply, for at most the time `patience`.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end of the connection, `TimedOut`, `InvalidData` for bytes that are
    /// not a reply, and the errors of the socket.
    pub(super) fn receive_within(&mut self, patience: Duration) -> io::Result<Reply> {
        // The deadline applies to the whole reply. Otherwise a server that sends a byte from time
        // to time could block the client without a limit.
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

    /// Starts TLS. Unencrypted bytes after the reply to AUTH are an error. An attacker in the
    /// network could insert such bytes, and the client would take them for replies over TLS.
    ///
    /// # Errors
    /// The errors of the handshake, and `InvalidData` for unencrypted bytes after the reply to
    /// AUTH.
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
