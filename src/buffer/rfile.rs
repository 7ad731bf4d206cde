//! `rfile`: what the peer sent.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use super::{BUFFER_SIZE, borrow, give_back};
use crate::clock::Clock;
use crate::config::{Limits, Timeouts};
use crate::error::{Error, Result, Timeout};
use crate::pace::{Pace, PaceViolation};
use crate::transport::Transport;

/// The reading side of a connection, Python's `StreamRequestHandler.rfile`.
///
/// A handler that answers [`Next::Wait`](crate::Next::Wait) looks at what has come
/// ([`buffer`](RFile::buffer), [`take_line`](RFile::take_line), [`take`](RFile::take)) and never
/// blocks. A handler in Python's style reads through [`Read`] and [`BufRead`]: these wait for the
/// peer, within the server's deadlines, and hold their thread meanwhile.
#[derive(Debug)]
pub struct RFile {
    transport: Arc<Transport>,
    clock: Clock,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How much of the unread bytes `take_line` has already searched.
    searched: usize,
    taken: u64,
    limit: usize,
    pace: Pace,
    eof: bool,
    /// The socket is known to be empty: the poller will tell when that changes.
    drained: bool,
    /// The poller saw the peer's end; a short read doesn't prove that the socket is empty.
    maybe_eof: bool,
}

/// What a read without waiting found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    More,
    Nothing,
    Eof,
}

impl RFile {
    pub(crate) fn new(
        transport: Arc<Transport>,
        clock: Clock,
        timeouts: &Timeouts,
        limits: &Limits,
    ) -> RFile {
        RFile {
            transport,
            clock,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            searched: 0,
            taken: 0,
            limit: limits.max_message,
            pace: Pace::new(timeouts.read, timeouts.min_rate),
            eof: false,
            drained: false,
            maybe_eof: false,
        }
    }

