//! What others leave for one connection.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::sys::SplicePipe;

/// How an engine is told that something was left for connections that may be parked.
pub(crate) trait Ring: Send + Sync {
    /// Has the connections with these keys served, unless a thread holds them: that thread looks
    /// before it parks them. Keys of connections that are over have no effect.
    fn ring(&self, keys: &[usize]);
}

/// The ring of an engine whose threads sleep for one connection each: the link's pipe wakes them.
pub(crate) struct Silent;

impl Ring for Silent {
    fn ring(&self, _: &[usize]) {}
}

/// Which things were left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signals(u8);

impl Signals {
    /// `handle` must be called.
    pub(crate) const WAKE: Signals = Signals(1);
    /// The outbox has bytes.
    pub(crate) const OUTPUT: Signals = Signals(2);
    /// The connection must end.
    pub(crate) const CLOSE: Signals = Signals(4);
    /// The connection has ended: nothing more can be left.
    const ENDED: Signals = Signals(8);
    /// Others may have a handle of this connection. Not a signal, and never taken back.
    const REACHABLE: Signals = Signals(16);

    pub(crate) const fn and(self, other: Signals) -> Signals {
        Signals(self.0 | other.0)
    }

    pub(crate) fn has(self, what: Signals) -> bool {
        self.0 & what.0 != 0
    }
}

/// Whether the outbox takes more, and what follows its last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OutputEnd {
    #[default]
    Open,
    /// The last bytes are in the outbox.
    Closed,
    /// The server's side of the connection ends once the output is sent.
    ShutdownWanted,
    /// It has ended.
    IsShutDown,
}

/// The place of one connection at which others leave something. It does not keep the connection
/// alive.
pub(crate) struct Link {
    signals: AtomicU8,
    key: usize,
    ring: Weak<dyn Ring>,
    /// Wakes a thread that sleeps for this connection alone. Only the concurrency models that give
    /// each connection a thread have one.
    pipe: Mutex<Option<Arc<Pipe>>>,
    left: Mutex<Left>,
}

/// What was left, besides the signals.
#[derive(Default)]
pub(super) struct Left {
    pub(super) output: VecDeque<Arc<[u8]>>,
    /// What a forwarder has moved out of another socket. Follows `output`.
    pub(super) pipe: Option<Box<SplicePipe>>,
    /// The transport has not taken all output that was left.
    pub(super) is_unsent: bool,
    /// The sum of the lengths in `output`.
    pub(super) bytes: usize,
    /// The maximum of `bytes`.
    pub(super) capacity: usize,
    pub(super) end: OutputEnd,
    /// Those to be woken when everything is sent.
    pub(super) waiting: Vec<Arc<Link>>,
    close_reason: Option<Cow<'static, str>>,
    /// What is not sent yet is dropped when the connection must end.
    is_abort: bool,
    /// What the handler says that the connection is doing.
    doing: Option<Arc<str>>,
}

impl Link {
    /// The link of the connection that `ring` knows by `key`.
    pub(crate) fn new(ring: Weak<dyn Ring>, key: usize) -> Link {
        Link {
            signals: AtomicU8::new(0),
            key,
            ring,
            pipe: Mutex::new(None),
            left: Mutex::default(),
        }
    }

    fn signals(&self) -> Signals {
        Signals(self.signals.load(SeqCst))
    }

    /// Whether one of these signals was given and not taken yet. After the end none counts.
    pub(crate) fn has(&self, what: Signals) -> bool {
        let signals = self.signals();
        signals.has(what) && !signals.has(Signals::ENDED)
    }

    /// Takes a signal: true if it was given since it was last taken. The caller must then look at
    /// what was left: only what is left later rings again.
    pub(crate) fn take(&self, what: Signals) -> bool {
        self.has(what) && Signals(self.signals.fetch_and(!what.0, SeqCst)).has(what)
    }

    /// Gives a signal. Returns whether the engine must be rung: not if the signal was there
    /// already, or the connection has ended.
    pub(super) fn give(&self, what: Signals) -> bool {
        let before = Signals(self.signals.fetch_or(what.0, SeqCst));
        if before.has(what.and(Signals::ENDED)) {
            return false;
        }
        // The owner makes the pipe before it looks at the signals for the last time before it
        // sleeps: either this thread sees the pipe, or the owner sees the signal.
        if let Some(pipe) = &*self.pipe.lock() {
            pipe.wake();
        }
        true
    }

    /// Gives a signal, and has the connection served.
    pub(super) fn signal(&self, what: Signals) {
        if self.give(what)
            && let Some(ring) = self.ring.upgrade()
        {
            ring.ring(&[self.key]);
        }
    }

    /// Where the engine is rung, and the connection's key there.
    pub(super) fn bell(&self) -> (&Weak<dyn Ring>, usize) {
        (&self.ring, self.key)
    }

    pub(crate) fn set_doing(&self, what: Option<Arc<str>>) {
        let before = std::mem::replace(&mut self.left.lock().doing, what);
        drop(before);
    }

