//! `serve http`: which file answers a request, and what is said of it.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::http::raw::{Connection, ask, get, request};
use crate::support::{BoundedCommand, PATIENCE, TestDir, TestServer, wait_until};

#[test]
fn a_folder_answers_with_its_index_and_without_a_slash_leads_to_itself() {
    let dir = TestDir::new("index");
    dir.write("index.html", "<p>top");
    dir.write("sub dir/index.html", "<p>below");
    let server = TestServer::start(&["http", dir.as_str()]);
    for target in [
        "/",
        "/index.html",
        "/?query",
        "/./",
        "//",
        "/sub%20dir/..",
        "http://other/",
    ] {
        let answer = get(&server, target);
        assert_eq!((answer.status, answer.text()), (200, "<p>top"), "{target}");
    }
    assert_eq!(get(&server, "/sub%20dir/").text(), "<p>below");
    for (target, location) in [
        ("/sub%20dir", "/sub%20dir/"),
        ("/sub%20dir?a=1&b=%20", "/sub%20dir/?a=1&b=%20"),
        ("//sub%20dir?", "/sub%20dir/?"),
    ] {
        let answer = get(&server, target);
        assert_eq!(
            (answer.status, answer.field("Location")),
            (301, location),
            "{target}"
        );
    }
    assert_eq!(
        get(&server, "/index.html/").status,
        404,
        "a file is no folder"
    );
}

#[test]
fn the_root_s_own_page_tells_what_is_not_there() {
    let dir = TestDir::new("not-found");
    let server = TestServer::start(&["http", dir.as_str()]);
    let plain = get(&server, "/missing");
    assert_eq!(plain.status, 404);
    assert!(plain.text().contains("404 Not Found"), "{}", plain.text());
    dir.write("404.html", "<p>ours");
    for target in ["/missing", "/a/b/c", "/missing/?q", "/404.html/"] {
        let answer = get(&server, target);
        assert_eq!((answer.status, answer.text()), (404, "<p>ours"), "{target}");
        assert_eq!(answer.field("Content-Type"), "text/html; charset=utf-8");
        assert_eq!(
            (answer.find("ETag"), answer.find("Last-Modified")),
            (None, None),
            "a validator of another file"
        );
    }
    assert_eq!(
        ask(&server, "GET", "/missing", &["Range: bytes=0-1"]).status,
        404
    );
    assert_eq!(get(&server, "/404.html").status, 200);
}

