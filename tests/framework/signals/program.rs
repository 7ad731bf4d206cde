//! A program's process, and its terminal, as the tests see them.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use socketserver::ServerAddress;

use crate::client::PATIENCE;
use crate::process::{BoundedCommand, Process, lines_of};

/// The first argument of a program's process.
pub(crate) const RUN: &str = "--run";

/// A running program; killed when it is dropped.
pub(crate) struct Program {
    process: Process,
    lines: mpsc::Receiver<String>,
}

impl Program {
    /// Starts a program with its arguments.
    pub(crate) fn start(program: &[&str]) -> Program {
        Program::start_by(&["env"], program)
    }

    /// Starts a program by another command, which executes what its last arguments name.
    pub(crate) fn start_by(command: &[&str], program: &[&str]) -> Program {
        let mut process = Command::new(command[0])
            .args(&command[1..])
            .arg(std::env::current_exe().unwrap())
            .arg(RUN)
            .args(program)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .start_without_group();
        let lines = lines_of(process.stdout());
        Program { process, lines }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    #[track_caller]
    fn next_line(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        line.unwrap_or_else(|_| panic!("no line; the program: {:?}", self.process.try_wait()))
    }

    /// Waits for the program's next line.
    #[track_caller]
    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.next_line(), line);
    }

    /// Waits for the line that names a server's address.
    #[track_caller]
    pub(crate) fn address(&mut self) -> ServerAddress {
        ServerAddress::Inet(self.next_line().parse().unwrap())
    }

    /// Waits for the program's end by itself, with this exit code.
    #[track_caller]
    pub(crate) fn expect_code(&mut self, code: i32) {
        let status = self.process.wait();
        assert_eq!(status.code(), Some(code), "{status}");
    }

    /// Waits for the program's end by a signal.
    #[track_caller]
    pub(crate) fn expect_killed_by(&mut self, signal: Signal) {
        let status = self.process.wait();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
    }
}

/// A terminal for a program; closed when it is dropped, as its window is.
pub(crate) struct Terminal {
    /// What the program opens.
    pub(crate) path: String,
    _controller: OwnedFd,
}

impl Terminal {
    pub(crate) fn open() -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap();
        Terminal {
            path: path.into_string().unwrap(),
            _controller: controller,
        }
    }
}
