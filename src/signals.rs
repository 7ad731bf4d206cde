//! Ctrl-C, `kill` and SIGHUP.

use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::error::Result;
use crate::handle::ServerHandle;

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