#[test]
fn a_file_is_described_by_its_head() {
    let dir = TestDir::new("described");
    let server = TestServer::start(&["http", dir.as_str()]);
    let modified = UNIX_EPOCH + Duration::from_millis(1_681_923_870_250);
    for (name, content_type) in [
        ("a.html", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.json", "application/json; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.svg", "image/svg+xml; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.wasm", "application/wasm"),
        ("a", "application/octet-stream"),
    ] {
        dir.write(name, name);
        File::options()
            .write(true)
            .open(dir.join(name))
            .unwrap()
            .set_modified(modified)
            .unwrap();
        let answer = get(&server, &format!("/{name}"));
        assert_eq!((answer.status, answer.text()), (200, name));
        assert_eq!(answer.field("Content-Type"), content_type);
        assert_eq!(
            answer.field("Last-Modified"),
            "Wed, 19 Apr 2023 17:04:30 GMT"
        );
        assert_eq!(answer.field("Accept-Ranges"), "bytes");
        let tag = answer.field("ETag");
        assert!(
            tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'),
            "no strong tag: {tag}"
        );
        let date = answer.field("Date");
        assert!(
            date.len() == 29 && date.ends_with(" GMT"),
            "no date: {date}"
        );
    }
}

#[test]
fn a_head_is_that_of_the_get_without_its_body() {
    let dir = TestDir::new("head");
    dir.write("small.txt", "small");
    dir.write("large", vec![1; 200_000]);
    dir.write("sub/file", "");
    let server = TestServer::start(&["http", dir.as_str()]);
    for target in ["/small.txt", "/large", "/", "/sub", "/missing", "/%00"] {
        let (whole, head) = (
            get(&server, target).without_date(),
            ask(&server, "HEAD", target, &[]).without_date(),
        );
        assert_eq!(
            (head.status, &head.fields),
            (whole.status, &whole.fields),
            "{target}"
        );
        assert!(!whole.body.is_empty(), "{target}");
    }
    // A second response would begin within a body that came by mistake.
    let mut connection = Connection::open(&server);
    connection.send(
        [
            request("HEAD", "/large", &[]),
            request("GET", "/small.txt", &[]),
        ]
        .concat(),
    );
    assert_eq!(connection.receive_head().field("Content-Length"), "200000");
    assert_eq!(connection.receive().text(), "small");
}

#[test]
fn empty_files_and_files_of_the_past_and_the_future_are_served_like_others() {
    let dir = TestDir::new("empty");
    dir.write("empty.txt", "");
    dir.write("old.txt", "old");
    let before_1970 = UNIX_EPOCH - Duration::from_secs(86_400);
    dir.write("future.txt", "future");
    let in_10_years = SystemTime::now() + Duration::from_secs(10 * 365 * 86_400);
    for (name, modified) in [("old.txt", before_1970), ("future.txt", in_10_years)] {
        File::options()
            .write(true)
            .open(dir.join(name))
            .unwrap()
            .set_modified(modified)
            .unwrap();
    }
    let server = TestServer::start(&["http", dir.as_str()]);
    let empty = get(&server, "/empty.txt");
    assert_eq!(
        (empty.status, empty.field("Content-Length"), empty.text()),
        (200, "0", "")
    );
    assert_eq!(
        ask(&server, "GET", "/empty.txt", &["Range: bytes=0-"]).status,
        200
    );
    let old = get(&server, "/old.txt");
    assert_eq!(
        (old.status, old.text(), old.field("Last-Modified")),
        (200, "old", "Thu, 01 Jan 1970 00:00:00 GMT")
    );
    let future = get(&server, "/future.txt");
    let told = httpdate::parse_http_date(future.field("Last-Modified")).unwrap();
    assert!(
        told <= SystemTime::now(),
        "modified in the future (RFC 9110 §8.8.2.1)"
    );
    assert_eq!(get(&server, "/").status, 200, "the listing");
}

#[test]
fn a_changed_file_is_seen_within_a_second() {
    let dir = TestDir::new("changed");
    dir.write("page.html", "first");
    dir.write("next", "second");
    let server = TestServer::start(&["http", dir.as_str()]);
    let tag = get(&server, "/page.html").field("ETag").to_owned();
    let seen = |what: &str, expected: (u16, &str)| {
        let begun = Instant::now();
        loop {
            let asked = begun.elapsed();
            let answer = get(&server, "/page.html");
            if answer.status == expected.0 && answer.text().contains(expected.1) {
                return answer;
            }
            assert!(
                asked < Duration::from_secs(1),
                "{what}: still {} {}",
                answer.status,
                answer.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    std::fs::rename(dir.join("next"), dir.join("page.html")).unwrap();
    assert_ne!(seen("renamed over", (200, "second")).field("ETag"), tag);
    dir.write("page.html", "third!");
    seen("written over", (200, "third!"));
    dir.write("page.html", vec![b'4'; 100_000]);
    seen("grown", (200, &"4".repeat(100_000)));
    std::fs::remove_file(dir.join("page.html")).unwrap();
    seen("removed", (404, "Not Found"));
    dir.write("page.html", "fifth");
    seen("back again", (200, "fifth"));
    std::fs::remove_file(dir.join("page.html")).unwrap();
    std::fs::create_dir(dir.join("page.html")).unwrap();
    seen("a folder now", (301, "/page.html/"));
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection() {
    let dir = TestDir::new("shrinks");
    let length = 64 << 20;
    File::create(dir.join("large"))
        .unwrap()
        .set_len(length)
        .unwrap();
    let server = TestServer::start(&["http", dir.as_str()]);
    let mut connection = Connection::open(&server);
    connection.send([request("GET", "/large", &[]), request("GET", "/", &[])].concat());
    assert_eq!(
        connection.receive_head().field("Content-Length"),
        length.to_string()
    );
    File::options()
        .write(true)
        .open(dir.join("large"))
        .unwrap()
        .set_len(100)
        .unwrap();
    let rest = connection.rest();
    assert!(
        (rest.len() as u64) < length,
        "the file was sent before it shrank"
    );
    assert!(
        rest.iter().all(|byte| *byte == 0),
        "something else within the body"
    );
    wait_until("a cached length is looked at again", || {
        ask(&server, "HEAD", "/large", &[]).field("Content-Length") == "100"
    });
    assert_eq!(get(&server, "/large").body.len(), 100);
}

#[test]
fn lengths_and_ranges_behind_4_gib_are_right() {
    let dir = TestDir::new("huge");
    let length: u64 = (4 << 30) + 1000;
    let mut file = File::create(dir.join("huge")).unwrap();
    file.set_len(length).unwrap();
    file.seek(SeekFrom::End(-3)).unwrap();
    file.write_all(b"end").unwrap();
    let server = TestServer::start(&["http", dir.as_str()]);
    assert_eq!(
        ask(&server, "HEAD", "/huge", &[]).field("Content-Length"),
        length.to_string()
    );
    for range in [
        format!("Range: bytes={}-", length - 5),
        "Range: bytes=-5".to_owned(),
    ] {
        let answer = ask(&server, "GET", "/huge", &[&range]);
        assert_eq!(
            (answer.status, &answer.body[..]),
            (206, &b"\0\0end"[..]),
            "{range}"
        );
        assert_eq!(
            answer.field("Content-Range"),
            format!("bytes {}-{}/{length}", length - 5, length - 1)
        );
    }
    let many = ask(
        &server,
        "GET",
        "/huge",
        &[&format!("Range: bytes={}-", length - 300_000)],
    );
    assert!(many.body.len() == 300_000 && many.body.ends_with(b"\0end"));
}

#[test]
fn what_the_server_may_not_read_is_forbidden() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let dir = TestDir::new("forbidden");
    dir.write("readable.txt", "readable");
    dir.write("secret.txt", "secret");
    dir.write("closed/file", "");
    for name in ["secret.txt", "closed"] {
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    // Root may read everything: then the server runs as somebody else, if that one reaches the
    // binary.
    let is_root = File::open(dir.join("secret.txt")).is_ok();
    let binary = || std::process::Command::new(env!("CARGO_BIN_EXE_socketserver"));
    if is_root && !binary().arg("--version").uid(NOBODY).succeeds() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED what_the_server_may_not_read_is_forbidden: root may read everything, and \
             nobody can't run the binary"
        );
        return;
    }
    let server = TestServer::start_with(&["http", dir.as_str()], 1, |command| {
        if is_root {
            command.uid(NOBODY)
        } else {
            command
        }
    });
    for target in ["/secret.txt", "/closed/", "/closed/file"] {
        let answer = get(&server, target);
        assert_eq!(answer.status, 403, "{target}");
        assert!(
            !answer.text().contains(dir.as_str()),
            "the path on disk is told"
        );
    }
    assert_eq!(get(&server, "/readable.txt").text(), "readable");
    std::fs::set_permissions(dir.join("closed"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(get(&server, "/closed/").status, 200);
}

#[test]
fn a_date_is_today_s() {
    let dir = TestDir::new("date");
    let server = TestServer::start(&["http", dir.as_str()]);
    let answer = get(&server, "/");
    let told = httpdate::parse_http_date(answer.field("Date")).unwrap();
    let off = SystemTime::now().duration_since(told).unwrap();
    assert!(off < PATIENCE, "{off:?} off");
}
