//! Runs a command in its own process group, reads both of its pipes at the same time, and limits
//! its time and its output.
//!
//! A [`supervisor`] process is the parent of each command. It ends the command when the server
//! ends, even if the server is killed.

pub mod supervisor;

mod pipes;
mod task;

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use pipes::Pipes;
pub use task::Task;

/// The limits of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum run time.
    pub time: Duration,
    /// Maximum number of bytes of standard output and standard error together.
    pub output: usize,
}

/// The result of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub output: Vec<u8>,
    /// Standard error.
    pub errors: Vec<u8>,
    /// The exit code as a shell reports it: 128 + N if signal N ended the command.
    pub exit_code: i32,
    /// Whether the output exceeded the maximum size.
    pub truncated: bool,
}

/// The exit code of a command that exceeded its maximum run time, as in timeout(1).
pub const TIMED_OUT: i32 = 124;

/// Time after the start in which an end of the client's stream is considered a half-close: the
/// client still waits for the answer. A later end is considered a disconnection. TCP does not
/// distinguish the two.
const HALF_CLOSE: Duration = Duration::from_millis(50);
/// Interval of the checks whether a process has ended, on systems without descriptors for
/// processes.
const TICK: Duration = Duration::from_millis(10);

/// The client that waits for the command.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The connection of the client, if it can be watched.
    pub socket: Option<BorrowedFd<'a>>,
    /// Whether the client has ended its side of the connection already.
    pub half_closed: bool,
}

/// Runs the command to its end. If the client disconnects before, the command is killed, and the
/// result is `None`.
///
/// A command has ended when its first process has ended. The remaining processes of its group are
/// killed.
///
/// # Errors
/// The command cannot be started.
pub fn run(task: Task, limits: Limits, client: Client<'_>) -> io::Result<Option<Output>> {
    let mut group = Group::spawn(task)?;
    let mut pipes = Pipes::new(&mut group.child, limits.output)?;
    let begun = Instant::now();
    let deadline = begun.checked_add(limits.time);
    let mut watching = !client.half_closed;
    let exit_code = loop {
        let events = wait(&pipes, &group, client.socket, watching, deadline)?;
        if events.hung_up {
            return Ok(None);
        }
        if events.half_closed {
            if begun.elapsed() > HALF_CLOSE {
                return Ok(None);
            }
            watching = false;
        }
        pipes.read(events.output, events.errors)?;
        if pipes.truncated {
            break group.kill()?;
        }
        if group.has_ended() {
            // The process has ended, so its complete output is in the pipes.
            pipes.read(true, true)?;
            let code = group.kill()?;
            group.start_error()?;
            break code;
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            group.kill()?;
            pipes.read(true, true)?;
            break TIMED_OUT;
        }
    };
    let Pipes {
        output,
        errors,
        truncated,
        ..
    } = pipes;
    Ok(Some(Output {
        output: output.bytes,
        errors: errors.bytes,
        exit_code,
        truncated,
    }))
}

/// The processes of a command. They are killed when this value is dropped.
struct Group {
    child: Child,
    id: Option<Pid>,
    /// Readable when the first process has ended.
    end: Option<OwnedFd>,
    status: Option<i32>,
    /// The server's end of the connection to the supervisor. The supervisor kills the group when
    /// this end is closed. If the command cannot be started, the supervisor sends the error number
    /// here.
    control: Option<UnixStream>,
}

impl Group {
    fn spawn(task: Task) -> io::Result<Group> {
        let (child, control) = task.spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Group {
            child,
            id,
            end: id.and_then(descriptor),
            status: None,
            control,
        })
    }

    /// Returns the error for which the supervisor could not start the command, if there was one.
    /// The supervisor must have ended.
    fn start_error(&mut self) -> io::Result<()> {
        let mut number = String::new();
        if let Some(control) = &mut self.control {
            // Another supervisor that was started at the same moment may have inherited the other
            // end, so a read could block.
            control.set_nonblocking(true)?;
            let _ = control.read_to_string(&mut number);
        }
        match number.parse() {
            Ok(number) => Err(io::Error::from_raw_os_error(number)),
            Err(_) => Ok(()),
        }
    }

    /// Whether the first process has ended. It stays a zombie, so that the id of the group is not
    /// used again.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.id.is_some_and(|id| {
            matches!(
                waitid(WaitId::Pid(id), options),
                Ok(Some(_)) | Err(Errno::CHILD)
            )
        })
    }

    /// Kills the remaining processes of the group. Returns the exit code of the first process, 128
    /// + N if signal N ended it.
    fn kill(&mut self) -> io::Result<i32> {
        if let Some(code) = self.status {
            return Ok(code);
        }
        if let Some(id) = self.id {
            // This fails if no process is left.
            let _ = kill_process_group(id, Signal::KILL);
        }
        let status = self.child.wait()?;
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(1);
        self.status = Some(code);
        Ok(code)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            log::error!("cannot end a command: {error}");
        }
    }
}

/// Returns a descriptor that is readable when the process has ended, on systems that support it.
#[cfg(target_os = "linux")]
fn descriptor(process: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn descriptor(_: Pid) -> Option<OwnedFd> {
    None
}

/// The events that a wait has found.
struct Events {
    output: bool,
    errors: bool,
    /// The client has ended its side.
    half_closed: bool,
    /// Both directions of the connection have ended: the client disconnected, or the server aborts
    /// requests in flight.
    hung_up: bool,
}

/// Waits until a pipe is readable, the command ends, the client disconnects, or the deadline
/// passes.
fn wait(
    pipes: &Pipes,
    group: &Group,
    socket: Option<BorrowedFd<'_>>,
    watching: bool,
    deadline: Option<Instant>,
) -> io::Result<Events> {
    let sources = [
        pipes
            .output
            .reader
            .as_ref()
            .map(|reader| (reader.as_fd(), PollFlags::IN)),
        pipes
            .errors
            .reader
            .as_ref()
            .map(|reader| (reader.as_fd(), PollFlags::IN)),
        group.end.as_ref().map(|end| (end.as_fd(), PollFlags::IN)),
        socket.map(|socket| {
            (
                socket,
                if watching {
                    END_OF_STREAM
                } else {
                    PollFlags::empty()
                },
            )
        }),
    ];
    let mut fds: Vec<PollFd<'_>> = sources
        .iter()
        .flatten()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let tick = group.end.is_none().then_some(TICK);
    let time = left
        .into_iter()
        .chain(tick)
        .min()
        .map(Timespec::try_from)
        .transpose()
        .unwrap_or_default();
    match poll(&mut fds, time.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut found = fds.iter().map(PollFd::revents);
    let mut next = |source: &Option<_>| {
        source
            .as_ref()
            .and_then(|_| found.next())
            .unwrap_or(PollFlags::empty())
    };
    let [output, errors, _, client] = [0, 1, 2, 3].map(|index| next(&sources[index]));
    Ok(Events {
        output: !output.is_empty(),
        errors: !errors.is_empty(),
        half_closed: client.intersects(END_OF_STREAM),
        hung_up: client.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
    })
}

/// The event of a peer that has ended its side. Systems other than Linux report a hang-up instead.
#[cfg(target_os = "linux")]
const END_OF_STREAM: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const END_OF_STREAM: PollFlags = PollFlags::empty();
