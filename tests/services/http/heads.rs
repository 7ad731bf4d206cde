//! `serve http`: what is refused, how long a connection lasts, and that it doesn't matter in which
//! pieces a request comes.

use std::io::Write;

use crate::http::raw::{Answer, Connection, ask, refused, request};
use crate::support::{TestDir, TestServer};

fn hello(test: &str) -> (TestDir, TestServer) {
    let dir = TestDir::new(test);
    dir.write("index.html", "<p>hello");
    let server = TestServer::start(&["http", dir.as_str()]);
    (dir, server)
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let (_dir, server) = hello("smuggled");
    for (fault, bytes) in [
        (
            "both framings",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\
             \r\n0\r\n\r\n",
        ),
        (
            "both, the other way",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "two lengths",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "a list of lengths",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 0\r\n\r\n",
        ),
        (
            "a signed length",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n",
        ),
        (
            "chunked in 1.0",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "chunked not last",
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n"),
        ("a bad host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ("a bare LF", "GET / HTTP/1.1\nHost: h\n\n"),
        (
            "a bare LF behind a field",
            "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
        ),
        ("a bare CR", "GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n"),
        (
            "obs-fold",
            "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
        ),
        (
            "a fold with a tab",
            "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tc\r\n\r\n",
        ),
        (
            "space before the first field",
            "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        ),
        ("space before a colon", "GET / HTTP/1.1\r\nHost : h\r\n\r\n"),
        ("no colon", "GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n"),
        ("no name", "GET / HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n"),
        (
            "NUL in a value",
            "GET / HTTP/1.1\r\nHost: h\r\nA: \0\r\n\r\n",
        ),
        (
            "a control byte in a value",
            "GET / HTTP/1.1\r\nHost: h\r\nA: \x07\r\n\r\n",
        ),
        (
            "DEL in a value",
            "GET / HTTP/1.1\r\nHost: h\r\nA: \x7f\r\n\r\n",
        ),
        (
            "a control byte in a name",
            "GET / HTTP/1.1\r\nHost: h\r\nA\x01: b\r\n\r\n",
        ),
        (
            "a control byte in the target",
            "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        ("a fragment", "GET /#a HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("a tab", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("no version", "GET /\r\n\r\n"),
        ("a small version", "GET / http/1.1\r\nHost: h\r\n\r\n"),
        (
            "a target without a slash",
            "GET index.html HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        ("garbage", "\x16\x03\x01\x02\0\x01\0"),
    ] {
        // What stands behind would be answered too, if the connection went on.
        let bytes = [bytes.as_bytes(), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        assert_eq!(refused(&server, bytes).status, 400, "{fault}");
    }
}

#[test]
fn what_is_too_long_or_unknown_is_told_by_its_own_status() {
    let (_dir, server) = hello("too-long");
    let with_field = |field: String| format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
    for (status, bytes) in [
        (
            414,
            format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(9000)),
        ),
        (414, format!("GET /{}", "a".repeat(100_000))),
        (431, with_field(format!("A: {}", "b".repeat(20_000)))),
        (431, with_field("A: b\r\n".repeat(200) + "A: b")),
        (
            501,
            format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "A".repeat(100)),
        ),
        (
            501,
            with_field("Transfer-Encoding: gzip, chunked".to_owned()),
        ),
        (505, "GET / HTTP/2.0\r\nHost: h\r\n\r\n".to_owned()),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ] {
        assert_eq!(refused(&server, &bytes).status, status, "{:.60}", bytes);
    }
    assert_eq!(
        ask(&server, "GET", "/", &[&format!("A: {}", "b".repeat(8000))]).status,
        200
    );
}

#[test]
fn methods_that_a_file_has_not_are_told_which_it_has() {
    let (_dir, server) = hello("methods");
    let mut connection = Connection::open(&server);
    for method in ["PUT", "POST", "DELETE", "PATCH", "TRACE"] {
        let answer = connection.ask(method, "/", &[]);
        assert_eq!(
            (answer.status, answer.field("Allow")),
            (405, "GET, HEAD, OPTIONS"),
            "{method}"
        );
    }
    for target in ["/", "*", "/missing"] {
        let answer = connection.ask("OPTIONS", target, &[]);
        assert_eq!(
            (answer.status, answer.field("Allow")),
            (204, "GET, HEAD, OPTIONS"),
            "{target}"
        );
        assert_eq!(answer.find("Content-Length"), None, "RFC 9110 §8.6");
    }
    for method in ["BREW", "get", "GETS"] {
        assert_eq!(connection.ask(method, "/", &[]).status, 501, "{method}");
    }
    assert_eq!(
        connection.ask("GET", "/", &[]).text(),
        "<p>hello",
        "the connection has gone on"
    );
}

#[test]
fn a_body_that_nobody_wants_is_not_taken_for_a_request() {
    let (_dir, server) = hello("body");
    let inner = "GET /inner HTTP/1.1\r\nHost: h\r\n\r\n";
    for method in ["POST", "GET"] {
        let mut connection = Connection::open(&server);
        let head = request(method, "/", &[&format!("Content-Length: {}", inner.len())]);
        connection.send([&head, inner.as_bytes(), &request("GET", "/", &[])].concat());
        assert_eq!(
            connection.receive().status,
            if method == "POST" { 405 } else { 200 }
        );
        assert_eq!(connection.receive().text(), "<p>hello", "{method}");
    }
    let chunked = request("GET", "/", &["Transfer-Encoding: chunked"]);
    let mut connection = Connection::open(&server);
    connection.send(
        [
            &chunked[..],
            b"5\r\nGET /\r\n0\r\nTrailer: x\r\n\r\n",
            &request("HEAD", "/", &[]),
        ]
        .concat(),
    );
    assert_eq!(connection.receive().text(), "<p>hello");
    assert_eq!(connection.receive_head().status, 200);
    for malformed in [
        "x\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "-1\r\n",
        "0\r\nno colon\r\n\r\n",
    ] {
        assert_eq!(
            refused(&server, [&chunked[..], malformed.as_bytes()].concat()).status,
            400,
            "{malformed}"
        );
    }
    // Too long to be dropped: the connection ends, but not by a reset that would destroy the
    // answer.
    let long = [
        request("PUT", "/", &["Content-Length: 1000000"]),
        vec![b'x'; 1_000_000],
    ]
    .concat();
    assert_eq!(refused(&server, long).status, 405);
}

#[test]
fn a_connection_lasts_as_long_as_its_version_and_fields_say() {
    let (_dir, server) = hello("lasts");
    for (head, told, stays) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n", None, true),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n",
            None,
            true,
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n",
            Some("close"),
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: a, CLOSE ,b\r\n",
            Some("close"),
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: close\r\n",
            Some("close"),
            false,
        ),
        ("GET / HTTP/1.0\r\n", Some("close"), false),
        (
            "GET / HTTP/1.0\r\nConnection: close\r\n",
            Some("close"),
            false,
        ),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n",
            Some("keep-alive"),
            true,
        ),
        (
            "GET /missing HTTP/1.0\r\nConnection: keep-alive\r\n",
            Some("keep-alive"),
            true,
        ),
        ("GET / HTTP/1.2\r\nHost: h\r\n", None, true),
    ] {
        let mut connection = Connection::open(&server);
        connection.send(format!("{head}\r\n"));
        assert_eq!(connection.receive().find("Connection"), told, "{head:?}");
        if stays {
            assert_eq!(
                connection.ask("GET", "/", &[]).text(),
                "<p>hello",
                "{head:?}"
            );
        } else {
            connection.assert_closed();
        }
    }
}

#[test]
fn a_client_that_ends_its_half_gets_its_answers() {
    let (_dir, server) = hello("half");
    let mut connection = Connection::open(&server);
    connection.send([request("GET", "/", &[]), request("GET", "/", &[])].concat());
    connection
        .stream()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    assert_eq!(connection.receive().text(), "<p>hello");
    assert_eq!(connection.receive().text(), "<p>hello");
    connection.assert_closed();
}

/// Requests of every kind that leave the connection open, with whether the answer has a body.
fn mixed() -> Vec<(Vec<u8>, bool)> {
    vec![
        (request("GET", "/", &[]), true),
        (request("HEAD", "/", &[]), false),
        (request("GET", "/sub?a=b", &[]), true),
        (
            request("GET", "/large", &["Range: bytes=99990-", "A: b"]),
            true,
        ),
        (request("OPTIONS", "*", &[]), true),
        (request("GET", "/large", &[]), true),
        (request("GET", "/%2e%2e", &[]), true),
        (
            [
                &request("POST", "/", &["Content-Length: 12"])[..],
                b"GET / HTTP/1",
            ]
            .concat(),
            true,
        ),
        (request("GET", "/", &["If-None-Match: *"]), true),
        (
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec(),
            true,
        ),
    ]
}

fn with_large_file(test: &str) -> (TestDir, TestServer) {
    let (dir, server) = hello(test);
    dir.write("sub/file", "");
    dir.write(
        "large",
        (0..100_000u32).map(|n| n as u8).collect::<Vec<_>>(),
    );
    (dir, server)
}

fn receive(connection: &mut Connection, has_body: bool) -> Answer {
    let answer = if has_body {
        connection.receive()
    } else {
        connection.receive_head()
    };
    answer.without_date()
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let (_dir, server) = with_large_file("pipelined");
    let requests = [mixed(), mixed()].concat();
    let one_by_one: Vec<_> = requests
        .iter()
        .map(|(request, has_body)| {
            let mut connection = Connection::open(&server);
            connection.send(request);
            receive(&mut connection, *has_body)
        })
        .collect();
    assert_eq!(
        one_by_one
            .iter()
            .map(|answer| answer.status)
            .take(10)
            .collect::<Vec<_>>(),
        [200, 200, 301, 206, 204, 200, 400, 405, 304, 200]
    );
    let mut connection = Connection::open(&server);
    connection.send(
        requests
            .iter()
            .map(|(request, _)| &request[..])
            .collect::<Vec<_>>()
            .concat(),
    );
    for ((request, has_body), expected) in requests.iter().zip(&one_by_one) {
        assert_eq!(
            &receive(&mut connection, *has_body),
            expected,
            "{}",
            request.escape_ascii()
        );
    }
}

#[test]
fn a_request_cut_at_any_byte_is_answered_like_a_whole_one() {
    let (_dir, server) = with_large_file("cut");
    let refused = [
        &b"GET / HTTP/1.1\r\nHost : h\r\n\r\n"[..],
        b"GET / HTTP/3.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for (request, has_body) in mixed()
        .into_iter()
        .chain(refused.map(|request| (request.to_vec(), true)))
    {
        let mut whole = Connection::open(&server);
        whole.send(&request);
        let expected = receive(&mut whole, has_body);
        let mut cut: Vec<_> = (1..request.len())
            .map(|at| (at, Connection::open(&server)))
            .collect();
        for (at, connection) in &mut cut {
            connection.send(&request[..*at]);
        }
        // Once this is answered, the server has long seen what was sent before it.
        assert_eq!(ask(&server, "GET", "/", &[]).status, 200);
        for (at, connection) in &mut cut {
            // Of a request that is refused by its first half, the server may have had enough.
            let _ = connection.stream().write_all(&request[*at..]);
            assert_eq!(
                receive(connection, has_body),
                expected,
                "{} cut at {at}",
                request.escape_ascii()
            );
        }
        let mut dripped = Connection::open(&server);
        for byte in &request {
            let _ = dripped.stream().write_all(&[*byte]);
        }
        assert_eq!(
            receive(&mut dripped, has_body),
            expected,
            "{} byte by byte",
            request.escape_ascii()
        );
    }
}
