//! A byte stream over TCP, a Unix socket, either of them under TLS, or memory.
//!
//! Sockets never block; [`Transport::wait_attentively`] is where a handler that reads or writes
//! more than is there sleeps. All methods take `&self`, so that a shutdown can end a stream that a
//! worker is busy with.

mod memory;
mod send_file;
mod splice;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
#[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::bind::Stream;
use crate::error::Error;
use crate::reach::Link;
use crate::sys;
use crate::trace::{Tap, Traffic};
pub(crate) use memory::{MemoryPeer, MemoryStream};
pub(crate) use tls::TlsSession;

/// A connected stream.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: Socket,
    tls: OnceLock<Box<TlsSession>>,
    tap: Option<Box<Tap>>,
    opened_at: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    is_aborted: AtomicBool,
    link: OnceLock<Arc<Link>>,
}

#[derive(Debug)]
enum Socket {
    Stream(Stream),
    Memory(MemoryStream),
}

/// How far a TLS handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "only TLS has to wait")
)]
pub(crate) enum Handshake {
    Done,
    WantsRead,
    WantsWrite,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Bytes, or the end of file.
    Readable,
    /// Room for output.
    Writable,
    /// Bytes, the end of file, or room for output.
    Either,
    /// Nothing of the socket: only what else ends the wait.
    Nothing,
    /// The end of both directions. Behind the end of file a socket is always readable, so there is
    /// nothing else to wait for.
    HungUp,
}

/// Why a wait for the peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitOutcome {
    Ready,
    TimedOut,
    WokenByServer,
    WokenByLink,
    /// Connections of this origin are to end.
    Drained,
}

/// What else ends a wait for the peer when it becomes readable.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WakeFds<'a> {
    pub(crate) server: Option<BorrowedFd<'a>>,
    /// What others leave for this connection alone.
    pub(crate) link: Option<BorrowedFd<'a>>,
    /// The end of the connections of one listening socket.
    pub(crate) drain: Option<BorrowedFd<'a>>,
}

impl Transport {
    /// A socket that was accepted or connected `now`.
    pub(crate) fn plain(stream: Stream, now: Instant) -> Transport {
        Transport::new(Socket::Stream(stream), now)
    }

    pub(crate) fn memory(stream: MemoryStream, now: Instant) -> Transport {
        Transport::new(Socket::Memory(stream), now)
    }

    fn new(socket: Socket, now: Instant) -> Transport {
        Transport {
            socket,
            tls: OnceLock::new(),
            tap: None,
            opened_at: now,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            is_aborted: AtomicBool::new(false),
            link: OnceLock::new(),
        }
    }

