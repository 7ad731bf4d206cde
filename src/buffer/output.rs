//! What goes to the peer: gathered, sent, and waited for.
//!
//! `wfile` fills it. `rfile` shares it, because a read that waits for the peer must send first what
//! the handler has written: otherwise both sides would wait for each other.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::peer::{self, Interrupt, PeerWait, WaitFor};
use super::{BUFFER_SIZE, borrow, give_back};
use crate::config::Timeouts;
use crate::error::{Error, Timeout};
use crate::pace::{Pace, PaceViolation};
use crate::reach::Link;
use crate::sys::SplicePipe;
use crate::transport::Transport;

/// The output of one connection.
pub(super) struct Output {
    transport: Arc<Transport>,
    server: Arc<dyn Interrupt>,
    /// Its first `filled` bytes are written, the first `sent` of these are out.
    buffer: Vec<u8>,
    filled: usize,
    sent: usize,
    /// Bytes that are gathered before a write waits for the peer.
    capacity: usize,
    /// In a box, as few connections have one at a given moment.
    tail: Option<Box<Tail>>,
    /// TLS holds encrypted bytes back.
    unflushed: bool,
    /// The system may hold the last bytes back until the connection's end follows.
    close_follows: bool,
    /// The handler has written since [`take_answered`](Output::take_answered) was last called.
    answered: bool,
    /// Nothing more is written.
    ends: bool,
    /// `close_notify` was queued, where there is one.
    has_ended: bool,
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
    Pipe(Box<SplicePipe>),
}

/// Bytes that one turn sends to a peer that takes all of them, before other connections are served.
const BYTES_PER_TURN: u64 = 2 << 20;

/// Whether everything is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    Done,
    /// The peer takes more, but other connections come first.
    Partial,
    Blocked,
}

/// A larger `wbufsize` means this one.
const MAX_CAPACITY: usize = 16 << 20;

impl Output {
    pub(super) fn new(
        transport: Arc<Transport>,
        server: Arc<dyn Interrupt>,
        timeouts: &Timeouts,
    ) -> Output {
        Output {
            transport,
            server,
            buffer: Vec::new(),
            filled: 0,
            sent: 0,
            capacity: BUFFER_SIZE,
            tail: None,
            unflushed: false,
            close_follows: false,
            answered: false,
            ends: false,
            has_ended: false,
            total: 0,
            pace: Pace::new(timeouts.write, timeouts.min_rate),
        }
    }

    pub(super) fn send_file(&mut self, file: Arc<File>, range: Range<u64>) -> io::Result<()> {
        self.answered = true;
        self.send_tail()?;
        self.tail = (!range.is_empty()).then(|| Box::new(Tail::File { file, range }));
        Ok(())
    }

