//! The binary under test, and clients for it.

pub(crate) mod browser;
pub(crate) mod cases;
pub(crate) mod examples;
pub(crate) mod ftp;
mod process;
mod python;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) use process::{BoundedCommand, Process, lines_of};
pub(crate) use python::{PythonServer, python};

/// Longer than anything in a test takes, on a busy machine. Nothing waits for so long, unless it
/// fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is true.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server of the binary, ended at the end of the test.
pub(crate) struct TestServer {
    child: Child,
    /// The ready lines.
    pub(crate) ready: Vec<String>,
    stderr: mpsc::Receiver<String>,
}

impl TestServer {
    /// Starts `serve SERVICE` with these arguments, on a free port, and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> TestServer {
        TestServer::start_with(arguments, 1, |command| command)
    }

    /// Starts it as told, without an address of our choice, and waits for so many ready lines.
    pub(crate) fn start_with(
        arguments: &[&str],
        listeners: usize,
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> TestServer {
        TestServer::start_by(&[], arguments, listeners, prepare)
    }

    /// The same; another program, which must execute its last arguments, starts the server.
    pub(crate) fn start_by(
        program: &[&str],
        arguments: &[&str],
        listeners: usize,
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> TestServer {
        let binary = [env!("CARGO_BIN_EXE_socketserver"), "serve"];
        let words = [program, &binary].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments);
        if !arguments.contains(&"--bind") {
            command.args(["--bind", "127.0.0.1:0"]);
        }
        prepare(&mut command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = lines_of(child.stdout.take().unwrap());
        let stderr = lines_of(child.stderr.take().unwrap());
        let mut server = TestServer {
            child,
            ready: Vec::new(),
            stderr,
        };
        for _ in 0..listeners {
            match stdout.recv_timeout(PATIENCE) {
                Ok(line) => server.ready.push(line),
                Err(_) => panic!(
                    "no ready line; standard error: {:?}",
                    server.stderr_so_far()
                ),
            }
        }
        server
    }

    /// Where it listens, from its first ready line.
    pub(crate) fn address(&self) -> SocketAddr {
        let url = self.ready[0].split(" on ").nth(1).unwrap();
        let host = url.split("://").nth(1).unwrap().trim_end_matches('/');
        host.parse()
            .unwrap_or_else(|_| panic!("no address: {}", self.ready[0]))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let signal = match name {
            "CONT" => Signal::CONT,
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            "KILL" => Signal::KILL,
            "STOP" => Signal::STOP,
            "TERM" => Signal::TERM,
            _ => panic!("a signal of another name: {name}"),
        };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code, and how long that took.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let mut status = None;
        wait_until("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap().code(), begun.elapsed())
    }

    /// Repeats a signal until the server ends; its exit code. A signal forces the end 500 ms after
    /// the first one, and is the first one once more before that.
    #[track_caller]
    pub(crate) fn force_end(&mut self, signal: &str) -> Option<i32> {
        let mut status = None;
        wait_until("the server ends", || {
            self.signal(signal);
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    /// Waits for a line on standard error that contains `text`.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .stderr
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if line.contains(text) {
                return line;
            }
        }
        panic!("nothing with `{text}` was logged");
    }

    pub(crate) fn stderr_so_far(&self) -> Vec<String> {
        self.stderr.try_iter().collect()
    }

    /// So many threads the server has.
    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid()))
            .unwrap()
            .count()
    }

    /// So many files the server has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// The TCP connections that the server has accepted and not closed.
    pub(crate) fn connections(&self) -> Vec<TcpConnection> {
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.pid())).unwrap();
        let port = self.address().port();
        let connections = table.lines().skip(1).map(TcpConnection::parse);
        connections
            .filter(|connection| connection.port == port && connection.is_accepted)
            .collect()
    }

    /// Waits until the server has accepted this number of connections and has read what their
    /// clients sent.
    #[track_caller]
    pub(crate) fn wait_until_read(&self, count: usize) {
        wait_until("the server has read all", || {
            let connections = self.connections();
            let read = connections
                .iter()
                .filter(|connection| connection.unread == 0);
            read.count() == count
        });
    }

    /// A connection whose reads and writes don't hang a test.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address(), PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes on a new connection, and reads until the server closes it.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // The server may have seen enough before all is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }
}

/// A line of `/proc/net/tcp`.
pub(crate) struct TcpConnection {
    port: u16,
    /// Whether a descriptor belongs to it. It then does not listen, either.
    is_accepted: bool,
    /// The number of bytes that have arrived and were not read.
    unread: u64,
}

impl TcpConnection {
    fn parse(line: &str) -> TcpConnection {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let behind_colon = |text: &str| hex(text.split(':').nth(1).unwrap());
        let listens = columns[3] == "0A";
        TcpConnection {
            port: behind_colon(columns[1]) as u16,
            is_accepted: !listens && columns[9] != "0",
            unread: behind_colon(columns[4]),
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary to its end: exit code, standard output, standard error.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    run_with_input(arguments, b"")
}

/// The same, with something on its standard input.
pub(crate) fn run_with_input(arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_socketserver"))
        .args(arguments)
        .finish_with_input(input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A certificate for `localhost` and its key, as files. `None`, and a visible word, if there is no
/// `openssl`.
pub(crate) fn certificate(test: &str, dir: &TestDir) -> Option<(String, String)> {
    if !has_tool("openssl", test) {
        return None;
    }
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost"
                .split(' '),
        )
        .args(["-keyout", &key, "-out", &certificate])
        .succeeds();
    assert!(made);
    Some((certificate, key))
}

/// A folder of this test's own, removed at its end.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    pub(crate) fn new(name: &str) -> TestDir {
        let path = std::env::temp_dir().join(format!("socketserver-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        TestDir(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a program is there; says so visibly if not.
pub(crate) fn has_tool(name: &str, test: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .succeeds();
    if !found {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: {name} is missing; `make deps` installs it"
        );
    }
    found
}
