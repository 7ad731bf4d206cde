//! A command that is about to run.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};

use super::supervisor::{self, NO_DESCRIPTOR, VERB};

/// A command that is about to run: its words, its standard input and its environment.
#[derive(Debug)]
pub struct Task {
    command: Command,
    /// Whether the command is the supervisor's, with the words as its arguments.
    supervised: bool,
}

impl Task {
    /// A program, looked up in `PATH` if its name has no slash, and its arguments. It reads nothing
    /// and has the server's environment.
    pub fn new(program: &str, arguments: &[String]) -> Task {
        let supervisor = supervisor::program();
        let mut command = match supervisor {
            Some(supervisor) => {
                let mut command = Command::new(supervisor);
                command.arg0("socketserver").args([VERB, program]);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::null());
        Task {
            command,
            supervised: supervisor.is_some(),
        }
    }

    /// What the command reads.
    pub fn stdin(mut self, input: impl Into<Stdio>) -> Task {
        self.command.stdin(input);
        self
    }

    /// Leaves the command only these variables of the server's environment.
    pub fn keep_variables(mut self, names: &[&str]) -> Task {
        self.command.env_clear();
        let names = names.iter();
        self.command
            .envs(names.filter_map(|name| Some((name, std::env::var_os(name)?))));
        self
    }

    /// Starts the command in a process group of its own; with the server's end of the connection to
    /// its supervisor.
    pub(super) fn spawn(mut self) -> io::Result<(Child, Option<UnixStream>)> {
        let command = &mut self.command;
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if !self.supervised {
            return Ok((command.spawn()?, None));
        }
        let (control, remote) = UnixStream::pair()?;
        // The supervisor inherits its end by number. One that is started at the same moment may
        // inherit it too. That does no harm: what counts is the server's end, which closes on exec.
        fcntl_setfd(&remote, FdFlags::empty())?;
        command.arg(remote.as_raw_fd().to_string());
        command.arg(number(supervisor::server_process()));
        Ok((command.spawn()?, Some(control)))
    }
}

/// A descriptor's number as an argument.
fn number(descriptor: Option<RawFd>) -> String {
    descriptor.map_or_else(|| NO_DESCRIPTOR.to_owned(), |number| number.to_string())
}
