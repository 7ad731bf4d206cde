//! `serve http --upload`: tus 1.0.0 when something goes wrong on the way.

use std::cell::Cell;

use base64_simd::STANDARD;

use crate::http::raw::{Connection, ask, get, request};
use crate::http::tus::{PIECE, TUS, create, created, head, offset, part, send};
use crate::http::upload::{read, site};
use crate::support::{TestServer, wait_until};

/// Of `hello`.
pub(crate) const SHA_1: &str = "Upload-Checksum: sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=";
const SHA_256: &str = "Upload-Checksum: sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
const MD_5: &str = "Upload-Checksum: md5 XUFAKrxLKna5cZ2REBfFkg==";

/// Begins a piece of which so much comes for now, as soon as nobody else holds the upload.
fn begin(
    server: &TestServer,
    target: &str,
    offset: usize,
    fields: &[&str],
    content: &str,
) -> Connection {
    let offset = format!("Upload-Offset: {offset}");
    let fields = [&[TUS, PIECE, &offset, "Expect: 100-continue"], fields].concat();
    let begun = Cell::new(None);
    wait_until("nobody else holds the upload", || {
        let mut connection = Connection::open(server);
        connection.send(request("PATCH", target, &fields));
        let status = connection.receive_head().status;
        assert!(matches!(status, 100 | 423), "{status}");
        begun.set((status == 100).then_some(connection));
        status == 100
    });
    let mut connection = begun.into_inner().unwrap();
    connection.send(content);
    connection
}

#[test]
fn what_came_before_a_cut_is_kept() {
    let (dir, server) = site("tus-cut", &[]);
    let location = created(&server, 10);
    for (there, cut) in [(0, "he"), (2, "l")] {
        let connection = begin(&server, &location, there, &["Content-Length: 8"], cut);
        wait_until("it has come", || {
            offset(&server, &location) == Some(there + cut.len())
        });
        drop(connection);
    }
    let mut connection = begin(&server, &location, 3, &["Content-Length: 7"], "loworld");
    assert_eq!(connection.receive().status, 204);
    assert_eq!(read(&dir, "a.txt").as_deref(), Some("helloworld"));
}

#[test]
fn what_came_before_the_server_was_killed_is_kept() {
    let (dir, mut server) = site("tus-kill", &[]);
    let [unbegun, cut] = [created(&server, 10), created(&server, 10)];
    let _connection = begin(&server, &cut, 0, &["Content-Length: 10"], "hello");
    wait_until("it has come", || offset(&server, &cut) == Some(5));
    server.signal("KILL");
    server.wait();
    let server = TestServer::start(&["http", dir.as_str(), "--upload"]);
    assert_eq!(
        (offset(&server, &unbegun), offset(&server, &cut)),
        (Some(0), Some(5))
    );
    let last = send(&server, &cut, 5, &[], "world");
    assert_eq!(
        (last.status, last.field("Content-Location")),
        (204, "/a.txt")
    );
    assert_eq!(read(&dir, "a.txt").as_deref(), Some("helloworld"));
    // That it is complete outlives the server as well.
    drop(server);
    let server = TestServer::start(&["http", dir.as_str(), "--upload"]);
    assert_eq!(offset(&server, &cut), Some(10));
}

#[test]
fn an_upload_of_which_all_had_come_is_published_for_whoever_asks() {
    let (dir, mut server) = site("tus-full", &[]);
    let location = created(&server, 5);
    // Its last byte is there, the end of the request isn't.
    let _connection = begin(
        &server,
        &location,
        0,
        &["Transfer-Encoding: chunked"],
        "5\r\nhello\r\n",
    );
    wait_until("it has come", || part(&dir).as_deref() == Some("hello"));
    assert_eq!(head(&server, &location).status, 423);
    server.signal("KILL");
    server.wait();
    let server = TestServer::start(&["http", dir.as_str(), "--upload"]);
    let head = head(&server, &location);
    assert_eq!(
        (head.field("Upload-Offset"), head.field("Content-Location")),
        ("5", "/a.txt")
    );
    assert_eq!(get(&server, "/a.txt").text(), "hello");
}

