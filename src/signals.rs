//! Ctrl-C, `kill` and SIGHUP.

use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::error::Result;
use crate::handle::ServerHandle;
use crate::sys;

/// The exit code of a process that a second Ctrl-C ended.
const FORCED_EXIT_CODE: i32 = 130;

/// From now on the first SIGINT or SIGTERM ends `server` gracefully, as [`ServerHandle::close`]
/// does, and a second one the process, at once, with exit code 130. No thread is started for it.
///
/// # Errors
/// When the system refuses a descriptor or a signal handler.
pub fn shutdown_on_ctrl_c(server: ServerHandle) -> Result<()> {
    let wake_pipe = &server.0.wake_pipe;
    for signal in [SIGINT, SIGTERM] {
        // In this order: at the second signal the flag is set, and the first action ends the
        // process.
        flag::register_conditional_shutdown(
            signal,
            FORCED_EXIT_CODE,
            Arc::clone(&wake_pipe.terminate),
        )?;
        flag::register(signal, Arc::clone(&wake_pipe.terminate))?;
        low_level::pipe::register(signal, wake_pipe.write_end()?)?;
    }
    Ok(())
}

/// From now on SIGHUP has the thread of `serve_forever` call `reload`.
///
/// # Errors
/// When the system refuses a descriptor or a signal handler.
pub fn reload_on_hangup(server: &ServerHandle, reload: impl Fn() + Send + 'static) -> Result<()> {
    let wake_pipe = &server.0.wake_pipe;
    wake_pipe.set_on_hangup(reload);
    flag::register(SIGHUP, Arc::clone(&wake_pipe.hangup))?;
    low_level::pipe::register(SIGHUP, wake_pipe.write_end()?)?;
    Ok(())
}

/// Gives the process the signal state that a program expects, whatever the parent left: each signal
/// that the parent ignored gets its default action, and no signal stays blocked. With SIGCHLD
/// ignored the exit code of a child is lost (waitpid(2) fails with ECHILD); with SIGTERM blocked a
/// server cannot be ended.
///
/// A SIGHUP that was ignored stays ignored until [`reload_on_hangup`]: it is how `nohup` asks for a
/// process that outlives its terminal. SIGPIPE, SIGTSTP, SIGTTIN and SIGTTOU keep what the parent
/// set, too. A handler that the program has installed is not touched.
///
/// Call it first in `main`: a thread that was started earlier keeps its signal mask.
///
/// # Errors
/// When the system refuses to change the signal mask.
pub fn reset_inherited_signals() -> Result<()> {
    hangup_is_ignored();
    sys::reset_ignored_signals();
    Ok(sys::unblock_signals()?)
}

/// Whether SIGHUP was ignored when this process began, as under `nohup`. The first call looks; it
/// must come before a handler for SIGHUP is installed.
fn hangup_is_ignored() -> bool {
    static IGNORED: OnceLock<bool> = OnceLock::new();
    *IGNORED.get_or_init(|| sys::is_ignored(SIGHUP))
}
