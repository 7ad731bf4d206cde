//! A program's process, and its terminal, as the tests see them.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use socketserver::ServerAddress;

use crate::client::{PATIENCE, eventually};

/// The first argument of a program's process.
pub(crate) const RUN: &str = "--run";

/// A running program; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts a program with its arguments.
    pub(crate) fn start(program: &[&str]) -> Process {
        Process::start_by(&["env"], program)
    }

    /// Starts a program by another command, which executes what its last arguments name.
    pub(crate) fn start_by(command: &[&str], program: &[&str]) -> Process {
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .arg(std::env::current_exe().unwrap())
            .arg(RUN)
            .args(program)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Process { child, lines }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    #[track_caller]
    fn next_line(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        line.unwrap_or_else(|_| panic!("no line; the program: {:?}", self.child.try_wait()))
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
        let status = self.wait();
        assert_eq!(status.code(), Some(code), "{status}");
    }

    /// Waits for the program's end by a signal.
    #[track_caller]
    pub(crate) fn expect_killed_by(&mut self, signal: Signal) {
        let status = self.wait();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
