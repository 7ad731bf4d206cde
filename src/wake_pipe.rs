//! What wakes the thread of `serve_forever`: a handle, or a signal.
//!
//! A signal handler may do little more than set flags and write to a descriptor. So this is a
//! socket pair: code that needs the server's thread writes a byte, and the thread polls the other
//! end. No thread waits for signals, and forking servers end like all others.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::panic_message;
use crate::sys::{self, Registration, SignalFlags};

/// Maximum time after a SIGHUP for which the terminal may still be there. The kernel signals the
/// foreground processes of a session that ends just before it takes the terminal from them.
const TERMINAL_TIMEOUT: Duration = Duration::from_millis(20);
const TERMINAL_INTERVAL: Duration = Duration::from_millis(5);

pub(crate) struct WakePipe {
    read_end: UnixStream,
    write_end: UnixStream,
    /// Readable from the moment the server goes down. A byte in the wake pipe is read by one
    /// process only; this is seen by forked children too.
    closing: UnixStream,
    closing_write_end: UnixStream,
    flags: Arc<SignalFlags>,
    signals: Mutex<Signals>,
    on_hangup: Mutex<Reload>,
    /// A SIGHUP without a terminal ends the server.
    ends_with_terminal: AtomicBool,
}

/// Which signals reach the server. They end with it, and not with its last handle.
#[derive(Default)]
struct Signals {
    termination: Option<Registration>,
    hangup: Option<Registration>,
}

/// What a SIGHUP calls.
enum Reload {
    Nothing,
    Call(Box<dyn Fn() + Send>),
    /// A thread is calling it, without the lock: the closure may register another one.
    Running,
}

/// What [`WakePipe::drain`] found.
#[derive(Default)]
pub(crate) struct Wake {
    /// A signal asked for the end of the server.
    pub(crate) terminate: bool,
    /// The messages with which the reload closure panicked.
    pub(crate) panics: Vec<String>,
}

impl WakePipe {
    pub(crate) fn new() -> io::Result<WakePipe> {
        let (read_end, write_end) = UnixStream::pair()?;
        read_end.set_nonblocking(true)?;
        write_end.set_nonblocking(true)?;
        let (closing, closing_write_end) = UnixStream::pair()?;
        closing.set_nonblocking(true)?;
        closing_write_end.set_nonblocking(true)?;
        Ok(WakePipe {
            read_end,
            write_end,
            closing,
            closing_write_end,
            flags: Arc::default(),
            signals: Mutex::default(),
            on_hangup: Mutex::new(Reload::Nothing),
            ends_with_terminal: AtomicBool::new(false),
        })
    }

    /// Makes SIGINT and SIGTERM end the server. A second call changes nothing.
    pub(crate) fn watch_termination(&self) -> io::Result<()> {
        let mut signals = self.signals.lock();
        if signals.termination.is_none() {
            let registered = sys::register_termination(&self.flags, self.signal_end()?)?;
            signals.termination = Some(registered);
        }
        Ok(())
    }

    /// Makes SIGHUP call `reload` instead of an earlier closure; or, with `ends_with_terminal`, end
    /// the server if its terminal is gone.
    pub(crate) fn watch_hangup(
        &self,
        reload: impl Fn() + Send + 'static,
        ends_with_terminal: bool,
    ) -> io::Result<()> {
        let before = std::mem::replace(&mut *self.on_hangup.lock(), Reload::Call(Box::new(reload)));
        drop(before); // without the lock: it is the caller's code
        let ends = &self.ends_with_terminal;
        ends.store(ends_with_terminal, Ordering::SeqCst);
        let mut signals = self.signals.lock();
        if signals.hangup.is_none() {
            signals.hangup = Some(sys::register_hangup(&self.flags, self.signal_end()?)?);
        }
        Ok(())
    }

    /// From now on no signal reaches the server.
    pub(crate) fn end_signals(&self) {
        *self.signals.lock() = Signals::default();
    }

    /// An end to write to, for a signal handler.
    fn signal_end(&self) -> io::Result<OwnedFd> {
        Ok(self.write_end.try_clone()?.into())
    }

    pub(crate) fn wake(&self) {
        // A full pipe has woken the thread already.
        let _ = (&self.write_end).write(&[1]);
    }

    /// The server goes down: makes [`closing`](WakePipe::closing) readable.
    pub(crate) fn close(&self) {
        // Full means that it is readable already.
        let _ = (&self.closing_write_end).write(&[1]);
    }

    /// The server serves again: [`closing`](WakePipe::closing) is no longer readable.
    pub(crate) fn reopen(&self) {
        let mut bytes = [0; 64];
        while (&self.closing)
            .read(&mut bytes)
            .is_ok_and(|count| count == bytes.len())
        {}
    }

    /// Whether [`closing`](WakePipe::closing) is readable. One system call.
    pub(crate) fn is_closing(&self) -> bool {
        let mut fds = [PollFd::new(&self.closing, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// The descriptor that becomes readable when the server goes down.
    pub(crate) fn closing(&self) -> BorrowedFd<'_> {
        self.closing.as_fd()
    }

    /// Sleeps until a wake-up, at most for `timeout`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        // An interrupted wait is treated as a wake-up: the caller checks what there is to do.
        let _ = poll(
            &mut [PollFd::new(&self.read_end, PollFlags::IN)],
            timeout.as_ref(),
        );
    }

    /// Empties the pipe, and does what SIGHUP asked for.
    pub(crate) fn drain(&self) -> Wake {
        let mut bytes = [0; 64];
        while (&self.read_end)
            .read(&mut bytes)
            .is_ok_and(|count| count == bytes.len())
        {}
        let mut wake = Wake::default();
        while self.flags.hangup.swap(false, Ordering::SeqCst) {
            if self.ends_with_terminal.load(Ordering::SeqCst) && is_terminal_gone() {
                log::info!("the terminal was closed");
                self.flags.terminate.store(true, Ordering::SeqCst);
                break;
            }
            match self.reload() {
                Some(result) => wake.panics.extend(result.err()),
                None => break,
            }
        }
        wake.terminate = self.flags.terminate.load(Ordering::SeqCst);
        wake
    }

    /// Calls the reload closure; `Err` is the message of its panic. `None` if another thread is
    /// calling it, which then calls it once more.
    fn reload(&self) -> Option<Result<(), String>> {
        let mut present = self.on_hangup.lock();
        let reload = match std::mem::replace(&mut *present, Reload::Running) {
            Reload::Call(reload) => reload,
            Reload::Running => {
                self.flags.hangup.store(true, Ordering::SeqCst);
                return None;
            }
            Reload::Nothing => {
                *present = Reload::Nothing;
                return Some(Ok(()));
            }
        };
        drop(present);
        let result = catch_unwind(AssertUnwindSafe(&*reload));
        let mut present = self.on_hangup.lock();
        if matches!(*present, Reload::Running) {
            *present = Reload::Call(reload);
        }
        drop(present);
        Some(result.map_err(|panic| panic_message(&*panic)))
    }
}

fn is_terminal_gone() -> bool {
    let mut waited = Duration::ZERO;
    while !sys::is_terminal_gone() {
        if waited >= TERMINAL_TIMEOUT {
            return false;
        }
        std::thread::sleep(TERMINAL_INTERVAL);
        waited += TERMINAL_INTERVAL;
    }
    true
}

impl AsFd for WakePipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }
}
