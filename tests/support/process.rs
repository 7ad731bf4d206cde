//! Programs that a test starts. Each has a time limit, so that no test waits for ever for a program
//! that does not end: at the limit the program is killed, with all that it has started.

#![allow(
    dead_code,
    reason = "several test programs share this file, and each uses a part of it"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{
    Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio,
};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The time limit of a program: longer than any takes on a busy machine.
pub(crate) const PROCESS_TIMEOUT: Duration = Duration::from_secs(120);

/// Commands with a time limit. Tests use these instead of `output`, `status` and `spawn`.
pub(crate) trait BoundedCommand {
    /// Runs the command to its end, without input. Panics at the time limit, with what the command
    /// has written until then.
    #[track_caller]
    fn finish(&mut self) -> Output;

    /// The same, with this standard input.
    #[track_caller]
    fn finish_with_input(&mut self, input: &[u8]) -> Output;

    /// The same as [`finish`](BoundedCommand::finish), with another time limit.
    #[track_caller]
    fn finish_within(&mut self, limit: Duration) -> Output;

    /// Runs the command to its end. Returns `false` if the command fails or is missing.
    #[track_caller]
    fn succeeds(&mut self) -> bool;

    /// Starts the command. It is killed at the time limit and when the value is dropped.
    #[track_caller]
    fn start(&mut self) -> Process;

    /// The same for a program that begins a session, which the leader of a process group may not.
    /// Only the program itself is killed.
    #[track_caller]
    fn start_without_group(&mut self) -> Process;
}

impl BoundedCommand for Command {
    #[track_caller]
    fn finish(&mut self) -> Output {
        self.finish_within(PROCESS_TIMEOUT)
    }

    #[track_caller]
    fn finish_with_input(&mut self, input: &[u8]) -> Output {
        pipe_output(self).stdin(Stdio::piped());
        let mut process = self.start();
        let (mut stdin, input) = (process.stdin(), input.to_owned());
        // The program may end without having read all of it.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
        process.finish()
    }

    #[track_caller]
    fn finish_within(&mut self, limit: Duration) -> Output {
        pipe_output(self).stdin(Stdio::null()).process_group(0);
        Process::start(self, limit)
            .unwrap_or_else(|error| panic!("{self:?}: {error}"))
            .finish()
    }

    #[track_caller]
    fn succeeds(&mut self) -> bool {
        pipe_output(self).stdin(Stdio::null()).process_group(0);
        Process::start(self, PROCESS_TIMEOUT).is_ok_and(|process| process.finish().status.success())
    }

    #[track_caller]
    fn start(&mut self) -> Process {
        self.process_group(0);
        self.start_without_group()
    }

    #[track_caller]
    fn start_without_group(&mut self) -> Process {
        Process::start(self, PROCESS_TIMEOUT).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

fn pipe_output(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// A running program.
pub(crate) struct Process {
    command: String,
    shared: Arc<Mutex<Shared>>,
    /// Hung up when the program needs no time limit any more.
    _running: mpsc::Sender<()>,
}

/// What the test and the thread that watches the time limit share.
struct Shared {
    child: Child,
    /// Only before that does the process group certainly belong to the program.
    has_ended: bool,
    is_late: bool,
}

impl Shared {
    fn kill_group(&mut self) {
        if !self.has_ended {
            let pid = Pid::from_child(&self.child);
            // Without a group of its own, the program is killed alone.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap();
        self.has_ended |= status.is_some();
        status
    }
}

impl Process {
    fn start(command: &mut Command, limit: Duration) -> std::io::Result<Process> {
        let child = command.spawn()?;
        let shared = Arc::new(Mutex::new(Shared {
            child,
            has_ended: false,
            is_late: false,
        }));
        let (running, ended) = mpsc::channel::<()>();
        let watched = Arc::clone(&shared);
        std::thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                let mut shared = watched.lock().unwrap();
                shared.is_late = !shared.has_ended;
                shared.kill_group();
            }
        });
        Ok(Process {
            command: format!("{command:?}"),
            shared,
            _running: running,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.shared.lock().unwrap().child.id()
    }

    /// Sends a signal to the program itself, not to what it has started.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let shared = self.shared.lock().unwrap();
        assert!(!shared.has_ended, "{} has ended", self.command);
        kill_process(Pid::from_child(&shared.child), signal).unwrap();
    }

    /// Its standard input, which must be a pipe.
    #[track_caller]
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.shared.lock().unwrap().child.stdin.take().unwrap()
    }

    /// Its standard output, which must be a pipe. A read ends at the time limit at the latest.
    #[track_caller]
    pub(crate) fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.shared.lock().unwrap().child.stdout.take().unwrap())
    }

    /// The same for standard error.
    #[track_caller]
    pub(crate) fn stderr(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.shared.lock().unwrap().child.stderr.take().unwrap())
    }

    /// The status of a program that has ended.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.shared.lock().unwrap().try_wait()
    }

    /// Waits for its end. Panics at the time limit.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let (status, is_late) = self.wait_for_end();
        assert!(!is_late, "{} did not end in time", self.command);
        status
    }

    /// Waits for its end, and collects what it writes into pipes. Panics at the time limit.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        let (stdout, stderr) = {
            let child = &mut self.shared.lock().unwrap().child;
            (collect(child.stdout.take()), collect(child.stderr.take()))
        };
        let (status, is_late) = self.wait_for_end();
        // Something else may hold a pipe open: then what is written to the pipe does not count.
        let output = |pipe: mpsc::Receiver<Vec<u8>>| pipe.recv_timeout(PROCESS_TIMEOUT);
        let output = Output {
            status,
            stdout: output(stdout).expect("a pipe of a program that has ended is still open"),
            stderr: output(stderr).expect("a pipe of a program that has ended is still open"),
        };
        assert!(
            !is_late,
            "{} did not end in time; standard output: {}; standard error: {}",
            self.command,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// The status, and whether the program was killed at its time limit.
    fn wait_for_end(&mut self) -> (ExitStatus, bool) {
        loop {
            let mut shared = self.shared.lock().unwrap();
            if let Some(status) = shared.try_wait() {
                return (status, shared.is_late);
            }
            drop(shared);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it, with all that it has started, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.shared.lock().unwrap().kill_group();
        self.wait_for_end();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads a pipe to its end beside the test.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// The lines of a pipe, each as soon as it is complete.
pub(crate) fn lines_of(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
