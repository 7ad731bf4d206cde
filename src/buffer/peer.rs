//! Where a thread sleeps until its peer sends or takes something.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::error::Error;
use crate::transport::{Readiness, Transport, WaitOutcome, WakeFds};

/// The server, as a thread that waits for its peer sees it: a shutdown must reach that thread at
/// once, and in some concurrency models no other thread listens for signals meanwhile.
pub(crate) trait Interrupt: Send + Sync {
    /// What becomes readable when [`handle_wake`](Interrupt::handle_wake) must be called; `None`
    /// when the thread need not hear of anything more.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>>;

    /// What becomes readable when the connections of this origin are to end, so that
    /// [`is_draining`](Interrupt::is_draining) changes. Defaults to `None`: only the whole server
    /// ends.
    fn drain_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Handles what [`wake_fd`](Interrupt::wake_fd) announced.
    fn handle_wake(&self);

    /// The clock of the server's deadlines.
    fn clock(&self) -> &Clock;

    /// Whether the server is shutting down, or the connection is to end for another reason.
    fn is_draining(&self) -> bool;

    /// When a wait on this thread must end because the grace period is over and no other thread
    /// would end it; `None` if another thread does, or while the server is serving.
    fn abort_at(&self) -> Option<Instant>;

    /// Counts a request that a wait has ended because of [`abort_at`](Interrupt::abort_at).
    fn count_abort(&self);
}

/// How a wait for the peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerWait {
    /// The socket is ready, or has failed: the next read or write shows which.
    Ready,
    TimedOut,
    /// The server is shutting down.
    Interrupted,
}

/// What a wait for the peer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// The first byte of a message: a shutdown ends this wait.
    Message,
    /// More bytes of a message.
    Bytes,
    /// Room for output.
    Room,
}

/// Sleeps until the peer did what is awaited, or until `until`.
///
/// # Errors
/// Those of poll(2); `Disconnected` when the grace period of a shutdown is over.
pub(super) fn wait(
    transport: &Transport,
    server: &dyn Interrupt,
    what: WaitFor,
    until: Option<Instant>,
) -> io::Result<PeerWait> {
    loop {
        // Before the looks at the phase: a shutdown after them makes this readable.
        let others = WakeFds {
            server: server.wake_fd(),
            link: None,
            drain: server.drain_fd(),
        };
        // What has arrived is read first: only a wait for what has not is interrupted.
        let interrupted = what == WaitFor::Message && server.is_draining();
        let abort_at = server.abort_at();
        if abort_at.is_some_and(|at| at <= Instant::now()) {
            server.count_abort();
            return Err(Error::Disconnected(io::ErrorKind::ConnectionAborted.into()).into());
        }
        let left = server.clock().sleep_until(until).into_iter();
        let to_abort = abort_at.map(|at| at.saturating_duration_since(Instant::now()));
        let at_once = interrupted.then_some(Duration::ZERO);
        let timeout = left.chain(to_abort).chain(at_once).min();
        let readiness = match what {
            WaitFor::Message | WaitFor::Bytes => Readiness::Readable,
            WaitFor::Room => Readiness::Writable,
        };
        match transport.wait_attentively(readiness, timeout, others)? {
            WaitOutcome::Ready => return Ok(PeerWait::Ready),
            WaitOutcome::WokenByServer => server.handle_wake(),
            WaitOutcome::WokenByLink | WaitOutcome::Drained => {} // the loop looks
            WaitOutcome::TimedOut if interrupted => return Ok(PeerWait::Interrupted),
            WaitOutcome::TimedOut if abort_at.is_some_and(|at| at <= Instant::now()) => {}
            WaitOutcome::TimedOut => return Ok(PeerWait::TimedOut),
        }
    }
}
