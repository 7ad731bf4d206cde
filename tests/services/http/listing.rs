//! `serve http`: listings in their forms, streamed when they are long.

use std::process::Command;

use crate::http::raw::{Answer, Connection, ask, get, request};
use crate::support::{BoundedCommand, PATIENCE, TestDir, TestServer, has_tool, python};

/// More than a listing has that is sent at once.
const MANY: usize = 10_000;

fn many_entries(name: &str) -> TestDir {
    let dir = TestDir::new(name);
    for number in 0..MANY {
        std::fs::write(dir.join(&entry(number)), "").unwrap();
    }
    dir
}

/// A name so long that no socket's buffer holds a listing of many.
fn entry(number: usize) -> String {
    format!("file {number} {}.txt", "long ".repeat(40))
}

fn rows(answer: &Answer) -> usize {
    answer.text().matches("<tr><td>").count()
}

#[test]
fn a_long_listing_is_streamed_and_the_connection_goes_on() {
    let dir = many_entries("listing-long");
    dir.write("sub/page.txt", "page");
    let server = TestServer::start(&["http", dir.as_str()]);
    let mut connection = Connection::open(&server);
    // The next request comes before the answer is whole.
    connection.send(
        [
            request("GET", "/", &[]),
            request("GET", "/sub/page.txt", &[]),
        ]
        .concat(),
    );
    let listing = connection.receive();
    assert_eq!(
        (
            listing.status,
            listing.find("Content-Length"),
            rows(&listing)
        ),
        (200, None, MANY + 1)
    );
    assert!(listing.text().ends_with("</html>\n"));
    assert_eq!(connection.receive().text(), "page");
    for target in ["/?sort=date", "/?sort=size&order=desc", "/?filter=file"] {
        let listing = connection.ask("GET", target, &[]);
        assert_eq!(
            rows(&listing),
            MANY + usize::from(!target.contains("filter")),
            "{target}"
        );
    }
    assert_eq!(rows(&connection.ask("GET", "/?filter=file%20123", &[])), 11);
    let short = connection.ask("GET", "/sub/", &[]);
    assert_eq!(
        (short.field("Content-Length"), rows(&short)),
        (&*short.body.len().to_string(), 2)
    );
}

#[test]
fn the_beginning_of_a_long_listing_is_sent_before_the_rest_is_looked_at() {
    let dir = many_entries("listing-first");
    let server = TestServer::start(&["http", dir.as_str(), "--max-threads", "1"]);
    let mut connection = Connection::open(&server);
    connection.send(request("GET", "/", &[]));
    assert_eq!(connection.receive_head().status, 200);
    // While the client doesn't read, the only thread serves others, and what isn't looked at yet
    // can still vanish. Each of them takes a turn of that thread, and the listing takes those
    // between.
    for _ in 0..5 {
        assert_eq!(get(&server, "/missing").status, 404);
    }
    for number in 0..MANY {
        std::fs::remove_file(dir.join(&entry(number))).unwrap();
    }
    let received = String::from_utf8(connection.chunks()).unwrap();
    let shown = received.matches("<tr><td>").count();
    assert!(shown > 0 && shown < MANY, "{shown} rows");
    assert!(received.ends_with("</html>\n"));
}

#[test]
fn a_head_is_that_of_the_get_in_every_form() {
    let dir = many_entries("listing-head");
    dir.write("short/a.txt", "");
    let server = TestServer::start(&["http", dir.as_str()]);
    for target in [
        "/",
        "/?json",
        "/short/",
        "/short/?json",
        "/short/?sort=size",
    ] {
        for fields in [&[][..], &["User-Agent: curl/8.0"]] {
            let whole = ask(&server, "GET", target, fields).without_date();
            let head = ask(&server, "HEAD", target, fields).without_date();
            assert_eq!(
                (head.status, &head.fields),
                (whole.status, &whole.fields),
                "{target}"
            );
            assert!(!whole.body.is_empty());
        }
    }
    let mut connection = Connection::open(&server);
    connection.send(
        [
            request("HEAD", "/", &[]),
            request("GET", "/short/a.txt", &[]),
        ]
        .concat(),
    );
    assert_eq!(
        connection.receive_head().field("Transfer-Encoding"),
        "chunked"
    );
    assert_eq!(connection.receive().status, 200);
}

#[test]
fn http_1_0_gets_a_long_listing_without_chunks_and_an_end() {
    let dir = many_entries("listing-1.0");
    let server = TestServer::start(&["http", dir.as_str()]);
    let answer = server.exchange(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("\r\nConnection: close") && !head.contains("chunked"),
        "{head}"
    );
    assert!(body.starts_with("<!DOCTYPE html>") && body.ends_with("</html>\n"));
    assert_eq!(body.matches("<tr><td>").count(), MANY);
}

