//! The first steps of the process: it resets the state that its parent has left.

use std::ffi::OsString;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use socketserver::{close_inherited_on_exec, reset_inherited_signals};

use crate::service::Failure;

/// Resets the signals, and prevents commands from inheriting descriptors. It must be called while
/// there is only one thread.
pub(super) fn clean_up() -> Result<(), Failure> {
    reset_inherited_signals()?;
    Ok(close_inherited_on_exec()?)
}

/// Whether this is process 1, as the first process of a container is.
pub(super) fn is_first_process() -> bool {
    getpid() == Pid::INIT
}

/// The signals that process 1 forwards to the server: an operator sends them to control it.
const FORWARDED: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// Runs as process 1: starts the same command line in a child, forwards signals to the child, and
/// reaps all orphaned processes until the child ends. Returns the child's exit code.
///
/// The system makes process 1 the parent of orphans, and only their parent can reap them. The
/// server itself cannot do this: it would have to distinguish orphans from its own children, which
/// other threads wait for. Also, the system ignores signals without a handler only for process 1,
/// and not for the child.
pub(super) fn run_as_first_process(arguments: &[OsString]) -> Result<u8, Failure> {
    let failed = |error| Failure::run(format!("cannot run the server as a child: {error}"));
    let mut signals = Signals::new(FORWARDED).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let child = Command::new(program)
        .args(arguments.get(1..).unwrap_or_default())
        .spawn()
        .map_err(failed)?;
    let child = process_id(&child)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if let Some(signal) = Signal::from_named_raw(signal) {
                    // This fails if the child has ended. Then this process ends, too.
                    let _ = kill_process(child, signal);
                }
            }
        })
        .map_err(failed)?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if process == child => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                let code = status.exit_status().or(signal);
                return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
}

fn process_id(child: &Child) -> Result<Pid, Failure> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Failure::run("the system gave a child no process id"))
}