#[test]
fn of_two_who_send_at_once_the_second_is_locked_out() {
    let (dir, server) = site("tus-locked", &[]);
    let location = created(&server, 5);
    let mut first = begin(&server, &location, 0, &["Content-Length: 5"], "he");
    wait_until("it has come", || offset(&server, &location) == Some(2));
    assert_eq!(send(&server, &location, 2, &[], "XXX").status, 423);
    assert_eq!(ask(&server, "DELETE", &location, &[TUS]).status, 423);
    first.send("llo");
    assert_eq!(first.receive().status, 204);
    assert_eq!(read(&dir, "a.txt").as_deref(), Some("hello"));
}

#[test]
fn a_piece_with_another_checksum_is_dropped() {
    let (dir, server) = site("tus-checksum", &[]);
    let location = created(&server, 10);
    for checksum in [SHA_1, SHA_256, MD_5] {
        let wrong = send(&server, &location, 0, &[checksum], "hellO");
        assert_eq!(
            (wrong.status, offset(&server, &location)),
            (460, Some(0)),
            "{checksum}"
        );
    }
    assert_eq!(
        send(&server, &location, 0, &[SHA_1], "hello").field("Upload-Offset"),
        "5"
    );
    assert_eq!(send(&server, &location, 5, &[SHA_1], "world").status, 460);
    for unknown in ["crc32 AAAAAA==", "sha1 AAAA", "sha1"] {
        let answer = send(
            &server,
            &location,
            5,
            &[&format!("Upload-Checksum: {unknown}")],
            "hello",
        );
        assert_eq!(
            (answer.status, offset(&server, &location)),
            (400, Some(5)),
            "{unknown}"
        );
    }
    assert_eq!(
        send(&server, &location, 5, &[SHA_256], "hello").field("Content-Location"),
        "/a.txt"
    );
    assert_eq!(read(&dir, "a.txt").as_deref(), Some("hellohello"));
}

#[test]
fn a_piece_whose_checksum_was_not_compared_is_lost_with_the_connection_and_the_server() {
    let (dir, mut server) = site("tus-checksum-cut", &[]);
    let location = created(&server, 10);
    assert_eq!(send(&server, &location, 0, &[SHA_1], "hello").status, 204);
    let begin = |server: &TestServer| {
        let connection = begin(server, &location, 5, &["Content-Length: 5", SHA_1], "hel");
        wait_until("it has come", || part(&dir).as_deref() == Some("hellohel"));
        assert_eq!(offset(server, &location), Some(5));
        connection
    };
    let connection = begin(&server);
    drop(connection);
    wait_until("it is lost", || part(&dir).as_deref() == Some("hello"));
    let _connection = begin(&server);
    server.signal("KILL");
    server.wait();
    let server = TestServer::start(&["http", dir.as_str(), "--upload"]);
    assert_eq!(offset(&server, &location), Some(5));
    assert_eq!(send(&server, &location, 5, &[SHA_1], "hello").status, 204);
    assert_eq!(read(&dir, "a.txt").as_deref(), Some("hellohello"));
}

#[test]
fn a_name_that_was_taken_meanwhile_is_not_replaced() {
    let (dir, server) = site("tus-race", &[]);
    let location = created(&server, 1);
    dir.write("a.txt", "other");
    assert_eq!(send(&server, &location, 0, &[], "1").status, 409);
    assert_eq!(
        (read(&dir, "a.txt").as_deref(), offset(&server, &location)),
        (Some("other"), None)
    );
}

#[test]
fn uploads_that_pause_hold_no_thread() {
    let (dir, server) = site("tus-parked", &["--threads", "1", "--max-threads", "1"]);
    let pause = |number: usize| {
        let name = STANDARD.encode_to_string(number.to_string());
        let created = create(
            &server,
            "/",
            &[
                &format!("Upload-Metadata: filename {name}"),
                "Upload-Length: 5",
            ],
        );
        begin(
            &server,
            created.field("Location"),
            0,
            &["Content-Length: 5"],
            "he",
        )
    };
    let mut paused: Vec<Connection> = (0..50).map(pause).collect();
    assert_eq!(get(&server, "/").status, 200);
    for (number, connection) in paused.iter_mut().enumerate() {
        connection.send("llo");
        assert_eq!(connection.receive().status, 204);
        assert_eq!(read(&dir, &number.to_string()).as_deref(), Some("hello"));
    }
}
