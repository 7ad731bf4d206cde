//! `wfile`: the handler's view of the output.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::output::{Drain, Output};
use crate::pace::PaceViolation;
use crate::reach::Link;

/// The output of a connection, Python's `StreamRequestHandler.wfile`.
///
/// Small writes are gathered. They are sent when `handle` returns, or before a blocking read of
/// [`rfile`](crate::StreamRequest::rfile) waits for the peer. What the peer does not take at once
/// is sent while the connection is parked: a slow reader of an answer that fits the buffer, of
/// [`send_file`](WFile::send_file) or of [`send_shared`](WFile::send_shared) holds no thread. Only
/// a handler that writes more than the buffer waits, within the server's deadlines.
///
/// A handler that sends a file, with a line before it:
///
/// ```
/// use std::fs::File;
/// use std::io::Write;
/// use std::sync::Arc;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let path = std::env::temp_dir().join(format!("wfile-{}", std::process::id()));
/// std::fs::write(&path, "content")?;
/// let file = Arc::new(File::open(&path)?);
/// # std::fs::remove_file(&path)?;
/// let handler = move |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     let length = file.metadata()?.len();
///     writeln!(request.wfile, "{length}")?;
///     request.wfile.send_file(Arc::clone(&file), 0..length)?;
///     request.wfile.close_follows();
///     Ok(Next::Close)
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| handler.clone());
/// client.send(b"\n");
/// assert_eq!(client.received(), b"7\ncontent");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct WFile {
    output: Arc<Mutex<Output>>,
    /// Something was written since [`drain`](WFile::drain) last sent everything. Known without the
    /// lock, because only this side writes: `rfile` at most sends what is written here.
    may_have_unsent: bool,
    /// The same for a file, shared bytes or a pipe.
    may_have_tail: bool,
}

impl WFile {
    pub(super) fn new(output: Arc<Mutex<Output>>) -> WFile {
        WFile {
            output,
            may_have_unsent: false,
            may_have_tail: false,
        }
    }

