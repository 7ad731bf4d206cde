//! Ctrl-C, `kill` and SIGHUP.

use std::sync::OnceLock;

use crate::error::Result;
use crate::handle::ServerHandle;
use crate::sys;

/// From now on the first SIGINT or SIGTERM ends `server` gracefully, as [`ServerHandle::close`]
/// does. A second one ends the process at once, with exit code 130, if it comes at least 500 ms
/// after the first: supervisors such as `timeout` signal both the process and its group. No thread
/// is started.
///
/// When the server has ended, the signals no longer concern it. While no server listens to a
/// signal, it has its default action again, if it had that before the first registration.
///
/// ```no_run
/// use socketserver::{Builder, Next, StreamRequest, shutdown_on_ctrl_c};
///
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let mut server = Builder::new().tcp("127.0.0.1:7007", move |_| close)?;
/// shutdown_on_ctrl_c(server.handle())?;
/// server.serve_forever()?; // returns after Ctrl-C
/// # Ok::<(), socketserver::Error>(())
/// ```
///
/// # Errors
/// When the system refuses a descriptor or a signal handler.
pub fn shutdown_on_ctrl_c(server: ServerHandle) -> Result<()> {
    Ok(server.0.wake_pipe.watch_termination()?)
}

/// From now on the thread of `serve_forever` calls `reload` at each SIGHUP, instead of a closure
/// that was registered earlier. `reload` may register another one. A panic in it is logged and
/// counted.
///
/// A closing terminal also sends SIGHUP. So a server whose process had a controlling terminal at
/// start ends, as on SIGTERM, when SIGHUP comes and `/dev/tty` no longer opens. If SIGHUP was
/// ignored at start, as under `nohup`, it always means `reload`. Start is the first call of this
/// function or of [`reset_inherited_signals`].
///
/// ```no_run
/// use std::sync::{Arc, Mutex};
/// use socketserver::{Builder, Next, StreamRequest, reload_on_hangup};
///
/// let greeting = Arc::new(Mutex::new(std::fs::read("greeting.txt")?));
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let mut server = Builder::new().tcp("127.0.0.1:7007", move |_| close)?;
/// reload_on_hangup(&server.handle(), move || match std::fs::read("greeting.txt") {
///     Ok(text) => *greeting.lock().unwrap() = text,
///     Err(error) => eprintln!("greeting.txt: {error}; the old one stays"),
/// })?;
/// server.serve_forever()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
///
/// # Errors
/// When the system refuses a descriptor or a signal handler.
pub fn reload_on_hangup(server: &ServerHandle, reload: impl Fn() + Send + 'static) -> Result<()> {
    let start = signals_at_start();
    let ends_with_terminal = start.had_terminal && !start.ignored_hangup;
    let wake_pipe = &server.0.wake_pipe;
    Ok(wake_pipe.watch_hangup(reload, ends_with_terminal)?)
}

/// Resets the signal state that the process inherited: each signal that the parent ignored gets its
/// default action, and no signal stays blocked. With SIGCHLD ignored the exit code of a child is
/// lost (waitpid(2) fails with ECHILD); with SIGTERM blocked a server cannot be ended.
///
/// A SIGHUP that was ignored stays ignored until [`reload_on_hangup`]: it is how `nohup` asks for a
/// process that outlives its terminal. SIGPIPE, SIGTSTP, SIGTTIN and SIGTTOU keep what the parent
/// set, too. A handler that the program has installed is not touched.
///
/// Call it first in `main`: a thread that was started earlier keeps its signal mask.
///
/// ```
/// use socketserver::{Result, reset_inherited_signals};
///
/// fn main() -> Result<()> {
///     reset_inherited_signals()?;
///     // Make the server and serve.
///     Ok(())
/// }
/// ```
///
/// # Errors
/// When the system refuses to change the signal mask.
pub fn reset_inherited_signals() -> Result<()> {
    signals_at_start();
    sys::reset_ignored_signals();
    Ok(sys::unblock_signals()?)
}

/// What the process inherited, and what must be known when SIGHUP comes.
struct SignalsAtStart {
    /// As `nohup` leaves it.
    ignored_hangup: bool,
    had_terminal: bool,
}

/// The first call looks; it must come before a handler for SIGHUP is installed.
fn signals_at_start() -> &'static SignalsAtStart {
    static START: OnceLock<SignalsAtStart> = OnceLock::new();
    START.get_or_init(|| SignalsAtStart {
        ignored_hangup: sys::is_ignored(libc::SIGHUP),
        had_terminal: sys::has_terminal(),
    })
}
