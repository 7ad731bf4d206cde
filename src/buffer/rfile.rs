//! `rfile`: what the peer sent.

use std::fmt;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::blocking::too_slow;
use super::output::Output;
use super::peer::Interrupt;
use super::{WFile, borrow, give_back};
use crate::config::{Limits, Timeouts};
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::transport::Transport;

/// The input of a connection, Python's `StreamRequestHandler.rfile`.
///
/// A handler that returns [`Next::Wait`](crate::Next::Wait) looks at what has arrived
/// ([`buffer`](RFile::buffer), [`take_line`](RFile::take_line), [`take_exact`](RFile::take_exact))
/// and never blocks. A handler in Python's style reads through [`Read`](io::Read) and [`BufRead`]:
/// these wait for the peer, within the server's deadlines, and hold their thread meanwhile.
///
/// A blocking read sends what the handler has written before it waits. While no byte of a message
/// has come, it waits as an idle connection does: the idle timeout applies, or the handler's own
/// [`set_timeout`](RFile::set_timeout), and a shutdown ends the wait with an end of file. A message
/// begins with the first byte that a blocking read receives. The read timeout and the minimum rate
/// apply until the read has returned what it was asked for and nothing more has come. The message
/// ends with a complete line of `read_line` or `read_until`, or when the handler writes: only then
/// may a shutdown end a wait again.
///
/// Messages of four digits and as many bytes, taken as they arrive. `handle` never blocks:
///
/// ```
/// use std::io::Write;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Error, Next, StreamRequest};
///
/// let handler = |request: &mut StreamRequest| {
///     loop {
///         let Some(head) = request.rfile.buffer().get(..4) else { break };
///         let length: usize = std::str::from_utf8(head)?.parse()?;
///         if length > 1000 {
///             return Err(Error::Protocol(format!("{length} bytes are too many")));
///         }
///         let Some(message) = request.rfile.take_exact(4 + length) else { break };
///         request.wfile.write_all(&message[4..])?;
///         request.wfile.write_all(b"\n")?;
///     }
///     Ok(if request.rfile.is_eof() { Next::Close } else { Next::Wait })
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| handler);
/// client.send_bytewise(b"0005hello0002").send(b"hi");
/// assert_eq!(client.received(), b"hello\nhi\n");
/// ```
pub struct RFile {
    pub(super) transport: Arc<Transport>,
    /// Sent before a read waits for the peer.
    pub(super) output: Arc<Mutex<Output>>,
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// How many of the unread bytes `take_line` has already searched.
    pub(super) searched: usize,
    pub(super) taken: u64,
    limit: usize,
    /// Maximum wait of a blocking read for the first byte of a message.
    pub(super) idle_timeout: Option<Duration>,
    pub(super) pace: Pace,
    /// The deadlines of a message apply to blocking reads: some of its bytes have come.
    pub(super) in_message: bool,
    /// A shutdown may end the wait of a blocking read: no message is under way.
    pub(super) is_interruptible: bool,
    pub(super) eof: bool,
    /// `eof` is true because the server is shutting down.
    pub(super) interrupted: bool,
    /// The socket is known to be empty: the poller reports when that changes.
    pub(super) drained: bool,
    /// Only a read that would block proves that the socket is empty. The poller saw the peer's end
    /// or urgent data, behind which a short read leaves bytes.
    pub(super) maybe_eof: bool,
}

/// What a read without waiting found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    More,
    Nothing,
    Eof,
}

/// What the two sides of a connection are made of.
pub(crate) struct RFileSettings<'a> {
    pub(crate) transport: &'a Arc<Transport>,
    pub(crate) server: Arc<dyn Interrupt>,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) limits: &'a Limits,
}

impl RFile {
    /// Both sides of a connection.
    pub(crate) fn pair(settings: RFileSettings<'_>) -> (RFile, WFile) {
        let RFileSettings {
            transport,
            server,
            timeouts,
            limits,
        } = settings;
        let output = Arc::new(Mutex::new(Output::new(
            Arc::clone(transport),
            server,
            timeouts,
        )));
        let wfile = WFile::new(Arc::clone(&output));
        let rfile = RFile {
            transport: Arc::clone(transport),
            output,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            searched: 0,
            taken: 0,
            limit: limits.max_message.max(1),
            idle_timeout: timeouts.idle,
            pace: Pace::new(timeouts.read, timeouts.min_rate),
            in_message: false,
            is_interruptible: true,
            eof: false,
            interrupted: false,
            drained: false,
            maybe_eof: false,
        };
        (rfile, wfile)
    }

