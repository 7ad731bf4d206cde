//! What wakes the thread of `serve_forever`: a handle, or a signal.
//!
//! A signal handler may only set flags and write to a descriptor. So this is a socket pair: whoever
//! wants attention writes a byte, and the server's thread polls the other end. No thread waits for
//! signals, and forking servers can be ended like all others.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) struct Bell {
    listens: UnixStream,
    rings: UnixStream,
    /// Readable from the moment the server goes down, in forked children too: the ringing of the
    /// bell is heard by one only.
    closing: UnixStream,
    closes: UnixStream,
    /// Set by a signal handler: the server shall end.
    pub(crate) terminate: Arc<AtomicBool>,
    /// Set by a signal handler: the configuration shall be read again.
    pub(crate) hangup: Arc<AtomicBool>,
    on_hangup: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        let (listens, rings) = UnixStream::pair()?;
        listens.set_nonblocking(true)?;
        rings.set_nonblocking(true)?;
        let (closing, closes) = UnixStream::pair()?;
        let (terminate, hangup) = (Arc::default(), Arc::default());
        Ok(Bell {
            listens,
            rings,
            closing,
            closes,
            terminate,
            hangup,
            on_hangup: Mutex::new(None),
        })
    }

    /// The end to write to, for a signal handler.
    pub(crate) fn rope(&self) -> io::Result<UnixStream> {
        self.rings.try_clone()
    }

    pub(crate) fn ring(&self) {
        // Full means that it is ringing already.
        let _ = (&self.rings).write(&[1]);
    }

    /// The server goes down: tells whoever waits for [`closing`](Bell::closing).
    pub(crate) fn close(&self) {
        // Fails only if it was done before.
        let _ = self.closes.shutdown(Shutdown::Write);
    }

    /// The descriptor that becomes readable when the server goes down.
    pub(crate) fn closing(&self) -> BorrowedFd<'_> {
        self.closing.as_fd()
    }

    pub(crate) fn set_on_hangup(&self, reload: impl Fn() + Send + 'static) {
        *self.on_hangup.lock() = Some(Box::new(reload));
    }

    /// Sleeps until the bell rings, or `timeout`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        // An interrupted wait looks as a ringing bell does: the caller looks what there is.
        let _ = poll(
            &mut [PollFd::new(&self.listens, PollFlags::IN)],
            timeout.as_ref(),
        );
    }

    /// Silences the bell, and obeys a SIGHUP. True if a signal asked for the end.
    pub(crate) fn answer(&self) -> bool {
        let mut bytes = [0; 64];
        while (&self.listens)
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

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listens.as_fd()
    }
}
