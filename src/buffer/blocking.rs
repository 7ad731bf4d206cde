//! `rfile` in Python's style: reads that wait for the peer.

use std::io::{self, BufRead, Read, Write};

use super::peer::{self, PeerWait, WaitFor};
use super::{BUFFER_SIZE, Fill, RFile};
use crate::clock::deadline;
use crate::error::{Error, Timeout};
use crate::pace::PaceViolation;

impl RFile {
    /// Sleeps until the peer sent something, or the server is shutting down between two messages.
    /// Sends first what the handler has written: it may be what the peer waits for.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        let server = {
            let mut output = self.output.lock();
            if output.has_unsent() {
                output.flush()?;
            }
            output.server()
        };
        let now = server.clock().now();
        let until = if self.in_message {
            self.pace.block(now)
        } else {
            deadline(now, self.idle_timeout)
        };
        let what = if self.is_interruptible {
            WaitFor::Message
        } else {
            WaitFor::Bytes
        };
        match peer::wait(&self.transport, &*server, what, until)? {
            PeerWait::Ready => {
                self.drained = false;
                self.maybe_eof = true;
                Ok(())
            }
            PeerWait::Interrupted => {
                self.eof = true;
                self.interrupted = true;
                Ok(())
            }
            // In memory, the test that would send is waiting for this handler.
            PeerWait::TimedOut if self.transport.fd().is_none() => {
                Err(too_slow(PaceViolation::Stalled))
            }
            PeerWait::TimedOut if self.in_message => {
                self.pace.check(server.clock().now()).map_err(too_slow)
            }
            PeerWait::TimedOut => Err(Error::Timeout(Timeout::Idle).into()),
        }
    }

    /// A blocking read begins. If the handler has written since the last one and left no byte
    /// unread, it has answered a message.
    pub(super) fn begin_read(&mut self) {
        if self.output.lock().take_answered() && self.start == self.end {
            self.end_message();
        }
    }

    /// A blocking read has returned what it was asked for. If nothing more has come, the deadlines
    /// of a message no longer apply. Whether the message is complete, only the handler knows.
    fn end_unit(&mut self) {
        if self.start == self.end {
            self.in_message = false;
            self.pace.reset();
        }
    }

    /// A line or an answer ends a message: a shutdown may interrupt the wait for the next one.
    fn end_message(&mut self) {
        self.in_message = false;
        self.is_interruptible = true;
        self.pace.reset();
    }

    /// Waits for at least one byte; 0 is the end of file.
    pub(super) fn read_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && into.len() >= BUFFER_SIZE {
            // As large as the buffer: past it, without a copy.
            loop {
                if self.eof {
                    return Ok(0);
                }
                if !self.drained {
                    let read = self.transport.read(into);
                    if let Some(count) = self.note_read(read, into.len())? {
                        self.taken += count as u64;
                        return Ok(count);
                    }
                }
                self.wait()?;
            }
        }
        self.fill_if_empty()?;
        let count = self.buffer().len().min(into.len());
        into[..count].copy_from_slice(&self.buffer()[..count]);
        self.consume(count);
        Ok(count)
    }

    fn fill_if_empty(&mut self) -> io::Result<()> {
        while self.start == self.end {
            match self.fill()? {
                Fill::Nothing => self.wait()?,
                Fill::More | Fill::Eof => break,
            }
        }
        Ok(())
    }
}

pub(super) fn too_slow(how: PaceViolation) -> io::Error {
    Error::Timeout(match how {
        PaceViolation::Stalled => Timeout::Read,
        PaceViolation::TooSlow => Timeout::TooSlow,
    })
    .into()
}

impl Read for RFile {
    /// Waits for at least one byte; 0 is the end of file.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.begin_read();
        let count = self.read_some(into)?;
        self.end_unit();
        Ok(count)
    }

    /// Reads exactly as many bytes as `into` holds. If the peer ends its side before, the error is
    /// `UnexpectedEof`, and counts as a disconnect.
    fn read_exact(&mut self, mut into: &mut [u8]) -> io::Result<()> {
        self.begin_read();
        while !into.is_empty() {
            match self.read_some(into) {
                Ok(0) => {
                    return Err(Error::Disconnected(io::ErrorKind::UnexpectedEof.into()).into());
                }
                Ok(count) => into = &mut into[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.end_unit();
        Ok(())
    }
}

impl BufRead for RFile {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.begin_read();
        self.fill_if_empty()?;
        Ok(self.buffer())
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.taken += count as u64;
        self.searched = self.searched.saturating_sub(count);
    }

    fn read_until(&mut self, byte: u8, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        self.begin_read();
        loop {
            self.fill_if_empty()?;
            let available = self.buffer();
            let (found, used) = match memchr::memchr(byte, available) {
                Some(at) => (true, at + 1),
                None => (false, available.len()),
            };
            into.extend_from_slice(&available[..used]);
            self.consume(used);
            if found && self.start == self.end {
                self.end_message();
            }
            if found || used == 0 {
                return Ok(into.len() - before);
            }
        }
    }

    fn read_line(&mut self, into: &mut String) -> io::Result<usize> {
        let mut line = Vec::new();
        let count = self.read_until(b'\n', &mut line)?;
        let text = std::str::from_utf8(&line)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        into.push_str(text);
        Ok(count)
    }
}
