//! Signal dispositions, the signal mask, and the code that runs inside signal handlers.
//!
//! A signal handler may interrupt any code, also the allocator with its lock held. So it may only
//! use atomics and the calls that signal-safety(7) lists, such as `clock_gettime` and `write`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use signal_hook::{SigId, low_level};

/// A second SIGINT or SIGTERM forces the end only this long after the first, in milliseconds.
/// Supervisors such as `timeout` signal the process and its group, so that each signal comes twice.
const FORCED_AFTER_MILLIS: u64 = 500;

/// The exit code of a process that a second signal ended.
const FORCED_EXIT_CODE: i32 = 130;

/// What the signal handlers of one server leave for its threads.
#[derive(Default)]
pub(crate) struct SignalFlags {
    /// SIGINT or SIGTERM came: the server must end.
    pub(crate) terminate: AtomicBool,
    /// SIGHUP arrived and was not handled yet.
    pub(crate) hangup: AtomicBool,
    /// When the first SIGINT or SIGTERM came, by [`now_millis`]; 0 before.
    first_termination: AtomicU64,
}

/// The signals of one server; dropped, they no longer reach it.
pub(crate) struct Registration(Vec<(SigId, &'static Watched)>);

/// A signal that servers listen to.
struct Watched {
    signal: libc::c_int,
    /// How many servers listen to it at present.
    servers: AtomicUsize,
    /// Whether the handler `last_resort` of this signal is installed.
    prepared: Mutex<bool>,
}

static WATCHED: [Watched; 3] = [
    Watched::new(libc::SIGINT),
    Watched::new(libc::SIGTERM),
    Watched::new(libc::SIGHUP),
];

/// When the first SIGINT or SIGTERM of the server that was signalled last came.
static LAST_TERMINATION: AtomicU64 = AtomicU64::new(0);

impl Watched {
    const fn new(signal: libc::c_int) -> Watched {
        Watched {
            signal,
            servers: AtomicUsize::new(0),
            prepared: Mutex::new(false),
        }
    }

    /// A handler that was installed once stays. Where the signal had its default action before, the
    /// handler takes this action while no server listens: otherwise nothing could interrupt the
    /// rest of the program.
    fn prepare(&'static self) -> io::Result<()> {
        let mut prepared = self.prepared.lock();
        if !*prepared {
            if handler(self.signal) == Some(libc::SIG_DFL) {
                register(self.signal, move || self.last_resort())?;
            }
            *prepared = true;
        }
        Ok(())
    }

    /// Runs in the signal handler, before the actions of servers.
    fn last_resort(&self) {
        // The second of two signals may come just after the first has ended the last server. It
        // must not change how the process ends.
        let last = LAST_TERMINATION.load(Ordering::SeqCst);
        let belongs_to_last = last != 0 && now_millis().saturating_sub(last) < FORCED_AFTER_MILLIS;
        if self.servers.load(Ordering::SeqCst) == 0 && !belongs_to_last {
            let _ = low_level::emulate_default_handler(self.signal);
        }
    }
}

/// Makes SIGINT and SIGTERM set the flags and write a byte to `wake`.
pub(crate) fn register_termination(
    flags: &Arc<SignalFlags>,
    wake: OwnedFd,
) -> io::Result<Registration> {
    let flags = Arc::clone(flags);
    register_watched(&WATCHED[..2], move || {
        let now = now_millis();
        let first = &flags.first_termination;
        match first.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => LAST_TERMINATION.store(now, Ordering::SeqCst),
            Err(first) if now.saturating_sub(first) >= FORCED_AFTER_MILLIS => {
                low_level::exit(FORCED_EXIT_CODE)
            }
            Err(_) => {}
        }
        flags.terminate.store(true, Ordering::SeqCst);
        write_byte(&wake);
    })
}

/// Makes SIGHUP set its flag and write a byte to `wake`.
pub(crate) fn register_hangup(flags: &Arc<SignalFlags>, wake: OwnedFd) -> io::Result<Registration> {
    let flags = Arc::clone(flags);
    register_watched(&WATCHED[2..], move || {
        flags.hangup.store(true, Ordering::SeqCst);
        write_byte(&wake);
    })
}

/// Makes each of the signals call `action`, which must do only what a signal handler may do.
fn register_watched(
    signals: &'static [Watched],
    action: impl Fn() + Send + Sync + 'static,
) -> io::Result<Registration> {
    let action = Arc::new(action);
    let mut registration = Registration(Vec::new());
    for watched in signals {
        watched.prepare()?;
        let action = Arc::clone(&action);
        let id = register(watched.signal, move || action())?;
        watched.servers.fetch_add(1, Ordering::SeqCst);
        registration.0.push((id, watched));
    }
    Ok(registration)
}

impl Drop for Registration {
    fn drop(&mut self) {
        for (id, watched) in self.0.drain(..) {
            low_level::unregister(id);
            watched.servers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn register(signal: libc::c_int, action: impl Fn() + Send + Sync + 'static) -> io::Result<SigId> {
    // SAFETY: the actions are those of this file. They use atomics, clock_gettime, write, _exit,
    // and the emulation of the default action, which is written for signal handlers; none
    // allocates, locks or panics. signal-hook keeps errno.
    unsafe { low_level::register(signal, action) }
}

/// The monotonic time in milliseconds, never 0.
fn now_millis() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000).max(1)
}

/// A full pipe has woken its reader already; other errors cannot be helped in a signal handler.
fn write_byte(pipe: &OwnedFd) {
    // SAFETY: the descriptor is open, as it is owned, and the pointer is to one byte.
    unsafe { libc::write(pipe.as_raw_fd(), [1u8].as_ptr().cast(), 1) };
}

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

/// Whether this process has a controlling terminal (tty(4)): opening `/dev/tty` says so.
pub(crate) fn has_terminal() -> bool {
    open_terminal().is_ok()
}

/// Whether the controlling terminal, which the process once had, was closed. An error about
/// something else, such as too many open files, does not count.
pub(crate) fn is_terminal_gone() -> bool {
    use rustix::io::Errno;
    matches!(open_terminal(), Err(Errno::NXIO | Errno::IO | Errno::NODEV))
}

fn open_terminal() -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    open("/dev/tty", flags, Mode::empty())
}
