//! The programs under `examples/`, with real clients.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::support::PATIENCE;

/// Where the examples are. `cargo test` builds them, unless it is told to run only some tests.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--locked", "--package", "socketserver"])
            .args(["--examples", "--target-dir"])
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        profile.join("examples")
    })
}

/// An example that serves, ended at the end of the test.
struct Example {
    child: Child,
    address: String,
}

impl Example {
    /// Starts it on a free port.
    fn start(name: &str, arguments: &[&str]) -> Example {
        let mut child = Command::new(folder().join(name))
            .arg("127.0.0.1:0")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut ready).unwrap();
        let (_, address) = ready.trim_end().rsplit_once('/').unwrap();
        Example {
            child,
            address: address.to_owned(),
        }
    }

    fn connect(&self) -> Lines {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Lines(BufReader::new(stream))
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that speaks in lines.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn say(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }

    #[track_caller]
    fn hear(&mut self, expected: &str) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    }
}

#[test]
fn what_one_says_in_the_chat_all_others_hear() {
    let chat = Example::start("chat", &[]);
    let mut ada = chat.connect();
    ada.hear("You are guest 1. Clients here: 1.");
    let mut bob = chat.connect();
    bob.hear("You are guest 2. Clients here: 2.");
    ada.hear("guest 2 has joined.");
    ada.say("hello");
    bob.hear("guest 1: hello");
    bob.say("hello yourself");
    ada.hear("guest 2: hello yourself");
    drop(bob);
    ada.hear("guest 2 has left.");
}

#[test]
fn the_forwarder_carries_what_both_sides_say() {
    let echo = Example::start("tcp_echo", &[]);
    let forwarder = Example::start("forwarder", &[&echo.address]);
    let mut client = forwarder.connect();
    for line in ["hello", "and again"] {
        client.say(line);
        client.hear(line);
    }
}