    /// The bytes that have arrived and were not taken yet.
    #[inline]
    pub fn buffer(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether the peer has ended its side and all its bytes are in [`buffer`](RFile::buffer). Also
    /// true after a shutdown has ended a blocking read.
    #[inline]
    pub fn is_eof(&self) -> bool {
        self.eof
    }

    /// Takes the next line including its `\n`; `None` if it has not arrived completely. At the end
    /// of file the rest is a line.
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let handler = |request: &mut StreamRequest| {
    ///     while let Some(line) = request.rfile.take_line(80)? {
    ///         request.wfile.write_all(line)?;
    ///     }
    ///     Ok(Next::Wait)
    /// };
    /// let mut client = TestConnection::new(Builder::new(), move |_| handler);
    /// client.send(b"one\ntwo\nthr");
    /// assert_eq!(client.received(), b"one\ntwo\n");
    /// client.send(b"ee\n");
    /// assert_eq!(client.received(), b"three\n");
    /// ```
    ///
    /// # Errors
    /// [`Error::LineTooLong`] when the line is longer than `limit` bytes, `\n` included.
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
        Ok(self.take_exact(length))
    }

    /// Takes exactly `count` bytes; `None` if fewer have arrived. It takes nothing then.
    pub fn take_exact(&mut self, count: usize) -> Option<&[u8]> {
        if count > self.end - self.start {
            return None;
        }
        let from = self.start;
        self.consume(count);
        Some(&self.buffer[from..from + count])
    }

    /// Takes all bytes that have arrived.
    pub fn take_all(&mut self) -> &[u8] {
        let count = self.end - self.start;
        let from = self.start;
        self.consume(count);
        &self.buffer[from..from + count]
    }

    /// Waits until more bytes have arrived than [`buffer`](RFile::buffer) holds; false at the end
    /// of file.
    ///
    /// A handler in Python's style, which holds its thread until its client has sent everything:
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::{Shutdown, TcpStream};
    /// use std::time::Duration;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let count = |request: &mut StreamRequest| {
    ///     request.rfile.set_limit(1 << 20);
    ///     request.rfile.set_timeout(Some(Duration::from_secs(60)));
    ///     while request.rfile.wait_for_more()? {}
    ///     let length = request.rfile.take_all().len();
    ///     assert_eq!(request.rfile.bytes_taken(), length as u64);
    ///     writeln!(request.wfile, "{length} bytes")?;
    ///     Ok(Next::Close)
    /// };
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| count)?.spawn()?;
    /// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
    /// client.write_all(&[b'x'; 10_000])?;
    /// client.shutdown(Shutdown::Write)?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer)?;
    /// assert_eq!(answer, "10000 bytes\n");
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TimedOut` when the peer is slower than the server allows; `InvalidData` when the buffer is
    /// at [`Limits::max_message`].
    pub fn wait_for_more(&mut self) -> io::Result<bool> {
        self.begin_read();
        loop {
            match self.fill()? {
                Fill::More => return Ok(true),
                Fill::Eof => return Ok(false),
                Fill::Nothing => self.wait()?,
            }
        }
    }

    /// Takes bytes that have arrived, without waiting: 0 at the end of file, `None` if there are
    /// none at the moment. Large pieces are read without a copy through the buffer. Bytes that this
    /// leaves unread cause the next call of `handle` as usual.
    ///
    /// A handler that stores what comes, of any length, in pieces of 64 KiB at most:
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, Result, StreamRequest, StreamRequestHandler};
    ///
    /// struct Store(Vec<u8>);
    ///
    /// impl StreamRequestHandler for Store {
    ///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
    ///         let mut piece = vec![0; 64 * 1024];
    ///         while let Some(count) = request.rfile.try_read(&mut piece)? {
    ///             if count == 0 {
    ///                 writeln!(request.wfile, "{} bytes", self.0.len())?;
    ///                 return Ok(Next::Close);
    ///             }
    ///             self.0.extend_from_slice(&piece[..count]);
    ///         }
    ///         Ok(Next::Wait)
    ///     }
    /// }
    ///
    /// let mut client = TestConnection::new(Builder::new(), |_| Store(Vec::new()));
    /// client.send(b"hello").send(b"again").finish();
    /// assert_eq!(client.received(), b"10 bytes\n");
    /// ```
    ///
    /// # Errors
    /// Those of the connection.
    pub fn try_read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        if into.is_empty() {
            return Ok(Some(0));
        }
        if self.start < self.end {
            return self.read_some(into).map(Some);
        }
        if self.eof {
            return Ok(Some(0));
        }
        // The socket is asked even if it was known to be empty: the handler may have waited for its
        // descriptor by itself.
        let read = self.transport.read(into);
        let count = self.note_read(read, into.len())?;
        self.taken += count.unwrap_or_default() as u64;
        Ok(count)
    }

    /// Number of bytes that were taken since the connection began.
    pub fn bytes_taken(&self) -> u64 {
        self.taken
    }

    /// Maximum time that a blocking read may wait for a byte, before and within a message; `None`
    /// is without end (Python's `timeout`). Defaults to [`Timeouts::idle`] before the first byte of
    /// a message and to [`Timeouts::read`] within one.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.idle_timeout = timeout;
        self.pace.set_stall(timeout);
    }

    /// Sets the maximum number of unread bytes while the handler waits for the rest of its message,
    /// at least 1. Defaults to [`Limits::max_message`].
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes.max(1);
    }

    /// Reads once, without waiting.
    pub(crate) fn fill(&mut self) -> io::Result<Fill> {
        if self.eof {
            return Ok(Fill::Eof);
        }
        if self.drained {
            return Ok(Fill::Nothing);
        }
        if self.is_full() {
            return self.expect_end();
        }
        self.make_room();
        let space = self.space();
        let into = &mut self.buffer[self.end..self.end + space];
        let read = self.transport.read(into);
        Ok(match self.note_read(read, space)? {
            None => Fill::Nothing,
            Some(0) => Fill::Eof,
            Some(count) => {
                self.end += count;
                Fill::More
            }
        })
    }

    /// As many bytes are unread as may be: only the end of file may follow.
    fn expect_end(&mut self) -> io::Result<Fill> {
        let read = self.transport.read(&mut [0]);
        match self.note_read(read, 1)? {
            None => Ok(Fill::Nothing),
            Some(0) => Ok(Fill::Eof),
            Some(_) => Err(Error::MessageTooLong { limit: self.limit }.into()),
        }
    }

    /// How many bytes the next read may add to the buffer.
    fn space(&self) -> usize {
        let unread = self.end - self.start;
        (self.buffer.len() - self.end).min(self.limit - unread)
    }

    /// Notes what a read into `space` bytes says about the socket; `None` if nothing has arrived.
    pub(super) fn note_read(
        &mut self,
        read: io::Result<usize>,
        space: usize,
    ) -> io::Result<Option<usize>> {
        match read {
            Ok(0) => {
                self.eof = true;
                Ok(Some(0))
            }
            Ok(count) => {
                self.drained =
                    count < space && !self.maybe_eof && self.transport.short_read_drains();
                self.in_message = true;
                self.is_interruptible = false;
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
            let now = self.output.lock().now();
            self.pace.moved(count, now).map_err(too_slow)
        } else {
            Ok(())
        }
    }

    /// Makes room for at least one more byte; fewer than `limit` are unread.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end < self.buffer.len() {
            return;
        }
        if self.buffer.is_empty() {
            self.buffer = borrow();
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            self.buffer.resize((self.end * 2).min(self.limit), 0);
        }
    }

    /// Bytes that were in the buffer when `handle` was called belong to a message; so does what
    /// comes next if the handler said so.
    pub(crate) fn set_in_message(&mut self, in_message: bool) {
        self.in_message = in_message;
        self.is_interruptible = !in_message;
    }

    /// The last look before the connection closes: bytes may have come since the last read, and a
    /// wait that a shutdown ended was no end of file.
    pub(crate) fn look_again(&mut self) {
        self.eof &= !std::mem::take(&mut self.interrupted);
        self.note_readable(true);
    }

    /// The poller saw that something came.
    pub(crate) fn note_readable(&mut self, maybe_eof: bool) {
        self.drained = false;
        self.maybe_eof |= maybe_eof;
    }

    /// Whether as many bytes are unread as may be.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start >= self.limit
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

impl fmt::Debug for RFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RFile")
            .field("unread", &self.buffer().len())
            .field("bytes_taken", &self.taken)
            .field("eof", &self.eof)
            .finish_non_exhaustive()
    }
}
