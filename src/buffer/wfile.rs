//! `wfile`: what goes to the peer.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::sync::Arc;

use super::{BUFFER_SIZE, borrow, give_back};
use crate::clock::Clock;
use crate::config::Timeouts;
use crate::error::{Error, Timeout};
use crate::pace::{Pace, PaceViolation};
use crate::transport::Transport;

/// The writing side of a connection, Python's `StreamRequestHandler.wfile`.
///
/// Small writes are gathered, and go out when `handle` returns. What the peer doesn't take at once
/// is sent while the connection is parked: a slow reader of an answer that fits the buffer, of
/// [`send_file`](WFile::send_file) or of [`send_shared`](WFile::send_shared) holds no thread. Only
/// a handler that writes more than the buffer waits, within the server's deadlines.
#[derive(Debug)]
pub struct WFile {
    transport: Arc<Transport>,
    clock: Clock,
    /// Its first `filled` bytes are written, the first `sent` of these are out.
    buffer: Vec<u8>,
    filled: usize,
    sent: usize,
    /// Bytes that are gathered before a write waits for the peer.
    capacity: usize,
    tail: Option<Tail>,
    /// TLS holds encrypted bytes back.
    unflushed: bool,
    close_follows: bool,
    total: u64,
    pace: Pace,
}

/// What follows the buffer without being copied into it.
#[derive(Debug)]
enum Tail {
    File {
        file: Arc<File>,
        range: Range<u64>,
    },
    Shared {
        bytes: Arc<[u8]>,
        range: Range<usize>,
    },
}

/// Bytes that are sent in one go to a peer that takes all of them, before others get their turn.
const BYTES_PER_TURN: u64 = 2 << 20;

/// Whether everything is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    Done,
    /// The peer takes more, but it is others' turn.
    Partial,
    Blocked,
}

impl WFile {
    pub(crate) fn new(transport: Arc<Transport>, clock: Clock, timeouts: &Timeouts) -> WFile {
        WFile {
            transport,
            clock,
            buffer: Vec::new(),
            filled: 0,
            sent: 0,
            capacity: BUFFER_SIZE,
            tail: None,
            unflushed: false,
            close_follows: false,
            total: 0,
            pace: Pace::new(timeouts.write, timeouts.min_rate),
        }
    }

    /// Sends `range` of `file` after what was written so far; by `sendfile(2)` where the transport
    /// allows it, and without a thread while the peer is slow. A file that turns out to be shorter
    /// ends the connection.
    ///
    /// # Errors
    /// Those of a write: an earlier file is sent first.
    pub fn send_file(&mut self, file: Arc<File>, range: Range<u64>) -> io::Result<()> {
        self.make_last()?;
        self.tail = (!range.is_empty()).then_some(Tail::File { file, range });
        Ok(())
    }

