//! `--after-upload`: runs a command for each stored file.
//!
//! One thread runs the commands one after the other. Requests only add an item to the queue of this
//! thread and never wait. When the server ends, the commands in the queue may run until the end of
//! the grace period. Then the running command is killed together with all processes that it has
//! started, and the remaining commands are not run.

use std::fmt;
use std::io::{self, Write, pipe};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::Sender;
use crate::common::command::{self, Client, Limits, Output, TIMED_OUT, Task};
use crate::common::digest::to_hex;
use crate::common::store::Published;

/// Maximum number of files in the queue. If the queue is full, no command is run for a new file.
const MAX_QUEUED: usize = 1000;
/// Maximum output of a command, in bytes. A command that prints more is killed.
const MAX_OUTPUT: usize = 1 << 20;

/// A program and its arguments. The words are split as in a shell, but no shell runs them.
#[derive(Clone, Debug)]
pub struct CommandLine {
    program: String,
    arguments: Vec<String>,
}

impl FromStr for CommandLine {
    type Err = String;

    fn from_str(text: &str) -> Result<CommandLine, String> {
        let words = shell_words::split(text).map_err(|_| "a quote isn't closed")?;
        let mut words = words.into_iter();
        let program = words
            .next()
            .ok_or("expected a program, and its arguments if it takes some")?;
        Ok(CommandLine {
            program,
            arguments: words.collect(),
        })
    }
}

/// The description of a stored file that a command reads from its standard input, as JSON.
#[derive(Serialize)]
struct Notification<'a> {
    /// The path of the file.
    path: String,
    /// The path of the file below the served folder.
    name: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    client: String,
    /// The user that sent the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    method: &'a str,
}

/// Runs the command for each stored file, until [`end`](AfterUpload::end) is called.
pub(super) struct AfterUpload {
    /// The path of the served folder.
    folder: String,
    runner: Mutex<Option<Runner>>,
}

struct Runner {
    queue: SyncSender<Vec<u8>>,
    /// Dropping it kills the running command.
    hold: UnixStream,
    /// Disconnected when the thread has nothing more to do.
    idle: Receiver<()>,
    /// Returns whether a command was killed or not run.
    thread: JoinHandle<bool>,
}

impl AfterUpload {
    /// Starts the thread.
    ///
    /// # Errors
    /// The folder's path is not UTF-8, so JSON cannot express it; or an error of the system.
    pub(super) fn start(
        command_line: CommandLine,
        time: Duration,
        folder: &Path,
    ) -> io::Result<AfterUpload> {
        let folder = folder.canonicalize()?.into_os_string().into_string();
        let folder = folder.map_err(|_| {
            io::Error::other("its path isn't UTF-8, and --after-upload couldn't tell it")
        })?;
        let (queue, told) = sync_channel(MAX_QUEUED);
        let (hold, end) = UnixStream::pair()?;
        let (busy, idle) = channel();
        let limits = Limits {
            time,
            output: MAX_OUTPUT,
        };
        let thread = thread::Builder::new()
            .name("after-upload".to_owned())
            .spawn(move || {
                let _busy = busy;
                run_all(&command_line, limits, &end, &told)
            })?;
        Ok(AfterUpload {
            folder,
            runner: Mutex::new(Some(Runner {
                queue,
                hold,
                idle,
                thread,
            })),
        })
    }

    /// Adds a file to the queue. Never waits.
    pub(super) fn run(&self, published: &Published, sender: &Sender, method: &str) {
        let name = published.name.text();
        let told = Notification {
            path: format!("{}/{name}", self.folder.trim_end_matches('/')),
            name: &name,
            size: published.size,
            sha256: published.digests.sha256.map(|digest| to_hex(&digest)),
            client: sender.address.to_string(),
            user: sender.permit.user(),
            method,
        };
        let runner = self.runner.lock();
        let queued = match (&*runner, serde_json::to_vec(&told)) {
            (Some(runner), Ok(told)) => runner.queue.try_send(told).map_err(|error| match error {
                TrySendError::Full(_) => "too many wait for it",
                TrySendError::Disconnected(_) => "its thread has failed",
            }),
            _ => Err("the server ends"),
        };
        if let Err(why) = queued {
            log::error!("--after-upload isn't run for {name:?}: {why}");
        }
    }

