//! What wakes the thread of `serve_forever`: a handle, or a signal.
//!
//! A signal handler may only set flags and write to a descriptor. So this is a socket pair: whoever
//! wants attention writes a byte, and the server's thread polls the other end. No thread waits for
//! signals, and forking servers can be ended like all others.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) struct WakePipe {
    read_end: UnixStream,
    write_end: UnixStream,
    /// Readable from the moment the server goes down, in forked children too: the ringing of the
    /// bell is heard by one only.
    closing: UnixStream,
    closing_write_end: UnixStream,
    /// Set by a signal handler: the server shall end.
    pub(crate) terminate: Arc<AtomicBool>,
    /// Set by a signal handler: the configuration shall be read again.
    pub(crate) hangup: Arc<AtomicBool>,
    on_hangup: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl WakePipe {
    pub(crate) fn new() -> io::Result<WakePipe> {
        let (read_end, write_end) = UnixStream::pair()?;
        read_end.set_nonblocking(true)?;
        write_end.set_nonblocking(true)?;
        let (closing, closing_write_end) = UnixStream::pair()?;
        closing.set_nonblocking(true)?;
        closing_write_end.set_nonblocking(true)?;
        let (terminate, hangup) = (Arc::default(), Arc::default());
        Ok(WakePipe {
            read_end,
            write_end,
            closing,
            closing_write_end,
            terminate,
            hangup,
            on_hangup: Mutex::new(None),
        })
    }

    /// The end to write to, for a signal handler.
    pub(crate) fn write_end(&self) -> io::Result<UnixStream> {
        self.write_end.try_clone()
    }

    pub(crate) fn wake(&self) {
        // Full means that it is ringing already.
        let _ = (&self.write_end).write(&[1]);
    }

    /// The server goes down: tells whoever waits for [`closing`](WakePipe::closing).
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

    /// The descriptor that becomes readable when the server goes down.
    pub(crate) fn closing(&self) -> BorrowedFd<'_> {
        self.closing.as_fd()
    }

    pub(crate) fn set_on_hangup(&self, reload: impl Fn() + Send + 'static) {
        *self.on_hangup.lock() = Some(Box::new(reload));
    }

    /// Sleeps until the bell write_end, or `timeout`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        // An interrupted wait looks as a ringing bell does: the caller looks what there is.
        let _ = poll(
            &mut [PollFd::new(&self.read_end, PollFlags::IN)],
            timeout.as_ref(),
        );
    }

    /// Silences the bell, and obeys a SIGHUP. True if a signal asked for the end.
    pub(crate) fn drain(&self) -> bool {
        let mut bytes = [0; 64];
        while (&self.read_end)
            .read(&mut bytes)
            .is_ok_and(|count| count == bytes.len())
        {}
        if self.hangup.swap(false, Ordering::SeqCst)
            && let Some(reload) = &*self.on_hangup.lock()
        {
            reload();
        }
        self.terminate.load(Ordering::SeqCst)
    }
}

impl AsFd for WakePipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }
}
