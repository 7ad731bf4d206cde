//! A program's process, as the tests see it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::client::PATIENCE;

/// The first argument of a program's process.
pub(crate) const RUN: &str = "--run";

/// A running program; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts `program` by another command, which must execute its last arguments.
    pub(crate) fn start_by(command: &[&str], program: &str) -> Process {
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .arg(std::env::current_exe().unwrap())
            .args([RUN, program])
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

    /// Waits for the program's next line.
    #[track_caller]
    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.lines.recv_timeout(PATIENCE).as_deref(), Ok(line));
    }

    /// Waits for the program's end, by itself, with this exit code.
    #[track_caller]
    pub(crate) fn expect_code(&mut self, code: i32) {
        let status = self.wait();
        assert_eq!(status.code(), Some(code), "{status}");
    }

    fn wait(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        crate::client::eventually("the program ends", || {
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
