//! `serve http --upload`: many uploads at once, slow senders, and large files.

use std::io::Read;
use std::path::Path;

use crate::http::raw::{Connection, request};
use crate::http::upload::{no_partials, put, read, site};
use crate::support::{BoundedCommand, TestDir, TestServer, wait_until};

const MANY: usize = 100;

/// Peak of resident memory, in bytes.
fn peak_memory(server: &TestServer) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_hundred_uploads_hold_no_threads_and_little_memory() {
    let (dir, server) = site("put-many", &["--threads", "8"]);
    let half = vec![b'x'; 1 << 20];
    let length = format!("Content-Length: {}", 2 * half.len());
    let mut connections: Vec<_> = std::iter::repeat_with(|| Connection::open(&server))
        .take(MANY)
        .collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(request("PUT", &format!("/{number}"), &[&length]));
        connection.send(&half);
    }
    // All of them wait, and somebody else is served.
    assert_eq!(put(&server, "/other", &[], "x").status, 201);
    for connection in &mut connections {
        connection.send(&half);
    }
    for (number, mut connection) in connections.into_iter().enumerate() {
        assert_eq!(connection.receive().status, 201);
        assert_eq!(
            Path::new(&dir.join(&number.to_string()))
                .metadata()
                .unwrap()
                .len(),
            2 << 20
        );
    }
    assert!(
        peak_memory(&server) < 64 << 20,
        "{} bytes",
        peak_memory(&server)
    );
}

#[test]
fn a_sender_who_pauses_too_long_is_told_so_and_leaves_nothing() {
    let (dir, server) = site("put-stalled", &["--read-timeout", "200ms"]);
    let mut connection = Connection::open(&server);
    connection.send(request("PUT", "/a", &["Content-Length: 10"]));
    connection.send("abc");
    let answer = connection.receive();
    assert_eq!(
        (answer.status, answer.find("Connection")),
        (408, Some("close"))
    );
    connection.assert_closed();
    wait_until("nothing is left", || no_partials(&dir));
    assert_eq!(read(&dir, "a"), None);
}

#[test]
fn curl_stores_and_fetches_a_large_file() {
    if !crate::support::has_tool("curl", "curl_stores_and_fetches_a_large_file") {
        return;
    }
    let (dir, server) = site("put-curl", &[]);
    let content: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let source = TestDir::new("put-curl-source");
    source.write("large file.bin", &content);
    let url = format!("http://{}/sub/", server.address());
    let curl = |arguments: &[&str]| {
        let output = std::process::Command::new("curl")
            .args(["-sS", "-m", "20", "-w", "%{http_code}"])
            .args(arguments)
            .finish();
        String::from_utf8(output.stdout).unwrap()
    };
    let file = source.join("large file.bin");
    assert_eq!(curl(&["-T", file.to_str().unwrap(), &url]), "201");
    let mut stored = Vec::new();
    std::fs::File::open(dir.join("sub/large file.bin"))
        .unwrap()
        .read_to_end(&mut stored)
        .unwrap();
    assert!(stored == content, "another content was stored");
    // From standard input, hence in chunks.
    let from_stdin = std::process::Command::new("curl")
        .args(["-sS", "-T", "-", &format!("{url}stdin")])
        .finish_with_input(&content);
    assert!(from_stdin.status.success());
    assert!(
        std::fs::read(dir.join("sub/stdin")).unwrap() == content,
        "another content was stored from chunks"
    );
}