    pub(super) fn send_shared(&mut self, bytes: Arc<[u8]>, range: Range<usize>) -> io::Result<()> {
        if bytes.get(range.clone()).is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the range lies outside the bytes",
            ));
        }
        self.answered = true;
        self.send_tail()?;
        self.tail = (!range.is_empty()).then(|| Box::new(Tail::Shared { bytes, range }));
        Ok(())
    }

    pub(super) fn server(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.server)
    }

    /// The server's time.
    pub(super) fn now(&self) -> Instant {
        self.server.clock().now()
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.total
    }

    pub(super) fn bytes_unsent(&self) -> u64 {
        let tail = match self.tail.as_deref() {
            Some(Tail::File { range, .. }) => range.end.saturating_sub(range.start),
            Some(Tail::Shared { range, .. }) => range.len() as u64,
            Some(Tail::Pipe(pipe)) => pipe.len() as u64,
            None => 0,
        };
        (self.filled - self.sent) as u64 + tail
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.filled || self.tail.is_some() || self.unflushed
    }

    pub(super) fn has_tail(&self) -> bool {
        self.tail.is_some()
    }

    pub(super) fn close_follows(&mut self) {
        self.close_follows = true;
    }

    pub(super) fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.pace.set_stall(timeout);
    }

    pub(super) fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes.min(MAX_CAPACITY);
    }

    /// Whether the handler has written since the last call. A blocking handler that has answered
    /// waits for the next message.
    pub(super) fn take_answered(&mut self) -> bool {
        std::mem::take(&mut self.answered)
    }

    /// Nothing more is written: [`drain`](Output::drain) ends a TLS connection with `close_notify`,
    /// behind everything else.
    pub(super) fn end(&mut self) {
        self.ends = true;
    }

    pub(super) fn shutdown_write(&mut self) -> io::Result<()> {
        self.end();
        self.flush()?;
        self.transport.shutdown(Shutdown::Write)
    }

    /// Takes over what others have left. Nothing else is unsent, so that none of the writes waits.
    pub(super) fn gather(&mut self, link: &Link) -> io::Result<bool> {
        let capacity = BUFFER_SIZE;
        let Some(first) = link.take_output(|_| true) else {
            self.tail = link.take_pipe().map(|pipe| Box::new(Tail::Pipe(pipe)));
            return Ok(self.tail.is_some());
        };
        if first.len() > capacity / 2 {
            let range = 0..first.len();
            self.send_shared(first, range)?;
        } else {
            self.append(&first);
            while let Some(piece) = link.take_output(|length| length <= capacity - self.filled) {
                self.append(&piece);
            }
        }
        Ok(true)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.buffer[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Sends what the peer takes now.
    pub(super) fn drain(&mut self) -> io::Result<Drain> {
        let most = self.total.saturating_add(BYTES_PER_TURN);
        while self.has_unsent() || self.queue_close_notify() {
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

    /// Queues `close_notify`, once, when everything else is sent. Returns whether it is to be sent.
    fn queue_close_notify(&mut self) -> bool {
        if self.ends && !std::mem::replace(&mut self.has_ended, true) {
            self.unflushed = self.transport.queue_close_notify();
        }
        self.unflushed
    }

    fn send_once(&mut self) -> io::Result<()> {
        let unsent = &self.buffer[self.sent..self.filled];
        let write = if self.close_follows {
            Transport::write_last
        } else {
            Transport::write_vectored
        };
        let count = match self.tail.as_deref_mut() {
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
            Some(Tail::Pipe(pipe)) if unsent.is_empty() => self.transport.splice_to(pipe)?,
            Some(Tail::Pipe(_)) => write(&self.transport, &[IoSlice::new(unsent)])?,
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
        let done = match self.tail.as_deref_mut() {
            Some(Tail::File { range, .. }) => {
                range.start += from_tail as u64;
                range.start >= range.end
            }
            Some(Tail::Shared { range, .. }) => {
                range.start += from_tail;
                range.start >= range.end
            }
            Some(Tail::Pipe(pipe)) => pipe.len() == 0,
            None => false,
        };
        if done {
            self.tail = None;
        }
        if self.pace.is_blocked() {
            let now = self.now();
            self.pace.moved(count, now).map_err(slow)
        } else {
            Ok(())
        }
    }

    /// Makes room for `count` more bytes; together they fit the capacity.
    fn make_room(&mut self, count: usize) {
        let needed = self.filled + count;
        if self.buffer.is_empty() {
            self.buffer = borrow();
        }
        if self.buffer.len() < needed {
            let size = needed.next_power_of_two();
            self.buffer
                .resize(size.min(self.capacity.max(BUFFER_SIZE)), 0);
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

    /// Waits until the tail is sent: what is written next must follow it.
    fn send_tail(&mut self) -> io::Result<()> {
        if self.tail.is_some() {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sleeps until the peer takes something.
    fn wait(&mut self) -> io::Result<()> {
        let now = self.now();
        let until = self.pace.block(now);
        let (transport, server) = (&self.transport, &*self.server);
        match peer::wait(transport, server, WaitFor::Room, until)? {
            PeerWait::Ready | PeerWait::Interrupted => Ok(()),
            // In memory, the test that would read is waiting for this handler.
            PeerWait::TimedOut if transport.fd().is_none() => Err(slow(PaceViolation::Stalled)),
            PeerWait::TimedOut => {
                let now = self.now();
                self.pace.check(now).map_err(slow)
            }
        }
    }

    pub(super) fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    /// Gives the memory of the empty buffer back.
    pub(super) fn release_buffer(&mut self) {
        give_back(std::mem::take(&mut self.buffer));
    }

    /// Drops what cannot be sent any more.
    pub(super) fn discard(&mut self) {
        (self.sent, self.filled, self.tail, self.unflushed) = (0, 0, None, false);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.release_buffer();
    }
}

fn slow(how: PaceViolation) -> io::Error {
    Error::Timeout(match how {
        PaceViolation::Stalled => Timeout::Write,
        PaceViolation::TooSlow => Timeout::TooSlow,
    })
    .into()
}

impl Write for Output {
    /// Gathers `bytes`; waits for the peer only when the buffer is full.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answered = true;
        self.send_tail()?;
        if bytes.len() > self.capacity.saturating_sub(self.filled) {
            self.flush()?;
        }
        if bytes.len() >= self.capacity {
            return self.write_through(bytes);
        }
        self.append(bytes);
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
