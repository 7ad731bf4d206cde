//! The end of the connections of one listening socket, while the server goes on.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Core, Origin};
use crate::buffer::Interrupt;
use crate::clock::Clock;

/// Whether connections are to end. They see it as they see a shutdown of their server.
#[derive(Debug, Default)]
pub(super) struct Drain {
    has_begun: AtomicBool,
    /// By the server's clock; `None` is without end. `has_begun` is set under its lock.
    abort_at: Mutex<Option<Instant>>,
    /// Readable once it has begun, for threads that sleep for one connection each. Made when the
    /// first of them sleeps.
    pipe: OnceLock<(UnixStream, UnixStream)>,
}

impl Drain {
    fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::SeqCst)
    }

    fn begin(&self, abort_at: Option<Instant>) {
        {
            let mut place = self.abort_at.lock();
            *place = abort_at;
            self.has_begun.store(true, Ordering::SeqCst);
        }
        if let Some((_, write_end)) = self.pipe.get() {
            let mut write_end: &UnixStream = write_end;
            // Nothing reads it, and it has room for one byte.
            let _ = write_end.write(&[1]);
        }
    }

    fn fd(&self) -> io::Result<Option<BorrowedFd<'_>>> {
        if self.pipe.get().is_none() {
            // Another thread may have set it meanwhile: then that pair is used.
            let _ = self.pipe.set(UnixStream::pair()?);
        }
        // Either this sees that it has begun, or the thread that begins it sees the pipe.
        let _order = self.abort_at.lock();
        let pipe = self.pipe.get().filter(|_| !self.has_begun());
        Ok(pipe.map(|(read_end, _)| read_end.as_fd()))
    }

    /// How long it may still last on the system's clock; `None` if it has not begun, or has no end.
    fn left(&self, clock: &Clock) -> Option<Duration> {
        let abort_at = *self.abort_at.lock();
        abort_at.map(|at| at.saturating_duration_since(clock.now()))
    }
}

impl Origin {
    /// The connections end from now on, and what is left is aborted at `abort_at`.
    pub(crate) fn begin_drain(&self, abort_at: Option<Instant>) {
        if let Some(drain) = &self.drain {
            drain.begin(abort_at);
        }
    }

    /// A descriptor that becomes readable when the connections are to end. `None` if that has begun
    /// already, and for connections that no drain ends.
    pub(crate) fn drain_fd(&self) -> io::Result<Option<BorrowedFd<'_>>> {
        self.drain.as_ref().map_or(Ok(None), Drain::fd)
    }

    fn is_drained(&self) -> bool {
        self.drain.as_ref().is_some_and(Drain::has_begun)
    }
}

/// Interrupts a thread that waits for the peer of a connection with an origin.
pub(crate) struct OriginInterrupt {
    core: Arc<Core>,
    origin: Arc<Origin>,
}

impl OriginInterrupt {
    pub(crate) fn new(core: &Arc<Core>, origin: &Arc<Origin>) -> Arc<OriginInterrupt> {
        Arc::new(OriginInterrupt {
            core: Arc::clone(core),
            origin: Arc::clone(origin),
        })
    }
}

impl Interrupt for OriginInterrupt {
    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.core.wake_fd()
    }

    fn drain_fd(&self) -> Option<BorrowedFd<'_>> {
        // Without a descriptor the thread notices a drain when its present wait is over.
        self.origin.drain_fd().ok().flatten()
    }

    fn handle_wake(&self) {
        Interrupt::handle_wake(&*self.core);
    }

    fn clock(&self) -> &Clock {
        &self.core.config.clock
    }

    fn is_draining(&self) -> bool {
        !self.core.is_serving_for(Some(&self.origin))
    }

    fn abort_at(&self) -> Option<Instant> {
        let of_server = self.core.abort_at();
        let of_origin = self.core.drain_abort_at(&self.origin);
        of_server.into_iter().chain(of_origin).min()
    }

    fn count_abort(&self) {
        self.core.count_abort_of(Some(&self.origin));
    }
}

impl Core {
    /// Whether a connection of this origin may begin another message.
    pub(crate) fn is_serving_for(&self, origin: Option<&Arc<Origin>>) -> bool {
        self.is_serving() && !origin.is_some_and(|origin| origin.is_drained())
    }

    /// When the calling thread must abort its connection at the end of a drain, because no other
    /// thread will: it is the one of `serve_forever`.
    pub(crate) fn drain_abort_at(&self, origin: &Origin) -> Option<Instant> {
        if !self.is_serving_thread() || self.is_forked() {
            return None;
        }
        let left = origin.drain.as_ref()?.left(&self.config.clock)?;
        Instant::now().checked_add(left)
    }

    /// Counts a connection that was aborted at the end of a grace time.
    pub(crate) fn count_abort_of(&self, origin: Option<&Arc<Origin>>) {
        self.count(origin, |stats| {
            stats.aborted.fetch_add(1, Ordering::Relaxed);
        });
    }
}
