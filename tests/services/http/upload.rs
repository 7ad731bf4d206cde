//! `serve http --upload`: PUT, and what holds for every change.

use crate::http::raw::{Answer, Connection, ask, get, refused, request};
use crate::support::{TestDir, TestServer, run, wait_until};

/// Of `abc`.
const SHA_256_OF_ABC: &str = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";

pub(crate) fn site(test: &str, options: &[&str]) -> (TestDir, TestServer) {
    let dir = TestDir::new(test);
    let server =
        TestServer::start(&[&["http", dir.as_str(), "--upload", "--no-fsync"], options].concat());
    (dir, server)
}

/// A PUT of this content, on a connection of its own.
pub(crate) fn put(
    server: &TestServer,
    target: &str,
    fields: &[&str],
    content: impl AsRef<[u8]>,
) -> Answer {
    let mut connection = Connection::open(server);
    connection.send(put_request(target, fields, content));
    connection.receive()
}

pub(crate) fn put_request(target: &str, fields: &[&str], content: impl AsRef<[u8]>) -> Vec<u8> {
    let length = format!("Content-Length: {}", content.as_ref().len());
    [
        &request("PUT", target, &[fields, &[&length]].concat()),
        content.as_ref(),
    ]
    .concat()
}

pub(crate) fn read(dir: &TestDir, name: &str) -> Option<String> {
    std::fs::read_to_string(dir.join(name)).ok()
}

/// Nothing of an upload lies in the hidden folder.
pub(crate) fn no_partials(dir: &TestDir) -> bool {
    std::fs::read_dir(dir.join(".socketserver-partial")).map_or(true, |entries| {
        // The ledger of the folder's quota stays there.
        let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
        entries
            .flatten()
            .map(name)
            .all(|name| name.starts_with("ledger.db"))
    })
}

#[test]
fn a_file_is_stored_served_and_replaced_at_once() {
    let (dir, server) = site("put", &[]);
    let mut connection = Connection::open(&server);
    connection.send(put_request("/new%20folder/a.txt", &[], "one"));
    let stored = connection.receive();
    assert_eq!(
        (stored.status, stored.field("Location")),
        (201, "/new%20folder/a.txt")
    );
    assert_eq!(read(&dir, "new folder/a.txt").as_deref(), Some("one"));
    let served = connection.ask("GET", "/new%20folder/a.txt", &[]);
    assert_eq!(
        (served.text(), served.field("ETag")),
        ("one", stored.field("ETag"))
    );
    for number in 0..20 {
        let content = format!("content {number}");
        connection.send(put_request("/new%20folder/a.txt", &[], &content));
        let replaced = connection.receive();
        assert_eq!((replaced.status, replaced.find("Location")), (204, None));
        // From the cache, which noticed.
        let served = connection.ask("GET", "/new%20folder/a.txt", &[]);
        assert_eq!(
            (served.text(), served.field("ETag")),
            (&*content, replaced.field("ETag"))
        );
    }
    assert!(no_partials(&dir));
}

#[test]
fn the_page_of_a_folder_is_replaced_at_once() {
    let (_dir, server) = site("put-index", &[]);
    for content in ["one", "two"] {
        assert!(put(&server, "/index.html", &[], content).status < 300);
        assert_eq!(get(&server, "/").text(), content);
    }
}

#[test]
fn chunks_empty_files_and_pipelined_requests_are_stored() {
    let (dir, server) = site("put-chunked", &[]);
    let mut connection = Connection::open(&server);
    let chunked = request("PUT", "/chunked", &["Transfer-Encoding: chunked"]);
    let all = [
        &chunked,
        &b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n"[..],
        &put_request("/empty", &[], ""),
    ]
    .concat();
    connection.send(&all);
    for _ in 0..2 {
        assert_eq!(connection.receive().status, 201);
    }
    // However the bytes are cut.
    for byte in &all {
        connection.send([*byte]);
    }
    for _ in 0..2 {
        assert_eq!(connection.receive().status, 204);
    }
    assert_eq!(read(&dir, "chunked").as_deref(), Some("abcde"));
    assert_eq!(read(&dir, "empty").as_deref(), Some(""));
}

#[test]
fn malformed_chunks_and_cut_bodies_leave_nothing() {
    let (dir, server) = site("put-cut", &[]);
    let chunked = request("PUT", "/a", &["Transfer-Encoding: chunked"]);
    assert_eq!(
        refused(&server, [&chunked[..], b"3\r\nabcX\r\n0\r\n\r\n"].concat()).status,
        400
    );
    for cut in [
        [&chunked[..], b"3\r\nabc\r\n"].concat(),
        [&request("PUT", "/a", &["Content-Length: 9"])[..], b"abc"].concat(),
    ] {
        let mut connection = Connection::open(&server);
        connection.send(cut);
        connection
            .stream()
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        assert_eq!(connection.receive().status, 400);
        connection.assert_closed();
    }
    assert_eq!(read(&dir, "a"), None);
    wait_until("nothing is left", || no_partials(&dir));
}

