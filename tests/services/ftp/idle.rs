//! `serve ftp`: what an idle session costs.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::support::ftp::connect;
use crate::support::{TestDir, TestServer, wait_until};

const SESSIONS: usize = 300;
/// Memory that a session may hold. 500 sessions then hold less than 2 MiB.
const MAX_BYTES_EACH: usize = 4096;

/// An anonymous session that has obeyed some commands, with one descriptor here.
fn session(server: &TestServer) -> TcpStream {
    let stream = connect(server.address());
    let mut replies = BufReader::new(&stream);
    let mut reply = || {
        let mut line = String::new();
        replies.read_line(&mut line).unwrap();
        line
    };
    assert!(reply().starts_with("220 "));
    for (command, code) in [
        ("USER anonymous", "331 "),
        ("PASS x", "230 "),
        ("TYPE I", "200 "),
        ("PWD", "257 "),
        ("CWD folder", "250 "),
    ] {
        (&stream)
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        assert!(reply().starts_with(code), "{command}");
    }
    stream
}

/// Bytes of memory that the server uses and that are of no file, such as the program's own.
fn memory(server: &TestServer) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse::<usize>().unwrap() * 1024
}

#[test]
fn an_idle_session_holds_no_thread_one_descriptor_and_little_memory() {
    let dir = TestDir::new("ftp-idle");
    dir.write("root/folder/file", "x");
    let root = dir.join("root").to_str().unwrap().to_owned();
    // As many threads from the start as there will be, so that none is started meanwhile.
    let threads = ["--threads", "2", "--max-threads", "2"];
    let server = TestServer::start(&[&["ftp", &root], &threads[..]].concat());
    // What the first sessions need once.
    let first: Vec<TcpStream> = (0..20).map(|_| session(&server)).collect();
    let (memory_before, threads, descriptors) =
        (memory(&server), server.threads(), server.descriptors());
    let sessions: Vec<TcpStream> = (0..SESSIONS).map(|_| session(&server)).collect();
    let grown = memory(&server).saturating_sub(memory_before);
    assert!(
        grown <= SESSIONS * MAX_BYTES_EACH,
        "{} bytes each",
        grown / SESSIONS
    );
    assert_eq!(server.threads(), threads);
    assert_eq!(server.descriptors(), descriptors + SESSIONS);
    drop((first, sessions));
    wait_until("the descriptors are given back", || {
        server.descriptors() < descriptors
    });
}