    /// Shuts both directions down, whatever is under way.
    pub(crate) fn abort(&self) {
        self.is_aborted.store(true, Relaxed);
        // Fails only if the peer closed first.
        let _ = self.shutdown(Shutdown::Both);
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Relaxed)
    }

    /// Whether the connection has failed, such as by a reset, even if bytes are still unread.
    pub(crate) fn has_failed(&self) -> bool {
        let stream = match &self.socket {
            Socket::Stream(stream) => stream,
            Socket::Memory(stream) => return stream.is_reset(),
        };
        let mut fds = [PollFd::new(stream, PollFlags::empty())];
        let polled = poll(&mut fds, Some(&Timespec::default()));
        polled.is_ok() && fds[0].revents().contains(PollFlags::ERR)
    }

    pub(crate) fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// How many bytes were read and written, without those of TLS and of a PROXY header.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    /// `count` bytes that were read were none of the service's.
    pub(crate) fn uncount_received(&self, count: usize) {
        add(&self.received, 0_u64.wrapping_sub(count as u64));
    }

    /// How others reach this connection, if its handler has asked for that.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.link.get()
    }

    pub(crate) fn link_or_init(&self, make: impl FnOnce() -> Link) -> &Arc<Link> {
        self.link.get_or_init(|| Arc::new(make()))
    }

    /// Reports everything that is received and sent to a trace.
    pub(crate) fn tapped(self, tap: Option<Tap>) -> Transport {
        Transport {
            tap: tap.map(Box::new),
            ..self
        }
    }

    /// From here on everything is encrypted; the handshake comes first. A second call changes
    /// nothing.
    pub(crate) fn start_tls(&self, session: TlsSession) {
        self.tls.get_or_init(|| Box::new(session));
    }

    #[inline]
    pub(crate) fn tls(&self) -> Option<&TlsSession> {
        self.tls.get().map(|tls| &**tls)
    }

    /// The descriptor to wait for; memory has none.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.socket {
            Socket::Stream(stream) => Some(stream.as_fd()),
            Socket::Memory(_) => None,
        }
    }

    pub(crate) fn stream(&self) -> Option<&Stream> {
        match &self.socket {
            Socket::Stream(stream) => Some(stream),
            Socket::Memory(_) => None,
        }
    }

    /// Whether a read that returns less than was asked for proves that nothing more has come. TLS
    /// records and memory promise no such thing, and a read of a Unix socket stops behind bytes
    /// that carry descriptors (SCM_RIGHTS).
    pub(crate) fn short_read_drains(&self) -> bool {
        self.tls().is_none() && matches!(self.socket, Socket::Stream(Stream::Tcp(_)))
    }

    /// Number of bytes, including the end, that the peer's system has not acknowledged; `None`
    /// where it is unknown.
    pub(crate) fn unacknowledged(&self) -> Option<u32> {
        match &self.socket {
            Socket::Stream(Stream::Tcp(stream)) => sys::unacknowledged(stream.as_fd()),
            Socket::Stream(Stream::Unix(_)) => None,
            Socket::Memory(_) => Some(0),
        }
    }

    /// Whether the socket is ready at this moment.
    pub(crate) fn is_ready(&self, what: Readiness) -> bool {
        matches!(
            self.wait_attentively(what, Some(Duration::ZERO), WakeFds::default()),
            Ok(WaitOutcome::Ready)
        )
    }

    /// The byte that the next read begins with, which stays on the socket; `None` at the end,
    /// `WouldBlock` if nothing has come.
    pub(crate) fn peek(&self) -> io::Result<Option<u8>> {
        let stream = match &self.socket {
            Socket::Stream(stream) => stream,
            Socket::Memory(stream) => return stream.peek(),
        };
        let mut first = [0];
        let (count, _) =
            rustix::io::retry_on_intr(|| rustix::net::recv(stream, &mut first, RecvFlags::PEEK))
                .map_err(|error| connection_error(error.into()))?;
        Ok((count > 0).then_some(first[0]))
    }

    /// Continues the TLS handshake; does nothing without TLS.
    pub(crate) fn handshake(&self) -> io::Result<Handshake> {
        match self.tls() {
            Some(tls) => tls.handshake(&self.socket).map_err(connection_error),
            None => Ok(Handshake::Done),
        }
    }

    /// Reads what has come; 0 is the end, `WouldBlock` that nothing is there.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.tls() {
            Some(tls) => tls.read(&self.socket, buffer),
            None => (&self.socket).read(buffer),
        };
        let count = read.map_err(connection_error)?;
        add(&self.received, count as u64);
        if let Some(tap) = &self.tap {
            tap.note(if count == 0 {
                Traffic::ReceivedEnd
            } else {
                Traffic::Received(&buffer[..count])
            });
        }
        Ok(count)
    }

    /// Writes as much as the peer takes now.
    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = match self.tls() {
            Some(tls) => tls.write(&self.socket, slices),
            None if slices.len() == 1 => (&self.socket).write(&slices[0]),
            None => (&self.socket).write_vectored(slices),
        };
        let count = written.map_err(connection_error)?;
        add(&self.sent, count as u64);
        if let Some(tap) = &self.tap {
            tap.note(Traffic::Sent(&slices.concat_slices()[..count]));
        }
        Ok(count)
    }

    /// As [`write_vectored`](Transport::write_vectored), for what
    /// [`shutdown`](Transport::shutdown) follows: the system may wait for that, and
    /// send the end in the same segment. Only Linux has `MSG_MORE`.
    pub(crate) fn write_last(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
        if let (None, Socket::Stream(Stream::Tcp(stream))) = (self.tls(), &self.socket) {
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let control = &mut SendAncillaryBuffer::default();
            let count = rustix::net::sendmsg(stream, slices, control, flags)
                .map_err(|error| connection_error(error.into()))?;
            add(&self.sent, count as u64);
            if let Some(tap) = &self.tap {
                tap.note(Traffic::Sent(&slices.concat_slices()[..count]));
            }
            return Ok(count);
        }
        self.write_vectored(slices)
    }

    /// Writes what a file follows: the system may wait for that, to fill the segment.
    pub(crate) fn write_before_file(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
        if let (None, Socket::Stream(stream)) = (self.tls(), &self.socket) {
            let count = rustix::net::send(stream, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)
                .map_err(|error| connection_error(error.into()))?;
            add(&self.sent, count as u64);
            if let Some(tap) = &self.tap {
                tap.note(Traffic::Sent(&bytes[..count]));
            }
            return Ok(count);
        }
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// Sends encrypted bytes that are still held back; `WouldBlock` if the peer doesn't take them.
    pub(crate) fn flush(&self) -> io::Result<()> {
        match self.tls() {
            Some(tls) => tls.flush(&self.socket).map_err(connection_error),
            None => Ok(()),
        }
    }

    /// Sleeps until the socket is ready, `timeout` has passed, or one of `others` is
    /// readable. The only place where a thread waits for a peer.
    pub(crate) fn wait_attentively(
        &self,
        what: Readiness,
        timeout: Option<Duration>,
        others: WakeFds<'_>,
    ) -> io::Result<WaitOutcome> {
        let stream = match &self.socket {
            Socket::Stream(stream) => stream,
            Socket::Memory(stream) if what == Readiness::HungUp && stream.is_hung_up() => {
                return Ok(WaitOutcome::Ready);
            }
            // Memory is fed by the thread that calls the handler: nothing can come while it waits.
            Socket::Memory(_) => return Ok(WaitOutcome::TimedOut),
        };
        // An error or a hang-up ends every wait.
        let flags = match what {
            Readiness::Readable => PollFlags::IN,
            Readiness::Writable => PollFlags::OUT,
            Readiness::Either => PollFlags::IN | PollFlags::OUT,
            Readiness::HungUp | Readiness::Nothing => PollFlags::empty(),
        };
        // Rounded up to what poll(2) counts in; a wait of nothing stays one.
        let timeout = timeout
            .map(|t| {
                if t.is_zero() {
                    t
                } else {
                    t.saturating_add(Duration::from_micros(999))
                }
            })
            .and_then(|t| Timespec::try_from(t).ok());
        let mut fds = [(); 4].map(|()| PollFd::new(stream, flags));
        let wakes = [
            (&others.server, WaitOutcome::WokenByServer),
            (&others.link, WaitOutcome::WokenByLink),
            (&others.drain, WaitOutcome::Drained),
        ];
        let mut outcomes = [WaitOutcome::Ready; 4];
        let mut count = 1;
        for (fd, outcome) in wakes {
            if let Some(fd) = fd {
                fds[count] = PollFd::new(fd, PollFlags::IN);
                outcomes[count] = outcome;
                count += 1;
            }
        }
        // A hang-up of the socket cannot be masked.
        let first = usize::from(what == Readiness::Nothing);
        match poll(&mut fds[first..count], timeout.as_ref()) {
            Ok(0) => Ok(WaitOutcome::TimedOut),
            Ok(_) => {
                let woken = (1..count).find(|index| !fds[*index].revents().is_empty());
                Ok(outcomes[woken.unwrap_or(0)])
            }
            // After an interruption the caller tries again, and finds out.
            Err(rustix::io::Errno::INTR) => Ok(WaitOutcome::Ready),
            Err(error) => Err(error.into()),
        }
    }

    /// Under TLS, queues `close_notify`, which [`flush`](Transport::flush) sends. Returns whether
    /// something was queued.
    pub(crate) fn queue_close_notify(&self) -> bool {
        match self.tls() {
            Some(tls) => {
                tls.queue_close_notify();
                true
            }
            None => false,
        }
    }

    /// Ends one or both directions; wakes a thread that waits in
    /// [`wait_attentively`](Transport::wait_attentively).
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.socket {
            Socket::Stream(Stream::Tcp(stream)) => stream.shutdown(how).map_err(connection_error),
            Socket::Stream(Stream::Unix(stream)) => stream.shutdown(how).map_err(connection_error),
            Socket::Memory(stream) => {
                stream.shutdown(how);
                Ok(())
            }
        }
    }
}