    /// Lets the commands in the queue run until `until` (`None`: without a limit). Then the running
    /// command is killed and the others are not run. Returns whether this happened to any command.
    pub(super) fn end(&self, until: Option<Instant>) -> bool {
        let Some(Runner {
            queue,
            hold,
            idle,
            thread,
        }) = self.runner.lock().take()
        else {
            return false;
        };
        // Without a sender, the thread ends once the queue is empty.
        drop(queue);
        // Nothing is ever sent through `idle`. Both calls return an error: when the thread ends, or
        // when the time is over.
        let _ = match until {
            None => idle.recv().is_ok(),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                idle.recv_timeout(left).is_ok()
            }
        };
        drop(hold);
        thread.join().unwrap_or_else(|_| {
            log::error!("the thread of --after-upload has failed");
            true
        })
    }
}

impl fmt::Debug for AfterUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfterUpload").finish_non_exhaustive()
    }
}

/// Runs the command for each file in the queue. Returns whether the end of the server stopped it.
fn run_all(
    command_line: &CommandLine,
    limits: Limits,
    end: &UnixStream,
    queue: &Receiver<Vec<u8>>,
) -> bool {
    let program = &command_line.program;
    while let Ok(told) = queue.recv() {
        match run(command_line, limits, end, &told) {
            Ok(Some(output)) => log_failure(program, &told, &output),
            Ok(None) => {
                let left = 1 + queue.try_iter().count();
                log::warn!(
                    "--after-upload: the server ends before {program} is done with {left} files"
                );
                return true;
            }
            Err(error) => log::error!(
                "--after-upload: {program}: {error}; it should hear of {}",
                shown(&told)
            ),
        }
    }
    false
}

/// Runs the command for one file. `None` if the server ends.
fn run(
    command_line: &CommandLine,
    limits: Limits,
    end: &UnixStream,
    told: &[u8],
) -> io::Result<Option<Output>> {
    if has_ended(end)? {
        return Ok(None);
    }
    let (input, mut writer) = pipe()?;
    // The description is short enough to fit into the pipe's buffer. So it can be written before
    // the command reads, and a command that does not read does not block this thread.
    rustix::io::ioctl_fionbio(&writer, true)?;
    writer.write_all(told)?;
    drop(writer);
    let task = Task::new(&command_line.program, &command_line.arguments).stdin(input);
    // The end of the server closes the socket. The command is then killed, as `exec` kills the
    // command of a client that disconnects.
    command::run(
        task,
        limits,
        Client {
            socket: Some(end.as_fd()),
            half_closed: true,
        },
    )
}

/// Whether the other end of this pair was dropped. Nothing is ever sent through the pair.
fn has_ended(end: &UnixStream) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut ends = [PollFd::new(end, PollFlags::empty())];
    poll(
        &mut ends,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )?;
    Ok(ends[0].revents().contains(PollFlags::HUP))
}

/// Logs a failed command with the last line of its output.
fn log_failure(program: &str, told: &[u8], output: &Output) {
    let outcome = match output.exit_code {
        _ if output.truncated => format!("killed, as it printed more than {MAX_OUTPUT} bytes"),
        0 => return,
        TIMED_OUT => format!("its time was over (exit code {TIMED_OUT})"),
        code => format!("exit code {code}"),
    };
    let last_line = output
        .errors
        .trim_ascii_end()
        .rsplit(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    log::error!(
        "--after-upload: {program}: {outcome}: {:?}; it was told {}",
        String::from_utf8_lossy(last_line),
        shown(told)
    );
}

fn shown(told: &[u8]) -> String {
    String::from_utf8_lossy(told).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_would() {
        let line: CommandLine = r#"/bin/echo 'two words' a\ b "$HOME" ; x"#.parse().unwrap();
        assert_eq!(line.program, "/bin/echo");
        assert_eq!(line.arguments, ["two words", "a b", "$HOME", ";", "x"]);
        for text in ["", "  ", "'open"] {
            assert!(text.parse::<CommandLine>().is_err(), "{text:?}");
        }
    }
}
