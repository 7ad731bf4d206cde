//! A process that stands still for longer than its deadlines: SIGSTOP, a paused container, a
//! suspended machine. What its clients sent meanwhile is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{TestDir, TestServer};

/// The deadlines, and how long the process stands still.
const DEADLINE: &str = "3s";
const STANDSTILL: Duration = Duration::from_secs(5);

/// Stops the server; `meanwhile` happens while it stands still.
fn freeze(server: &TestServer, meanwhile: impl FnOnce()) {
    server.signal("STOP");
    meanwhile();
    std::thread::sleep(STANDSTILL);
    server.signal("CONT");
}

fn server(arguments: &[&str]) -> TestServer {
    let deadlines = [
        "--head-timeout",
        DEADLINE,
        "--idle-timeout",
        DEADLINE,
        "--read-timeout",
        DEADLINE,
    ];
    TestServer::start(&[arguments, &deadlines].concat())
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_head_that_was_completed_while_the_process_stood_still_is_answered() {
    let dir = TestDir::new("frozen-head");
    dir.write("a.txt", "content");
    let server = server(&["http", dir.as_str()]);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        client
            .write_all(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n")
            .unwrap();
    }
    server.wait_until_read(clients.len());
    freeze(&server, || {
        for client in &mut clients {
            client.write_all(b"Connection: close\r\n\r\n").unwrap();
        }
    });
    for client in clients {
        let answer = answer(client);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn an_idle_connection_whose_request_came_meanwhile_is_served() {
    let server = server(&["echo"]);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    server.wait_until_read(clients.len());
    freeze(&server, || {
        for client in &mut clients {
            client.write_all(b"hello").unwrap();
        }
    });
    for client in &mut clients {
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }
}

#[test]
fn an_upload_whose_bytes_came_meanwhile_is_stored() {
    let dir = TestDir::new("frozen-upload");
    let server = server(&["upload", dir.as_str(), "--min-rate", "1000000"]);
    let header = br#"{"file_size": 20000, "file_name": "a.bin"}"#;
    let mut client = server.connect();
    client
        .write_all(&(header.len() as u32).to_le_bytes())
        .unwrap();
    client.write_all(header).unwrap();
    client.write_all(&[b'x'; 10_000]).unwrap();
    server.wait_until_read(1);
    freeze(&server, || client.write_all(&[b'x'; 10_000]).unwrap());
    let mut back = [0; 4];
    client.read_exact(&mut back).unwrap();
    let mut back = vec![0; u32::from_le_bytes(back) as usize];
    client.read_exact(&mut back).unwrap();
    assert!(String::from_utf8_lossy(&back).contains("ok"));
    assert_eq!(std::fs::read(dir.join("a.bin")).unwrap().len(), 20_000);
}