    /// The bytes that have come and weren't taken yet.
    #[inline]
    pub fn buffer(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether the peer has ended its side and all its bytes are in [`buffer`](RFile::buffer).
    #[inline]
    pub fn is_eof(&self) -> bool {
        self.eof
    }

    /// Takes the next line, its `\n` included, if it has come whole. At the end of file the rest
    /// counts as a line.
    ///
    /// # Errors
    /// [`Error::LineTooLong`] when `limit` bytes hold no line end.
    pub fn take_line(&mut self, limit: usize) -> Result<Option<&[u8]>> {
        let unread = self.buffer();
        let from = self.searched.min(unread.len());
        let length = match memchr::memchr(b'\n', &unread[from..]) {
            Some(at) => from + at + 1,
            None if self.eof && !unread.is_empty() => unread.len(),
            None => {
                self.searched = unread.len();
                if self.searched >= limit {
                    return Err(Error::LineTooLong { limit });
                }
                return Ok(None);
            }
        };
        if length > limit {
            return Err(Error::LineTooLong { limit });
        }
        Ok(self.take(length))
    }

    /// Takes exactly `count` bytes, if so many have come.
    pub fn take(&mut self, count: usize) -> Option<&[u8]> {
        if count > self.end - self.start {
            return None;
        }
        let from = self.start;
        self.consume(count);
        Some(&self.buffer[from..from + count])
    }

    /// Takes all bytes that have come.
    pub fn take_all(&mut self) -> &[u8] {
        let count = self.end - self.start;
        let from = self.start;
        self.consume(count);
        &self.buffer[from..from + count]
    }

    /// Waits until more bytes have come than [`buffer`](RFile::buffer) holds; false at the end of
    /// file.
    ///
    /// # Errors
    /// `TimedOut` when the peer is slower than the server allows; `InvalidData` when the buffer is
    /// at [`Limits::max_message`].
    pub fn wait_for_more(&mut self) -> io::Result<bool> {
        loop {
            match self.fill()? {
                Fill::More => return Ok(true),
                Fill::Eof => return Ok(false),
                Fill::Nothing => self.wait()?,
            }
        }
    }

    /// Takes bytes that have come, without waiting: 0 at the end of file, `None` if nothing is
    /// there for now. Large pieces go past the buffer, without a copy; what this leaves unread
    /// brings the next call of `handle` like any other bytes.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn try_read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        if self.start < self.end || into.is_empty() {
            return self.read(into).map(Some);
        }
        if self.eof {
            return Ok(Some(0));
        }
        if self.drained {
            return Ok(None);
        }
        let transport = Arc::clone(&self.transport);
        let space = into.len();
        let count = self.read_some(|_| transport.read(into), space)?;
        self.taken += count.unwrap_or_default() as u64;
        Ok(count)
    }

    /// How many bytes were taken since the connection began.
    pub fn bytes_taken(&self) -> u64 {
        self.taken
    }

    /// Changes how long a read within a message may wait for a byte; `None` is for ever (Python's
    /// `timeout`).
    pub fn set_timeout(&mut self, timeout: Option<std::time::Duration>) {
        self.pace.set_stall(timeout);
    }

    /// Changes how many unread bytes are kept for a handler that waits for the rest of its message.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Reads once, without waiting.
    pub(crate) fn fill(&mut self) -> io::Result<Fill> {
        if self.eof {
            return Ok(Fill::Eof);
        }
        if self.drained {
            return Ok(Fill::Nothing);
        }
        self.make_room()?;
        let transport = Arc::clone(&self.transport);
        let space = self.buffer.len() - self.end;
        let found = self.read_some(|this| transport.read(&mut this.buffer[this.end..]), space)?;
        Ok(match found {
            None => Fill::Nothing,
            Some(0) => Fill::Eof,
            Some(count) => {
                self.end += count;
                Fill::More
            }
        })
    }

    /// One read of the transport into `space` bytes; notes what it tells about the socket.
    fn read_some(
        &mut self,
        read: impl FnOnce(&mut RFile) -> io::Result<usize>,
        space: usize,
    ) -> io::Result<Option<usize>> {
        match read(self) {
            Ok(0) => {
                self.eof = true;
                Ok(Some(0))
            }
            Ok(count) => {
                self.drained =
                    count < space && !self.maybe_eof && self.transport.short_read_drains();
                self.pace_moved(count)?;
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.drained = true;
                self.maybe_eof = false;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn pace_moved(&mut self, count: usize) -> io::Result<()> {
        if self.pace.is_blocked() {
            self.pace.moved(count, self.clock.now()).map_err(slow)
        } else {
            Ok(())
        }
    }

    fn make_room(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end < self.buffer.len() {
            return Ok(());
        }
        if self.buffer.is_empty() {
            self.buffer = borrow();
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else if self.end < self.limit {
            self.buffer.resize((self.end * 2).min(self.limit), 0);
        } else {
            return Err(Error::MessageTooLong { limit: self.limit }.into());
        }
        Ok(())
    }

    /// Sleeps until the peer sent something.
    fn wait(&mut self) -> io::Result<()> {
        let until = self.pace.block(self.clock.now());
        if self.transport.wait(true, self.clock.sleep_until(until))? {
            self.drained = false;
            self.maybe_eof = true;
            return Ok(());
        }
        if self.transport.fd().is_none() {
            return Err(slow(PaceViolation::Stalled)); // memory: whoever would send is waiting for this handler
        }
        self.pace.check(self.clock.now()).map_err(slow)
    }

    /// The poller saw that something came.
    pub(crate) fn note_readable(&mut self, maybe_eof: bool) {
        self.drained = false;
        self.maybe_eof |= maybe_eof;
    }

    /// Whether bytes may be waiting that a parked connection would never be told of.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained || self.eof
    }

    pub(crate) fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    /// Gives the memory of an empty buffer back.
    pub(crate) fn release_buffer(&mut self) {
        if self.start == self.end {
            (self.start, self.end, self.searched) = (0, 0, 0);
            give_back(std::mem::take(&mut self.buffer));
        }
    }
}

impl Drop for RFile {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.buffer));
    }
}

fn slow(how: PaceViolation) -> io::Error {
    Error::Timeout(match how {
        PaceViolation::Stalled => Timeout::Read,
        PaceViolation::TooSlow => Timeout::TooSlow,
    })
    .into()
}

impl Read for RFile {
    /// Waits for at least one byte; 0 is the end of file.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && into.len() >= BUFFER_SIZE {
            // As large as the buffer: past it, without a copy.
            let transport = Arc::clone(&self.transport);
            loop {
                if self.eof {
                    return Ok(0);
                }
                let space = into.len();
                if !self.drained
                    && let Some(count) = self.read_some(|_| transport.read(into), space)?
                {
                    self.taken += count as u64;
                    return Ok(count);
                }
                self.wait()?;
            }
        }
        let count = self.fill_buf()?.len().min(into.len());
        into[..count].copy_from_slice(&self.buffer()[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for RFile {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.wait_for_more()?;
        }
        Ok(self.buffer())
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.taken += count as u64;
        self.searched = self.searched.saturating_sub(count);
    }
}