    /// Sends `range` of bytes that are shared with others, without a copy.
    ///
    /// # Errors
    /// Those of a write: an earlier file is sent first. `InvalidInput` for a range outside the
    /// bytes.
    pub fn send_shared(&mut self, bytes: Arc<[u8]>, range: Range<usize>) -> io::Result<()> {
        if bytes.get(range.clone()).is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the range lies outside the bytes",
            ));
        }
        self.make_last()?;
        self.tail = (!range.is_empty()).then_some(Tail::Shared { bytes, range });
        Ok(())
    }

    /// Bytes that the transport has taken since the connection began.
    pub fn bytes_sent(&self) -> u64 {
        self.total
    }

    /// Whether something written isn't out yet.
    #[inline]
    pub fn has_unsent(&self) -> bool {
        self.sent < self.filled || self.tail.is_some() || self.unflushed
    }

    /// Whether a file or shared bytes are still to be sent: what is written next would have to wait
    /// for them.
    #[inline]
    pub fn has_tail(&self) -> bool {
        self.tail.is_some()
    }

    /// Says that the handler returns [`Next::Close`](crate::Next::Close), and has no `finish` that
    /// takes time: the system may send what is written last together with the connection's end, in
    /// one segment instead of two.
    pub fn close_follows(&mut self) {
        self.close_follows = true;
    }

    /// Whether the system may be holding back the last bytes, until it is told that nothing
    /// follows.
    pub(crate) fn awaits_close(&self) -> bool {
        self.close_follows && self.transport.tls().is_none()
    }

    /// Changes how long a write may wait for the peer to take a byte; `None` is for ever (Python's
    /// `timeout`).
    pub fn set_timeout(&mut self, timeout: Option<std::time::Duration>) {
        self.pace.set_stall(timeout);
    }

    /// Changes how many bytes are gathered before a write waits for the peer (Python's `wbufsize`);
    /// 0 sends every write at once. Counts from the next write on.
    pub(crate) fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
    }

    /// Sends what the peer takes now.
    pub(crate) fn drain(&mut self) -> io::Result<Drain> {
        let most = self.total.saturating_add(BYTES_PER_TURN);
        while self.has_unsent() {
            if self.total >= most {
                return Ok(Drain::Partial);
            }
            match self.send_once() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Drain::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pace.reset();
        Ok(Drain::Done)
    }

    fn send_once(&mut self) -> io::Result<()> {
        let unsent = &self.buffer[self.sent..self.filled];
        let write = if self.close_follows {
            Transport::write_last
        } else {
            Transport::write_vectored
        };
        let count = match &self.tail {
            Some(Tail::Shared { bytes, range }) => {
                let tail = IoSlice::new(&bytes[range.clone()]);
                if unsent.is_empty() {
                    write(&self.transport, &[tail])?
                } else {
                    write(&self.transport, &[IoSlice::new(unsent), tail])?
                }
            }
            Some(Tail::File { file, range }) if unsent.is_empty() => {
                self.transport
                    .send_file(file, range.start, range.end - range.start)?
            }
            Some(Tail::File { .. }) => self.transport.write_before_file(unsent)?,
            None if !unsent.is_empty() => write(&self.transport, &[IoSlice::new(unsent)])?,
            None => {
                self.transport.flush()?;
                self.unflushed = false;
                return Ok(());
            }
        };
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::WriteZero,
                "the file became shorter while it was sent",
            ));
        }
        self.advance(count)
    }

    /// Notes that the transport took `count` bytes.
    fn advance(&mut self, count: usize) -> io::Result<()> {
        self.total += count as u64;
        self.unflushed = self.transport.tls().is_some();
        let from_buffer = count.min(self.filled - self.sent);
        self.sent += from_buffer;
        if self.sent == self.filled {
            (self.sent, self.filled) = (0, 0);
        }
        let from_tail = count - from_buffer;
        let done = match &mut self.tail {
            Some(Tail::File { range, .. }) => {
                range.start += from_tail as u64;
                range.start >= range.end
            }
            Some(Tail::Shared { range, .. }) => {
                range.start += from_tail;
                range.start >= range.end
            }
            None => false,
        };
        if done {
            self.tail = None;
        }
        if self.pace.is_blocked() {
            self.pace.moved(count, self.clock.now()).map_err(slow)
        } else {
            Ok(())
        }
    }

    /// Writes past the empty buffer what wouldn't fit into it.
    fn write_through(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.transport.write_vectored(&[IoSlice::new(bytes)]) {
                Ok(count) => {
                    self.advance(count)?;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(error) => return Err(error),
            }
        }
    }

    /// What is written next must follow the tail: waits until that is out.
    fn make_last(&mut self) -> io::Result<()> {
        if self.tail.is_some() {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let until = self.pace.block(self.clock.now());
        if self.transport.wait(false, self.clock.sleep_until(until))? {
            return Ok(());
        }
        if self.transport.fd().is_none() {
            return Err(slow(PaceViolation::Stalled)); // memory: whoever would read is waiting for this handler
        }
        self.pace.check(self.clock.now()).map_err(slow)
    }

    pub(crate) fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    /// Drops what can't be sent any more.
    pub(crate) fn discard(&mut self) {
        (self.sent, self.filled, self.tail, self.unflushed) = (0, 0, None, false);
    }

    /// Gives the memory of an empty buffer back.
    pub(crate) fn release_buffer(&mut self) {
        if self.filled == 0 {
            give_back(std::mem::take(&mut self.buffer));
        }
    }
}

impl Drop for WFile {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.buffer));
    }
}

fn slow(how: PaceViolation) -> io::Error {
    Error::Timeout(match how {
        PaceViolation::Stalled => Timeout::Write,
        PaceViolation::TooSlow => Timeout::TooSlow,
    })
    .into()
}

impl Write for WFile {
    /// Gathers `bytes`; waits for the peer only when the buffer is full.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.make_last()?;
        if bytes.len() > self.capacity - self.filled {
            self.flush()?;
        }
        if bytes.len() >= self.capacity {
            return self.write_through(bytes);
        }
        if self.buffer.len() < self.capacity {
            give_back(std::mem::replace(&mut self.buffer, borrow()));
            self.buffer.resize(self.capacity.max(BUFFER_SIZE), 0);
        }
        self.buffer[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        Ok(bytes.len())
    }

    /// Waits until the peer's system has taken everything.
    fn flush(&mut self) -> io::Result<()> {
        loop {
            match self.drain()? {
                Drain::Done => return Ok(()),
                Drain::Partial => {}
                Drain::Blocked => self.wait()?,
            }
        }
    }
}
