//! Runs a command: in a process group of its own, with both its pipes read at once, and with limits
//! to its time and its output.
//!
//! A [`supervisor`] process stands between the server and the command, so that the command ends
//! when the server does, however that ends.

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

/// What a command may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run.
    pub time: Duration,
    /// Bytes of standard output and standard error together.
    pub output: usize,
}

/// What a command brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub output: Vec<u8>,
    /// Standard error.
    pub errors: Vec<u8>,
    /// The exit code, as a shell has it.
    pub exit_code: i32,
    /// Whether more output came than is allowed.
    pub truncated: bool,
}

/// The exit code of a command whose time is over (that of timeout(1)).
pub const TIMED_OUT: i32 = 124;

/// A client that sends its request and then ends its side still wants the answer. If its end comes
/// later than this, it is gone: TCP doesn't tell the one from the other.
const HALF_CLOSE: Duration = Duration::from_millis(50);
/// Where the system has no descriptor for a process: how often to look for its end.
const TICK: Duration = Duration::from_millis(10);

/// Who waits for the command.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The connection, if it can be watched.
    pub socket: Option<BorrowedFd<'a>>,
    /// Whether it has ended its side already.
    pub half_closed: bool,
}

/// Runs the command to its end. `None` if the client has gone before: then the command is killed.
///
/// A command is over when its first process is. Whatever that left behind in its process group is
/// killed.
///
/// # Errors
/// The command can't be started.
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
            // Before its end it wrote all that it had to say.
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

/// A command's processes; killed when this is dropped, whatever happened.
struct Group {
    child: Child,
    id: Option<Pid>,
    /// Readable when the first process has ended.
    end: Option<OwnedFd>,
    status: Option<i32>,
    /// The supervisor's end is its standing order: it kills the group when this is closed, and
    /// sends an error number here if the command can't be started.
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

    /// Why the supervisor, which has ended, couldn't start the command, if so.
    fn start_error(&mut self) -> io::Result<()> {
        let mut number = String::new();
        if let Some(control) = &mut self.control {
            // Another supervisor that was started at the same moment may hold the other end.
            control.set_nonblocking(true)?;
            let _ = control.read_to_string(&mut number);
        }
        match number.parse() {
            Ok(number) => Err(io::Error::from_raw_os_error(number)),
            Err(_) => Ok(()),
        }
    }

    /// Whether the first process has ended. It stays a zombie, so that nobody else gets the group's
    /// id.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.id.is_some_and(|id| {
            matches!(
                waitid(WaitId::Pid(id), options),
                Ok(Some(_)) | Err(Errno::CHILD)
            )
        })
    }

    /// Kills what is left of the group; the first process's exit code, 128 + N if signal N ended
    /// it.
    fn kill(&mut self) -> io::Result<i32> {
        if let Some(code) = self.status {
            return Ok(code);
        }
        if let Some(id) = self.id {
            // Fails if nobody is left.
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

/// A descriptor that is readable when the process has ended, where the system has such.
#[cfg(target_os = "linux")]
fn descriptor(process: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn descriptor(_: Pid) -> Option<OwnedFd> {
    None
}

/// What there is to do.
struct Events {
    output: bool,
    errors: bool,
    /// The client has ended its side.
    half_closed: bool,
    /// Both sides are over: the client vanished, or the server cuts what is in flight.
    hung_up: bool,
}

/// Sleeps until something comes through a pipe, the command ends, the client goes or the time is
/// over.
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

/// The peer has ended its side. Elsewhere than on Linux that shows as a hang-up.
#[cfg(target_os = "linux")]
const END_OF_STREAM: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const END_OF_STREAM: PollFlags = PollFlags::empty();