#[test]
fn a_refused_upload_costs_no_body() {
    let (dir, server) = site(
        "put-refused",
        &[
            "--max-size",
            "100",
            "--on-duplicate",
            "error",
            "--quota",
            "150",
        ],
    );
    dir.write("taken", "1");
    dir.write("folder/x", "");
    dir.write("80", [0; 80]);
    for (target, fields, status) in [
        ("/a", &["Content-Length: 101"][..], 413),
        ("/a", &["Content-Length: 18446744073709551615"], 413),
        ("/taken", &["Content-Length: 1"], 409),
        ("/taken/a", &["Content-Length: 1"], 409),
        ("/a", &["Content-Length: 99"], 507),
        ("/taken", &["Content-Length: 1", "If-None-Match: *"], 412),
        ("/a", &["Content-Length: 1", "If-Match: *"], 412),
        ("/taken", &["Content-Length: 1", "If-Match: \"x\""], 412),
        (
            "/a",
            &["Content-Length: 1", "Content-Range: bytes 0-0/1"],
            400,
        ),
        ("/a", &["Content-Length: 1", "Content-Encoding: gzip"], 415),
        (
            "/a",
            &["Content-Length: 1", "Repr-Digest: sha-256=abc"],
            400,
        ),
        (
            "/a",
            &["Content-Length: 1", "Content-Digest: sha-256=:AAAA:"],
            400,
        ),
        ("/.socketserver-partial/a", &["Content-Length: 1"], 403),
        ("/folder/.Socketserver-Partial", &["Content-Length: 1"], 403),
        ("/%ff", &["Content-Length: 1"], 403),
        ("/../a", &["Content-Length: 1"], 400),
        ("/folder", &["Content-Length: 1"], 405),
        ("/new/", &["Content-Length: 1"], 405),
        ("/", &["Content-Length: 1"], 405),
        ("/a", &[], 411),
    ] {
        // The body is waited for by whoever is asked for it, and nobody is.
        let awaited = [fields, &["Expect: 100-continue"]].concat();
        let answer = refused_or_bodiless(&server, target, &awaited);
        assert_eq!(
            answer.status,
            status,
            "{target} {fields:?}: {}",
            answer.text()
        );
        assert!(answer.text().ends_with(".\n"), "{}", answer.text());
    }
    assert!(no_partials(&dir));
}

/// The answer before any body was sent; the connection ends unless there is no body to come.
fn refused_or_bodiless(server: &TestServer, target: &str, fields: &[&str]) -> Answer {
    let mut connection = Connection::open(server);
    connection.send(request("PUT", target, fields));
    let answer = connection.receive();
    if fields
        .iter()
        .any(|field| field.starts_with("Content-Length"))
    {
        assert_eq!(answer.find("Connection"), Some("close"));
        connection.assert_closed();
    }
    answer
}

#[test]
fn a_short_refused_body_is_dropped_and_a_long_one_ends_the_connection() {
    let (_dir, server) = site("put-dropped", &["--max-size", "10"]);
    let mut connection = Connection::open(&server);
    connection.send(put_request("/a", &[], [b'x'; 1000]));
    assert_eq!(connection.receive().status, 413);
    connection.send(put_request("/a", &[], "fits"));
    assert_eq!(connection.receive().status, 201);
    // The client sends all of it before it reads, and reads the answer nevertheless.
    connection.send(put_request("/a", &[], vec![b'x'; 1 << 20]));
    let answer = connection.receive();
    assert_eq!(
        (answer.status, answer.find("Connection")),
        (413, Some("close"))
    );
    connection.assert_closed();
    // Of chunks, it shows on the way.
    let mut connection = Connection::open(&server);
    connection.send(
        [
            &request("PUT", "/a", &["Transfer-Encoding: chunked"])[..],
            b"b\r\nhello world\r\n0\r\n\r\n",
        ]
        .concat(),
    );
    assert_eq!(connection.receive().status, 413);
    assert_eq!(connection.ask("GET", "/a", &[]).text(), "fits");
}

#[test]
fn the_body_is_asked_for_once_it_will_be_taken() {
    let (dir, server) = site("put-continue", &[]);
    let mut connection = Connection::open(&server);
    connection.send(request(
        "PUT",
        "/a",
        &["Content-Length: 3", "Expect: 100-continue"],
    ));
    assert_eq!(connection.receive_head().status, 100);
    connection.send("abc");
    assert_eq!(connection.receive().status, 201);
    assert_eq!(read(&dir, "a").as_deref(), Some("abc"));
}

#[test]
fn digests_are_verified() {
    let (dir, server) = site("put-digest", &[]);
    for name in ["Content-Digest", "Repr-Digest"] {
        let field = format!("{name}: md5=:AAAA:, {SHA_256_OF_ABC}");
        assert!(put(&server, "/a", &[&field], "abc").status < 300);
        let refused = put(&server, "/a", &[&field], "abd");
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains("SHA-256"), "{}", refused.text());
        assert_eq!(read(&dir, "a").as_deref(), Some("abc"));
    }
    let other = SHA_256_OF_ABC.replace("ung", "unf");
    let contradiction = [
        format!("Content-Digest: {SHA_256_OF_ABC}"),
        format!("Repr-Digest: {other}"),
    ];
    assert_eq!(
        put(
            &server,
            "/b",
            &[&contradiction[0], &contradiction[1]],
            "abc"
        )
        .status,
        400
    );
    assert_eq!(read(&dir, "b"), None);
    assert!(no_partials(&dir));
}

