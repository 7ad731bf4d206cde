//! `serve http --upload` on a disk that is really full.

use std::fs;

use crate::http::forms::{FORM, form};
use crate::http::raw::{Answer, Connection, get, request};
use crate::http::tus::{created, head, offset, send};
use crate::http::upload::{no_partials, put};
use crate::support::TestServer;
use crate::upload::names_in;
use crate::upload_faults::SmallDisk;

/// More than the disk holds, even if much of a form might be no file.
const TOO_MUCH: usize = 6 << 20;

/// A server on a disk of 1 MiB; `None`, and a visible word, where mounting one isn't allowed.
fn site(test: &str) -> Option<(SmallDisk, TestServer)> {
    let disk = SmallDisk::mount(test)?;
    let server = TestServer::start(&["http", disk.0.as_str(), "--upload"]);
    Some((disk, server))
}

/// A request whose body's length shows only at its end.
fn send_chunked(
    server: &TestServer,
    method: &str,
    target: &str,
    fields: &[&str],
    body: &str,
) -> Answer {
    let mut connection = Connection::open(server);
    connection.send(request(
        method,
        target,
        &[fields, &["Transfer-Encoding: chunked"]].concat(),
    ));
    // The server may answer, and close, before all has come.
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let _ = std::io::Write::write_all(connection.stream(), chunk.as_bytes());
    connection.receive()
}

fn still_serves(server: &TestServer) {
    assert_eq!(put(server, "/small", &[], "x").status / 100, 2);
    assert_eq!(get(server, "/small").text(), "x");
}

#[test]
fn put_and_forms_leave_nothing_on_a_full_disk() {
    let Some((disk, server)) = site("http-full") else {
        return;
    };
    let body = "x".repeat(TOO_MUCH);
    let form = form(&[("first", "one"), ("second", &body)]);
    for (method, target, fields, body, kept) in [
        ("PUT", "/large", &[][..], &body, &[][..]),
        ("POST", "/", &[FORM], &form, &["first", "small"]),
    ] {
        let mut connection = Connection::open(&server);
        let length = format!("Content-Length: {}", body.len());
        connection.send(request(
            method,
            target,
            &[fields, &[&length, "Expect: 100-continue"]].concat(),
        ));
        assert_eq!(
            connection.receive().status,
            507,
            "{method}: before the body has come"
        );
        let refused = send_chunked(&server, method, target, fields, body);
        assert_eq!(refused.status, 507, "{method}: {}", refused.text());
        assert!(
            refused.text().contains("the disk is full"),
            "{}",
            refused.text()
        );
        assert_eq!(names_in(&disk.0), kept, "{method}");
        assert!(no_partials(&disk.0), "{method}");
        still_serves(&server);
    }
}

#[test]
fn what_a_full_disk_took_of_a_tus_upload_is_gone_on_with_when_there_is_room() {
    let Some((disk, server)) = site("http-full-tus") else {
        return;
    };
    assert_eq!(
        crate::http::tus::create(
            &server,
            "/",
            &[crate::http::tus::A_TXT, "Upload-Length: 2097152"]
        )
        .status,
        507
    );
    let body = "0123456789".repeat(70_000);
    let location = created(&server, body.len());
    let filler = disk.0.join("filler");
    fs::write(&filler, vec![0; 600_000]).unwrap();
    let refused = send(&server, &location, 0, &[], &body);
    assert_eq!(
        (refused.status, refused.field("Tus-Resumable")),
        (507, "1.0.0")
    );
    assert_eq!(names_in(&disk.0), ["filler"]);
    let there = offset(&server, &location).unwrap();
    assert!(there < body.len(), "{there}");
    fs::remove_file(&filler).unwrap();
    still_serves(&server);
    assert_eq!(
        send(&server, &location, there, &[], &body[there..]).status,
        204
    );
    assert_eq!(head(&server, &location).field("Content-Location"), "/a.txt");
    assert!(fs::read_to_string(disk.0.join("a.txt")).unwrap() == body);
}
