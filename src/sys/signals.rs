//! Signal dispositions and the signal mask of this process.

use std::io;

/// The signals whose inherited disposition is kept. A SIGHUP that is ignored is the mark of
/// `nohup`. Rust's runtime ignores SIGPIPE itself. Shells that have no job control ignore the last
/// three for a reason: with their default action, a background process could be stopped.
const KEPT: [libc::c_int; 5] = [
    libc::SIGHUP,
    libc::SIGPIPE,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// The number after the last signal of every system: Linux and FreeBSD have 64 and 127 signals at
/// most. A number that the system does not know is an error of sigaction, and skipped.
const END_OF_SIGNALS: libc::c_int = 128;

/// Gives each ignored signal its default action again, but for those in [`KEPT`].
pub(crate) fn reset_ignored_signals() {
    for signal in 1..END_OF_SIGNALS {
        if !KEPT.contains(&signal) && is_ignored(signal) {
            // SAFETY: all zeros are a valid sigaction; its handler is then SIG_DFL, which runs no
            // code of this process. sigaction only reads it.
            unsafe {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &raw const default, std::ptr::null_mut());
            }
        }
    }
}

/// Whether the process ignores `signal`. False for a number that is not a signal.
pub(crate) fn is_ignored(signal: libc::c_int) -> bool {
    handler(signal) == Some(libc::SIG_IGN)
}

/// The handler of `signal`, which may be SIG_IGN or SIG_DFL. `None` for a number that is not a
/// signal.
fn handler(signal: libc::c_int) -> Option<libc::sighandler_t> {
    // SAFETY: all zeros are a valid sigaction, and sigaction only writes it.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        let result = libc::sigaction(signal, std::ptr::null(), &raw mut present);
        (result == 0).then_some(present.sa_sigaction)
    }
}

/// Unblocks every signal for the calling thread, and so for the threads that it starts.
pub(crate) fn unblock_signals() -> io::Result<()> {
    // SAFETY: sigemptyset initializes the set, which pthread_sigmask only reads.
    let result = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