#[test]
fn conditions_are_looked_at_before_the_body_and_after_it() {
    let (dir, server) = site("put-conditions", &[]);
    let mut slow = Connection::open(&server);
    slow.send(request(
        "PUT",
        "/a",
        &["Content-Length: 3", "If-None-Match: *"],
    ));
    let first = put(&server, "/a", &["If-None-Match: *"], "one");
    assert_eq!(first.status, 201);
    slow.send("two");
    assert_eq!(slow.receive().status, 412);
    let current = format!("If-Match: {}", first.field("ETag"));
    let mut slow = Connection::open(&server);
    slow.send(request("PUT", "/a", &["Content-Length: 5", &current]));
    assert_eq!(put(&server, "/a", &[&current], "three").status, 204);
    slow.send("fours");
    assert_eq!(slow.receive().status, 412);
    assert_eq!(read(&dir, "a").as_deref(), Some("three"));
    assert!(no_partials(&dir));
}

#[test]
fn of_many_who_saw_the_same_file_one_may_replace_it() {
    let dir = TestDir::new("put-race");
    let server = TestServer::start(&["http", dir.as_str(), "--upload"]);
    for round in 0..10 {
        let seen = format!(
            "If-Match: {}",
            put(&server, "/a", &[], format!("round {round}")).field("ETag")
        );
        let mut connections: Vec<_> = (0..6).map(|_| Connection::open(&server)).collect();
        // Enough for the way to the disk to take its time.
        for connection in &mut connections {
            connection.send(
                put_request("/a", &[&seen], vec![b'x'; 200_000])
                    .split_last()
                    .unwrap()
                    .1,
            );
        }
        connections
            .iter_mut()
            .for_each(|connection| connection.send("x"));
        let mut answers: Vec<_> = connections
            .iter_mut()
            .map(|connection| connection.receive().status)
            .collect();
        answers.sort_unstable();
        assert_eq!(answers, [204, 412, 412, 412, 412, 412], "round {round}");
    }
}

#[test]
fn two_at_once_do_not_hinder_each_other() {
    let (dir, server) = site("put-twice", &[]);
    let mut connections = [Connection::open(&server), Connection::open(&server)];
    for (connection, begin) in connections.iter_mut().zip(["one", "two"]) {
        connection.send(request("PUT", "/a", &["Content-Length: 6"]));
        connection.send(begin);
    }
    for (connection, status) in connections.iter_mut().zip([201, 204]) {
        connection.send("...");
        assert_eq!(connection.receive().status, status);
    }
    assert_eq!(read(&dir, "a").as_deref(), Some("two..."));
}

#[test]
fn without_the_option_nothing_can_be_changed() {
    let dir = TestDir::new("put-off");
    dir.write("a", "1");
    dir.write(".socketserver-partial/b.part", "2");
    let server = TestServer::start(&["http", dir.as_str(), "--hidden"]);
    for method in ["PUT", "DELETE", "POST", "PATCH"] {
        let answer = ask(&server, method, "/a", &["Content-Length: 0"]);
        assert_eq!(
            (answer.status, answer.field("Allow")),
            (405, "GET, HEAD, OPTIONS")
        );
    }
    for method in ["MKCOL", "MOVE"] {
        assert_eq!(ask(&server, method, "/b", &["Destination: /c"]).status, 501);
    }
    assert_eq!(read(&dir, "a").as_deref(), Some("1"));
    for (option, value) in [("--max-size", "1"), ("--on-duplicate", "rename")] {
        assert_eq!(
            run(&["serve", "http", dir.as_str(), option, value]).0,
            Some(2),
            "{option}"
        );
    }
}

#[test]
fn the_folder_of_partial_uploads_is_out_of_reach() {
    let (dir, server) = site("put-hidden", &["--hidden"]);
    dir.write(".socketserver-partial/b.part", "2");
    dir.write("a", "1");
    for target in [
        "/.socketserver-partial/b.part",
        "/.socketserver-partial/",
        "/.SOCKETSERVER-PARTIAL/b.part",
    ] {
        assert_eq!(get(&server, target).status, 404, "{target}");
        for method in ["DELETE", "MKCOL", "MOVE"] {
            assert_eq!(
                ask(&server, method, target, &["Destination: /c"]).status,
                403,
                "{method} {target}"
            );
        }
        assert_eq!(
            ask(&server, "MOVE", "/a", &[&format!("Destination: {target}")]).status,
            403,
            "{target}"
        );
    }
    let listing = get(&server, "/?json");
    assert!(
        listing.text().contains("\"a\"") && !listing.text().contains("partial"),
        "{}",
        listing.text()
    );
    assert!(dir.join(".socketserver-partial/b.part").exists());
}
