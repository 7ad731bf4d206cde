//! What a forwarder moves from one connection to another.

use std::io;

use super::{Socket, Transport, add, connection_error};
use crate::sys::SplicePipe;

impl Transport {
    /// Whether a thread that does not hold the connection may write to it while nothing else is
    /// sent: TLS has a state of its own, and memory wakes its reader.
    pub(crate) fn is_plain_socket(&self) -> bool {
        self.tls().is_none() && matches!(self.socket, Socket::Stream(_))
    }

    /// Whether bytes may pass unseen: they are neither encrypted nor traced.
    pub(crate) fn can_splice(&self) -> bool {
        self.is_plain_socket() && self.tap.is_none()
    }

    /// Moves what has come into the empty `pipe`; 0 is the end of file.
    pub(crate) fn splice_from(&self, pipe: &mut SplicePipe) -> io::Result<usize> {
        let fd = self.fd().ok_or(io::ErrorKind::Unsupported)?;
        let count = pipe.take_from(fd).map_err(connection_error)?;
        add(&self.received, count as u64);
        Ok(count)
    }

    /// Sends as much of `pipe` as the peer takes now.
    pub(crate) fn splice_to(&self, pipe: &mut SplicePipe) -> io::Result<usize> {
        let fd = self.fd().ok_or(io::ErrorKind::Unsupported)?;
        let count = pipe.send_to(fd).map_err(connection_error)?;
        add(&self.sent, count as u64);
        Ok(count)
    }
}
