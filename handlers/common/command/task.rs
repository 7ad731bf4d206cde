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
    /// Whether `command` starts the supervisor, with the words of the actual command as arguments.
    supervised: bool,
}

impl Task {
    /// Creates a task for a program and its arguments. The program is looked up in `PATH` if its
    /// name has no slash. Its standard input is empty, and it has the server's environment.
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

    /// Sets the standard input of the command.
    pub fn stdin(mut self, input: impl Into<Stdio>) -> Task {
        self.command.stdin(input);
        self
    }

    /// Removes all variables but these from the environment of the command.
    pub fn keep_variables(mut self, names: &[&str]) -> Task {
        self.command.env_clear();
        let names = names.iter();
        self.command
            .envs(names.filter_map(|name| Some((name, std::env::var_os(name)?))));
        self
    }

    /// Starts the command in its own process group. Returns the process, with the server's end of
    /// the connection to its supervisor.
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
        // The supervisor inherits its end by number. Another supervisor that is started at the same
        // moment may inherit it, too. This is harmless, because only the server's end matters,
        // which is closed on exec.
        fcntl_setfd(&remote, FdFlags::empty())?;
        command.arg(remote.as_raw_fd().to_string());
        command.arg(number(supervisor::server_process()));
        Ok((command.spawn()?, Some(control)))
    }
}

/// Formats the number of a descriptor as an argument.
fn number(descriptor: Option<RawFd>) -> String {
    descriptor.map_or_else(|| NO_DESCRIPTOR.to_owned(), |number| number.to_string())
}