#[test]
fn the_form_depends_on_who_asks_and_how() {
    let dir = TestDir::new("listing-forms");
    dir.write("file.txt", "");
    dir.write("folder/x", "");
    let server = TestServer::start(&["http", dir.as_str()]);
    const HTML: &str = "text/html; charset=utf-8";
    const JSON: &str = "application/json; charset=utf-8";
    const TEXT: &str = "text/plain; charset=utf-8";
    for (target, fields, expected) in [
        ("/", &[][..], HTML),
        (
            "/",
            &[
                "User-Agent: Mozilla/5.0",
                "Accept: text/html,application/xml;q=0.9,*/*;q=0.8",
            ],
            HTML,
        ),
        ("/", &["User-Agent: curl/8.5.0", "Accept: */*"], TEXT),
        ("/", &["User-Agent: curl/8.5.0", "Accept: text/html"], HTML),
        ("/", &["User-Agent: Wget/1.21", "Accept: */*"], HTML),
        ("/", &["Accept: text/plain"], TEXT),
        ("/", &["Accept: text/plain;q=0"], HTML),
        ("/", &["Accept: text/html, text/plain"], HTML),
        ("/?json", &["User-Agent: curl/8.5.0"], JSON),
        ("/?sort=size&json=1", &[], JSON),
    ] {
        let answer = ask(&server, "GET", target, fields);
        assert_eq!(
            (answer.status, answer.field("Content-Type")),
            (200, expected),
            "{target} {fields:?}"
        );
        assert_eq!(answer.field("Vary"), "Accept, User-Agent");
    }
    assert_eq!(
        ask(&server, "GET", "/", &["User-Agent: curl/8"]).text(),
        "folder/\nfile.txt\n"
    );
    assert!(
        get(&server, "/")
            .field("Content-Security-Policy")
            .starts_with("default-src 'none'")
    );
    if has_tool("curl", "the_form_depends_on_who_asks_and_how") {
        let limit = PATIENCE.as_secs().to_string();
        let url = format!("http://{}/", server.address());
        let output = Command::new("curl")
            .args(["--silent", "--max-time", &limit, &url])
            .finish();
        assert_eq!(output.stdout, b"folder/\nfile.txt\n");
    }
}

#[test]
fn python_reads_a_long_listing_s_json() {
    use std::os::unix::ffi::OsStrExt;
    const SCRIPT: &str = "
import json, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:
    listing = json.load(answer)
assert listing['path'] == '/', listing['path']
names = [entry['name'] for entry in listing['entries']]
assert all(entry['type'] == 'file' and entry['size'] == 0 for entry in listing['entries'])
print(len(names), ascii(sorted(names)[:3]))
";
    let dir = many_entries("listing-python");
    for name in [&b"\"<odd>"[..], b"!\xe2\x80\xa8", b"#\xff"] {
        std::fs::write(dir.join("").join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    }
    let server = TestServer::start(&["http", dir.as_str()]);
    let url = format!("http://{}/?json", server.address());
    if let Some(output) = python("python_reads_a_long_listing_s_json", SCRIPT, &[&url]) {
        assert_eq!(
            output,
            format!("{} ['!\\u2028', '\"<odd>', '#\\ufffd']\n", MANY + 3)
        );
    }
}

#[test]
fn hidden_files_and_listings_are_a_matter_of_options() {
    let dir = TestDir::new("listing-options");
    dir.write(".hidden.txt", "hidden");
    dir.write("shown.txt", "");
    dir.write("with/index.html", "index");
    dir.write("404.html", "ours");
    let names = |options: &[&str]| {
        let server = TestServer::start(&[&["http", dir.as_str()], options].concat());
        assert_eq!(
            get(&server, "/.hidden.txt").text(),
            "hidden",
            "it was asked for by name"
        );
        assert_eq!(get(&server, "/with/").text(), "index");
        let answer = ask(&server, "GET", "/", &["User-Agent: curl/8"]);
        (answer.status, answer.text().to_owned())
    };
    assert_eq!(names(&[]), (200, "with/\n404.html\nshown.txt\n".to_owned()));
    assert_eq!(
        names(&["--hidden"]),
        (200, "with/\n.hidden.txt\n404.html\nshown.txt\n".to_owned())
    );
    assert_eq!(names(&["--no-listing"]), (404, "ours".to_owned()));
    let server = TestServer::start(&["http", dir.as_str(), "--no-listing"]);
    for target in ["/?json", "/?archive=zip", "/?archive=tar.gz"] {
        assert_eq!(get(&server, target).status, 404, "{target}");
    }
}
