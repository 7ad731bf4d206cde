//! `serve http --access-log`: what is logged of a request, and when.

use std::io::Read;
use std::net::Shutdown;

use crate::http::raw::{Connection, request};
use crate::support::{TestDir, TestServer};

const HUGE: u64 = 64 << 20;

fn site(test: &str) -> (TestDir, TestServer) {
    let dir = TestDir::new(test);
    dir.write("small", "12345");
    dir.write("folder/a", "x".repeat(100_000));
    std::fs::File::create(dir.join("huge"))
        .unwrap()
        .set_len(HUGE)
        .unwrap();
    let server = TestServer::start(&["http", dir.as_str(), "--access-log", "-"]);
    (dir, server)
}

/// The number of bytes in the record of this request, once that is written.
fn logged_bytes(server: &TestServer, request_line: &str) -> u64 {
    let wanted = format!("\"{request_line}\" ");
    let line = server.wait_for_log(&wanted);
    let behind = line.split(&wanted).nth(1).unwrap();
    behind.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_request_is_logged_with_the_bytes_that_were_really_sent() {
    let (_dir, server) = site("log-cut");
    for (line, is_pipelined) in [
        ("GET /huge?1 HTTP/1.1", false),
        ("GET /huge?2 HTTP/1.1", true),
    ] {
        let mut connection = Connection::open(&server);
        let target = line.split(' ').nth(1).unwrap();
        let small = request("GET", "/small", &[]);
        let huge = request("GET", target, &[]);
        if is_pipelined {
            connection.send([small, huge].concat());
            assert_eq!(connection.receive().text(), "12345");
        } else {
            connection.send(huge);
        }
        let mut part = vec![0; 1 << 20];
        connection.stream().read_exact(&mut part).unwrap();
        connection.stream().shutdown(Shutdown::Both).unwrap();
        drop(connection);
        let bytes = logged_bytes(&server, line);
        assert!((1 << 20..HUGE).contains(&bytes), "{bytes} bytes are logged");
    }
}

#[test]
fn a_whole_answer_is_logged_at_once_and_with_its_length() {
    let (_dir, server) = site("log-whole");
    let mut connection = Connection::open(&server);
    for (method, target, length) in [
        ("GET", "/small", 5),
        ("HEAD", "/small?1", 0),
        ("GET", "/folder/a", 100_000),
        ("GET", "/huge", HUGE),
        ("POST", "/small?2", 0),
    ] {
        let answer = connection.ask(method, target, &[]);
        let length = if method == "POST" {
            answer.body.len() as u64
        } else {
            length
        };
        // The connection stays open meanwhile.
        let line = format!("{method} {target} HTTP/1.1");
        assert_eq!(logged_bytes(&server, &line), length, "{line}");
    }
    // Pieces whose number nobody knows in advance are counted as they are sent.
    assert_eq!(
        connection.ask("GET", "/folder/?archive=zip", &[]).status,
        200
    );
    assert!(logged_bytes(&server, "GET /folder/?archive=zip HTTP/1.1") > 100);
}