/// Adds to a counter that only the thread which holds the connection changes.
#[inline]
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

/// Marks an error as one of the connection if it says that the peer has gone.
fn connection_error(error: io::Error) -> io::Error {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, NotConnected, TimedOut, UnexpectedEof,
    };
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown
        | NetworkUnreachable | NotConnected | TimedOut | UnexpectedEof => {
            Error::Disconnected(error).into()
        }
        _ => error,
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Stream(Stream::Tcp(stream)) => (&*stream).read(buffer),
            Socket::Stream(Stream::Unix(stream)) => (&*stream).read(buffer),
            Socket::Memory(stream) => stream.read(buffer),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Stream(Stream::Tcp(stream)) => (&*stream).write(bytes),
            Socket::Stream(Stream::Unix(stream)) => (&*stream).write(bytes),
            Socket::Memory(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Stream(Stream::Tcp(stream)) => (&*stream).write_vectored(slices),
            Socket::Stream(Stream::Unix(stream)) => (&*stream).write_vectored(slices),
            Socket::Memory(stream) => stream.write(&slices.concat_slices()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Several slices as one, for a transport without gathered writes, and for a trace.
trait ConcatSlices {
    fn concat_slices(&self) -> Vec<u8>;
}

impl ConcatSlices for &[IoSlice<'_>] {
    fn concat_slices(&self) -> Vec<u8> {
        self.iter()
            .flat_map(|slice| slice.iter().copied())
            .collect()
    }
}
