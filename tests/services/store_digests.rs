//! Digests of large files: other clients are served meanwhile, and a digest that no client waits
//! for is not computed.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::http::raw::{Connection, get, request};
use crate::support::{TestDir, TestServer};
use crate::upload::{answer, frame, header, send, word};

/// Size of a sparse file. To digest it takes minutes with a debug build.
const LARGE: u64 = 8 << 30;

fn large_file(dir: &TestDir) {
    File::create(dir.join("large"))
        .unwrap()
        .set_len(LARGE)
        .unwrap();
}

/// Shuts a server down: all its connections must end in time by themselves.
fn ends_at_once(mut server: TestServer) {
    server.signal("TERM");
    let (code, time) = server.wait();
    assert_eq!(code, Some(0), "no connection was aborted");
    assert!(time < Duration::from_secs(9), "it took {time:?}");
}

#[test]
fn clients_that_resume_a_large_file_hold_up_no_other_client_and_may_hang_up() {
    let dir = TestDir::new("resume-large");
    large_file(&dir);
    let arguments = ["upload", dir.as_str(), "--on-duplicate", "overwrite"];
    let server =
        TestServer::start(&[&arguments[..], &["--threads", "1", "--max-threads", "1"]].concat());
    let resume = json!({
        "file_name": "large", "file_size": LARGE, "md5": "0".repeat(32), "resume": true
    });
    let ask = || {
        let mut connection = server.connect();
        connection.write_all(&frame(&resume)).unwrap();
        connection
    };
    let waiting: Vec<_> = (0..50).map(|_| ask()).collect();
    for number in 0..5 {
        let name = number.to_string();
        assert_eq!(word(&send(&server, &header(&name, b"abc"), b"abc")), "ok");
    }
    for connection in &waiting {
        connection.set_nonblocking(true).unwrap();
        let peeked = connection.peek(&mut [0]).unwrap_err();
        assert_eq!(
            peeked.kind(),
            std::io::ErrorKind::WouldBlock,
            "it is still being digested"
        );
    }
    drop(waiting);
    ends_at_once(server);
}

#[test]
fn a_large_part_is_digested_in_turns_before_its_upload_goes_on() {
    let dir = TestDir::new("resume-part");
    let server = TestServer::start(&[
        "upload",
        dir.as_str(),
        "--threads",
        "1",
        "--max-threads",
        "1",
    ]);
    let body = vec![7; 20 << 20];
    let announced = header("a", &body);
    let mut cut = server.connect();
    cut.write_all(&frame(&announced)).unwrap();
    let half = body.len() / 2;
    cut.write_all(&body[..half]).unwrap();
    crate::support::wait_until("half of it is there", || {
        crate::upload::partial_bytes(&dir) == half as u64
    });
    drop(cut);
    let (mut connection, found) = crate::upload::resume_when_free(&server, &announced);
    assert_eq!(found, json!({"status": "continue", "offset": half}));
    connection.write_all(&body[half..]).unwrap();
    assert_eq!(word(&answer(&connection)), "ok");
}

#[test]
fn the_digest_for_a_client_that_hangs_up_is_not_computed() {
    let dir = TestDir::new("hash-large");
    large_file(&dir);
    dir.write("small", "abc");
    let arguments = ["http", dir.as_str(), "--threads", "1", "--max-threads", "1"];
    let server = TestServer::start(&arguments);
    let ask = |fields: &[&str], target: &str| {
        let mut connection = Connection::open(&server);
        connection.send(request("GET", target, fields));
        connection
    };
    let mut waiting: Vec<_> = (0..50).map(|_| ask(&[], "/large?hash=md5")).collect();
    let first = waiting[0].receive_head();
    assert_eq!(first.status, 200);
    // The head of this answer waits for its digest.
    waiting.extend((0..50).map(|_| ask(&["Want-Repr-Digest: sha-256=9"], "/large")));
    assert_eq!(get(&server, "/small").text(), "abc");
    drop(waiting);
    assert_eq!(get(&server, "/small").text(), "abc");
    ends_at_once(server);
}