    /// The output, for a call that may leave bytes unsent.
    fn lock_to_write(&mut self) -> MutexGuard<'_, Output> {
        self.may_have_unsent = true;
        self.output.lock()
    }

    /// The output, for a call that may leave a tail unsent.
    fn lock_to_append_tail(&mut self) -> MutexGuard<'_, Output> {
        self.may_have_tail = true;
        self.lock_to_write()
    }

    /// Sends `range` of `file` after what was written so far, by `sendfile(2)` where the transport
    /// allows it, and without a thread while the peer is slow. If the file is shorter than `range`,
    /// the connection ends.
    ///
    /// # Errors
    /// Those of a write, because an earlier file is sent first.
    pub fn send_file(&mut self, file: Arc<File>, range: Range<u64>) -> io::Result<()> {
        self.lock_to_append_tail().send_file(file, range)
    }

    /// Sends `range` of bytes that are shared with others, without a copy.
    ///
    /// A page that all clients get is in memory once:
    ///
    /// ```
    /// use std::io::Write;
    /// use std::sync::Arc;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let page: Arc<[u8]> = vec![b'x'; 1000].into();
    /// let handler = move |request: &mut StreamRequest| {
    ///     request.rfile.take_all();
    ///     request.wfile.send_shared(Arc::clone(&page), 0..page.len())?;
    ///     Ok(Next::Wait)
    /// };
    /// let mut client = TestConnection::new(Builder::new(), move |_| handler.clone());
    /// client.send(b"\n");
    /// assert_eq!(client.received().len(), 1000);
    /// ```
    ///
    /// # Errors
    /// Those of a write, because an earlier file is sent first. `InvalidInput` for a range outside
    /// the bytes.
    pub fn send_shared(&mut self, bytes: Arc<[u8]>, range: Range<usize>) -> io::Result<()> {
        self.lock_to_append_tail().send_shared(bytes, range)
    }

    /// Number of bytes that the transport has taken since the connection began.
    pub fn bytes_sent(&self) -> u64 {
        self.output.lock().bytes_sent()
    }

    /// Number of bytes that were written and that the transport has not taken yet.
    pub fn bytes_unsent(&self) -> u64 {
        self.output.lock().bytes_unsent()
    }

    /// Whether something written has not been sent yet.
    pub fn has_unsent(&self) -> bool {
        self.may_have_unsent && self.output.lock().has_unsent()
    }

    /// Whether a file or shared bytes have not been sent yet. The next write would wait for them.
    ///
    /// A handler that writes a long answer piece by piece, each when the one before it is sent:
    ///
    /// ```
    /// use std::io::Write;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, Result, StreamRequest, StreamRequestHandler};
    ///
    /// struct Pieces(u32);
    ///
    /// impl StreamRequestHandler for Pieces {
    ///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
    ///         let wfile = &mut request.wfile;
    ///         assert!(!wfile.has_unsent() && !wfile.has_tail() && wfile.bytes_unsent() == 0);
    ///         assert_eq!(wfile.bytes_sent(), u64::from(self.0) * 1000);
    ///         if self.0 == 100 {
    ///             return Ok(Next::Close);
    ///         }
    ///         self.0 += 1;
    ///         wfile.write_all(&[b'x'; 1000])?;
    ///         Ok(Next::Again)
    ///     }
    ///     fn speaks_first(&self) -> bool {
    ///         true
    ///     }
    /// }
    ///
    /// let mut client = TestConnection::new(Builder::new(), |_| Pieces(0));
    /// assert_eq!(client.received().len(), 100_000);
    /// ```
    pub fn has_tail(&self) -> bool {
        self.may_have_tail && self.output.lock().has_tail()
    }

    /// Announces that the handler returns [`Next::Close`](crate::Next::Close) and has no `finish`
    /// that takes time. The system may then send the last bytes together with the connection's end,
    /// in one segment instead of two.
    pub fn close_follows(&mut self) {
        self.output.lock().close_follows();
    }

    /// Ends the server's side of the connection once everything written so far is sent (a TCP
    /// half-close, after `close_notify` under TLS). The client reads an end of file and may go on
    /// sending; later writes fail with `BrokenPipe`. Waits for the peer as [`flush`](Write::flush)
    /// does.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::time::Duration;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let handler = |request: &mut StreamRequest| {
    ///     if !request.rfile.take_all().is_empty() && !request.rfile.is_eof() {
    ///         request.wfile.set_timeout(Some(Duration::from_secs(5)));
    ///         request.wfile.write_all(b"that is all")?;
    ///         request.wfile.shutdown_write()?;
    ///     }
    ///     Ok(Next::Wait) // the client may go on sending
    /// };
    /// let mut client = TestConnection::new(Builder::new(), move |_| handler);
    /// client.send(b"\n");
    /// assert_eq!(client.received(), b"that is all");
    /// ```
    ///
    /// # Errors
    /// Those of a write.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.lock_to_write().shutdown_write()
    }

    /// Maximum time that a write may wait for the peer to take a byte; `None` is without end
    /// (Python's `timeout`). Defaults to [`Timeouts::write`](crate::Timeouts::write).
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.output.lock().set_timeout(timeout);
    }

    /// Number of bytes that are gathered before a write waits for the peer (Python's `wbufsize`);
    /// 0 sends every write at once.
    pub(crate) fn set_capacity(&mut self, bytes: usize) {
        self.output.lock().set_capacity(bytes);
    }

    /// Takes over output that others have left for this connection: as much as fits the buffer, or
    /// one piece that is larger. Everything written before must be sent. Returns whether there was
    /// any.
    ///
    /// # Errors
    /// Those of a write.
    pub(crate) fn gather(&mut self, link: &Link) -> io::Result<bool> {
        let found = self.lock_to_append_tail().gather(link)?;
        (self.may_have_unsent, self.may_have_tail) = (found, found);
        Ok(found)
    }

    /// Whether [`drain`](WFile::drain) has nothing to do.
    pub(crate) fn is_drained(&self) -> bool {
        !self.may_have_unsent
    }

    /// Sends what the peer takes now. Once everything is sent, the buffer's memory is given back.
    pub(crate) fn drain(&mut self) -> io::Result<Drain> {
        let mut output = self.output.lock();
        let found = output.drain()?;
        if found == Drain::Done {
            output.release_buffer();
            (self.may_have_unsent, self.may_have_tail) = (false, false);
        }
        Ok(found)
    }

    /// Nothing more is written: [`drain`](WFile::drain) ends a TLS connection with `close_notify`.
    pub(crate) fn end(&mut self) {
        self.lock_to_write().end();
    }

    /// The peer has taken something since `at`: what follows is not its time.
    pub(crate) fn resume(&mut self, at: Instant) {
        self.output.lock().pace().resume(at);
    }

    /// The connection begins to wait for the peer to read. Returns when
    /// [`check_pace`](WFile::check_pace) is due.
    pub(crate) fn block(&mut self, now: Instant) -> Option<Instant> {
        self.output.lock().pace().block(now)
    }

    /// The moment that [`block`](WFile::block) returned has come.
    pub(crate) fn check_pace(&mut self, now: Instant) -> Result<(), PaceViolation> {
        self.output.lock().pace().check(now)
    }

    /// Drops what cannot be sent any more.
    pub(crate) fn discard(&mut self) {
        self.output.lock().discard();
    }
}

impl fmt::Debug for WFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WFile")
            .field("bytes_sent", &self.bytes_sent())
            .finish_non_exhaustive()
    }
}

impl Write for WFile {
    /// Gathers `bytes`; waits for the peer only when the buffer is full.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock_to_write().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lock_to_write().write_all(bytes)
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        self.lock_to_write().write_fmt(arguments)
    }

    /// Waits until the peer's system has taken everything.
    fn flush(&mut self) -> io::Result<()> {
        self.output.lock().flush()
    }
}