    pub(crate) fn doing(&self) -> Option<Arc<str>> {
        self.left.lock().doing.clone()
    }

    pub(crate) fn close(&self, reason: Cow<'static, str>) {
        self.left.lock().close_reason.get_or_insert(reason);
        self.signal(Signals::CLOSE);
    }

    /// As [`close`](Link::close), but what is not sent yet is dropped.
    pub(crate) fn abort(&self, reason: Cow<'static, str>) {
        self.left.lock().is_abort = true;
        self.close(reason);
    }

    pub(crate) fn is_abort(&self) -> bool {
        self.left.lock().is_abort
    }

    /// Why the connection must end, if it must.
    pub(crate) fn take_close(&self) -> Option<Cow<'static, str>> {
        if self.take(Signals::CLOSE) {
            self.left.lock().close_reason.take()
        } else {
            None
        }
    }

    /// The connection ends: nothing more can be left. The output that is there may still be taken.
    pub(crate) fn end(&self) {
        self.signals.fetch_or(Signals::ENDED.0, SeqCst);
        // A handle that is kept must not keep descriptors open.
        *self.pipe.lock() = None;
    }

    /// Others get a handle.
    pub(crate) fn make_reachable(&self) {
        self.signals.fetch_or(Signals::REACHABLE.0, SeqCst);
    }

    /// Whether others may have a handle.
    pub(crate) fn is_reachable(&self) -> bool {
        self.signals().has(Signals::REACHABLE)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.signals().has(Signals::ENDED)
    }

    /// Drops the output that was left. Those who wait for room learn of the end.
    pub(crate) fn discard(&self) {
        let (output, waiting) = {
            let mut left = self.left.lock();
            left.bytes = 0;
            left.is_unsent = false;
            left.pipe = None;
            (
                std::mem::take(&mut left.output),
                std::mem::take(&mut left.waiting),
            )
        };
        drop(output);
        waiting.iter().for_each(|link| link.signal(Signals::WAKE));
    }

    /// All output was sent. Wakes those who wait for that, unless more has come. Returns whether
    /// the server's side must end now.
    pub(crate) fn note_sent(&self) -> bool {
        let (waiting, ends) = {
            let mut left = self.left.lock();
            if !left.output.is_empty() || left.pipe.is_some() {
                return false;
            }
            left.is_unsent = false;
            let ends = left.end == OutputEnd::ShutdownWanted;
            (std::mem::take(&mut left.waiting), ends)
        };
        waiting.iter().for_each(|link| link.signal(Signals::WAKE));
        ends
    }

    /// The server's side has ended.
    pub(crate) fn note_shut_down(&self) {
        self.left.lock().end = OutputEnd::IsShutDown;
    }

    /// Runs `act` on what was left; `None` if the connection has ended.
    pub(super) fn with_left<T>(&self, act: impl FnOnce(&mut Left) -> T) -> Option<T> {
        let mut left = self.left.lock();
        (!self.has_ended()).then(|| act(&mut left))
    }

    /// Whether nothing may follow the output that is there.
    pub(super) fn has_last_output(&self) -> bool {
        self.left.lock().end != OutputEnd::Open
    }

    /// Takes the next piece of output if `fits` says so of its length.
    pub(crate) fn take_output(&self, fits: impl FnOnce(usize) -> bool) -> Option<Arc<[u8]>> {
        let mut left = self.left.lock();
        let piece = left.output.pop_front_if(|piece| fits(piece.len()))?;
        left.bytes -= piece.len();
        Some(piece)
    }

    /// Takes what a forwarder has left. It follows all other output.
    pub(crate) fn take_pipe(&self) -> Option<Box<SplicePipe>> {
        self.left.lock().pipe.take()
    }

    /// What becomes readable when a signal is given, for a thread that is about to sleep for this
    /// connection.
    pub(crate) fn pipe(&self) -> io::Result<Arc<Pipe>> {
        let mut pipe = self.pipe.lock();
        Ok(match &mut *pipe {
            Some(pipe) => Arc::clone(pipe),
            none => Arc::clone(none.insert(Arc::new(Pipe::new()?))),
        })
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("signals", &self.signals())
            .finish_non_exhaustive()
    }
}

/// Wakes one thread.
pub(crate) struct Pipe {
    read_end: UnixStream,
    write_end: UnixStream,
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let (read_end, write_end) = UnixStream::pair()?;
        read_end.set_nonblocking(true)?;
        write_end.set_nonblocking(true)?;
        Ok(Pipe {
            read_end,
            write_end,
        })
    }

    fn wake(&self) {
        // A full pipe wakes the thread as well.
        let _ = (&self.write_end).write(&[1]);
    }

    /// The thread is awake.
    pub(crate) fn drain(&self) {
        let mut bytes = [0; 64];
        while (&self.read_end)
            .read(&mut bytes)
            .is_ok_and(|count| count == bytes.len())
        {}
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }
}
