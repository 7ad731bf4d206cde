//! Ctrl-C and Ctrl-\ as readable sockets, so that a poll can wait for signals and replies.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};

/// The exit code after a second Ctrl-C.
const FORCED: i32 = 130;

/// Readable ends of pipes that the signals write to.
#[derive(Debug)]
pub(super) struct Signals {
    /// SIGINT or SIGTERM: the run ends.
    pub(super) end: UnixStream,
    /// SIGQUIT: an interim summary is printed.
    pub(super) status: UnixStream,
}

impl Signals {
    /// Registers the signals. A second SIGINT or SIGTERM ends the process, even if it hangs in a
    /// write.
    pub(super) fn catch() -> io::Result<Signals> {
        let (end, end_writer) = UnixStream::pair()?;
        let (status, status_writer) = UnixStream::pair()?;
        end.set_nonblocking(true)?;
        status.set_nonblocking(true)?;
        let ending = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // The order matters: at the first signal, the flag must not be set yet when the first
            // action reads it.
            flag::register_conditional_shutdown(signal, FORCED, Arc::clone(&ending))?;
            flag::register(signal, Arc::clone(&ending))?;
            low_level::pipe::register(signal, end_writer.try_clone()?)?;
        }
        low_level::pipe::register(SIGQUIT, status_writer)?;
        Ok(Signals { end, status })
    }
}

/// Whether a signal was received since the last call.
pub(super) fn has_come(mut signal: &UnixStream) -> bool {
    matches!(signal.read(&mut [0; 64]), Ok(1..))
}
