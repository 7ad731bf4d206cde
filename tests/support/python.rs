//! Python as a client and as a server.

use std::io::BufRead;
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};

use super::has_tool;
use super::process::{BoundedCommand, Process};

/// Runs a Python script to its end; its output. `None`, and a visible word, if there is no Python.
#[track_caller]
pub(crate) fn python(test: &str, script: &str, arguments: &[&str]) -> Option<String> {
    if !has_tool("python3", test) {
        return None;
    }
    let output = Command::new("python3")
        .args(["-c", script])
        .args(arguments)
        .finish();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A server in Python, ended at the end of the test.
pub(crate) struct PythonServer {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// What it prints after its port.
    pub(crate) stdout: std::io::BufReader<ChildStdout>,
}

impl PythonServer {
    /// Runs a script that serves on a free port of 127.0.0.1 and prints the port first.
    #[track_caller]
    pub(crate) fn start(script: &str, arguments: &[&str]) -> PythonServer {
        let mut process = Command::new("python3")
            .args(["-c", script])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .start();
        let mut stdout = process.stdout();
        let mut port = String::new();
        stdout.read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().expect("the script prints its port");
        PythonServer {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            stdout,
        }
    }
}
