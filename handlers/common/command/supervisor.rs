//! A small process between the server and each command, which kills the command's process group
//! when the server ends.
//!
//! ```text
//! server ── control (socket pair) ── supervisor ── command ── what it starts
//!                                    └───────── one process group ────────┘
//! ```
//!
//! The supervisor is the same binary, executed again with a hidden verb. It holds one end of a
//! socket pair. The server's end closes when the server is killed, is forced to exit, or abandons
//! the command. Then the supervisor kills its own process group, including itself. The alternatives
//! have disadvantages:
//!
//! - `PR_SET_PDEATHSIG` reaches only the direct child, not what the child starts. It is also sent
//!   when the *thread* that started the child ends, as threads of a shrinking pool do.
//! - A signal handler in the server cannot run when the server gets SIGKILL.
//! - One guardian for all commands would need a message about each group. If the server is killed
//!   between the start and the message, the command continues. Here the parent of the command
//!   exists first, and it kills its own group, so that the process id cannot be in use by another
//!   process.
//! - Control groups need rights that a server often does not have.
//!
//! The cost is one execution of this binary, and one process, for each running command.
//!
//! With `--model processes`, a child of the server holds the other end, and that child outlives a
//! server that is killed. So the supervisor also watches the server's own process, on systems with
//! descriptors for processes (Linux).

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, getpid, kill_current_process_group};
use socketserver::inherited_descriptor;

use super::{TICK, descriptor};

/// The hidden verb of the command line. Its arguments are the command's words, then the numbers of
/// two descriptors: the control socket, and the server's process.
pub(crate) const VERB: &str = "supervise-command";

/// The argument for a missing descriptor.
pub(super) const NO_DESCRIPTOR: &str = "-";

/// The exit code if the command could not be started. The server ignores it, because it gets the
/// error number.
const NOT_STARTED: u8 = 126;

/// The data with which the supervisor of each command is started.
#[derive(Debug)]
struct Supervision {
    /// The path of this binary.
    program: PathBuf,
    /// Readable when the server's process has ended.
    server: Option<OwnedFd>,
}

static SUPERVISION: OnceLock<Supervision> = OnceLock::new();

/// Gives each command a supervisor from now on. The binary that accepts the hidden verb must call
/// this once, in the server's own process. Without this call, commands are started directly.
///
/// # Errors
/// The path of the binary is unknown.
pub fn start_supervising() -> io::Result<()> {
    // The link refers to the running binary, even after an upgrade has replaced the file at its
    // path.
    let link = Path::new("/proc/self/exe");
    let program = match link.exists() {
        true => link.to_owned(),
        false => std::env::current_exe()?,
    };
    let server = descriptor(getpid());
    if let Some(server) = &server {
        fcntl_setfd(server, FdFlags::empty())?;
    }
    let _ = SUPERVISION.set(Supervision { program, server });
    Ok(())
}

/// The program of the supervisor; `None` before [`start_supervising`].
pub(super) fn program() -> Option<&'static Path> {
    SUPERVISION.get().map(|supervision| &*supervision.program)
}

/// The number of the descriptor for the server's process.
pub(super) fn server_process() -> Option<RawFd> {
    let server = SUPERVISION.get()?.server.as_ref()?;
    Some(server.as_raw_fd())
}

/// The main function of the supervisor: runs the command, and returns its exit code, 128 + N if
/// signal N ended it.
pub(crate) fn supervise(arguments: &[OsString]) -> u8 {
    let [program, arguments @ .., control, server] = arguments else {
        return NOT_STARTED;
    };
    let Ok(Some(control)) = inherited(control) else {
        return NOT_STARTED;
    };
    let mut control = UnixStream::from(control);
    let server = match inherited(server) {
        Ok(server) => server,
        Err(_) => return NOT_STARTED,
    };
    match Command::new(program).args(arguments).spawn() {
        Ok(child) => exit_code(wait(child, &control, server.as_ref())),
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
            let _ = control.write_all(number.to_string().as_bytes());
            NOT_STARTED
        }
    }
}

/// Parses an argument with the number of an inherited descriptor.
fn inherited(number: &OsString) -> Result<Option<OwnedFd>, ()> {
    let number = number.to_str().ok_or(())?;
    if number == NO_DESCRIPTOR {
        return Ok(None);
    }
    let number = number.parse().map_err(drop)?;
    inherited_descriptor(number).map(Some).map_err(drop)
}

/// Waits until the command ends. If the server ends before, it kills the group, including this
/// process.
fn wait(
    mut child: Child,
    control: &UnixStream,
    server: Option<&OwnedFd>,
) -> io::Result<ExitStatus> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let end = id.and_then(descriptor);
    loop {
        let watched = [
            Some(control.as_fd()),
            server.map(AsFd::as_fd),
            end.as_ref().map(AsFd::as_fd),
        ];
        let mut fds: Vec<PollFd<'_>> = watched
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let tick = match end {
            Some(_) => None,
            None => Timespec::try_from(TICK).ok(),
        };
        match poll(&mut fds, tick.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let guards = 1 + usize::from(server.is_some());
        if fds[..guards].iter().any(|fd| !fd.revents().is_empty()) {
            kill_current_process_group(Signal::KILL)?;
        }
    }
}

fn exit_code(status: io::Result<ExitStatus>) -> u8 {
    let code = status.ok().and_then(|status| {
        let signal = status.signal().map(|signal| 128 + signal);
        status.code().or(signal)
    });
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
