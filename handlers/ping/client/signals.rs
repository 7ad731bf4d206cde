//! Ctrl-C and Ctrl-\, as something to wait for beside sockets.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};

/// The exit code of a process that a second Ctrl-C ended.
const FORCED: i32 = 130;

/// Readable ends of pipes that the signals write to.
#[derive(Debug)]
pub(super) struct Signals {
    /// SIGINT or SIGTERM: the end.
    pub(super) end: UnixStream,
    /// SIGQUIT: how it stands.
    pub(super) status: UnixStream,
}

impl Signals {
    /// From now on the signals arrive here. A second SIGINT or SIGTERM ends the process, should it
    /// hang in a write.
    pub(super) fn catch() -> io::Result<Signals> {
        let (end, end_writer) = UnixStream::pair()?;
        let (status, status_writer) = UnixStream::pair()?;
        end.set_nonblocking(true)?;
        status.set_nonblocking(true)?;
        let ending = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: only at the second signal is the flag set when the first action looks.
            flag::register_conditional_shutdown(signal, FORCED, Arc::clone(&ending))?;
            flag::register(signal, Arc::clone(&ending))?;
            low_level::pipe::register(signal, end_writer.try_clone()?)?;
        }
        low_level::pipe::register(SIGQUIT, status_writer)?;
        Ok(Signals { end, status })
    }
}

/// Whether a signal has come since the last look.
pub(super) fn has_come(mut signal: &UnixStream) -> bool {
    matches!(signal.read(&mut [0; 64]), Ok(1..))
}
