//! `serve http`: one file in several codings.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, UNIX_EPOCH};

use crate::http::ranges::DIGITS;
use crate::http::raw::{Answer, Connection, ask, get, request};
use crate::support::{TestDir, TestServer, wait_until};

const BR: &str = "Accept-Encoding: br";
const GZIP: &str = "Accept-Encoding: gzip";
const ZSTD: &str = "Accept-Encoding: zstd";
const BROWSER: &str = "Accept-Encoding: gzip, deflate, br, zstd";

/// What a client makes of an answer.
fn decoded(answer: &Answer) -> Vec<u8> {
    match answer.find("Content-Encoding") {
        None => answer.body.clone(),
        Some("gzip") => read_all(flate2::read::GzDecoder::new(&answer.body[..])),
        Some("br") => read_all(brotli::Decompressor::new(&answer.body[..], 4096)),
        Some("zstd") => zstd::bulk::decompress(&answer.body, 16 << 20).unwrap(),
        Some(other) => panic!("{other} wasn't asked for"),
    }
}

fn read_all(mut reader: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    all
}

/// Bytes as random as they must be, and always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Sets when a file was modified, in seconds after some moment.
fn set_modified(dir: &TestDir, name: &str, seconds: u64) {
    let time = UNIX_EPOCH + Duration::from_secs(1_681_923_870 + seconds);
    File::options()
        .write(true)
        .open(dir.join(name))
        .unwrap()
        .set_modified(time)
        .unwrap();
}

/// A text that becomes shorter, of so many bytes.
fn text(length: usize) -> String {
    (0..)
        .map(|line| format!("line {line} of a text that repeats itself\n"))
        .flat_map(String::into_bytes)
        .take(length)
        .map(char::from)
        .collect()
}

#[test]
fn a_form_beside_a_file_is_sent_to_whom_accepts_its_coding() {
    let dir = TestDir::new("beside");
    for (name, content) in [
        ("app.js", "plain"),
        ("app.js.br", "brotli"),
        ("app.js.zst", "zstandard"),
        ("app.js.gz", "gzipped!"),
        ("only.css", "plain css"),
        ("only.css.gz", "gz"),
        ("data.bin", "plain data"),
        ("data.bin.gz", "gz data"),
    ] {
        dir.write(name, content);
    }
    let server = TestServer::start(&["http", dir.as_str()]);
    let mut tags = Vec::new();
    for (accepted, coding, body) in [
        ("br", Some("br"), "brotli"),
        ("zstd", Some("zstd"), "zstandard"),
        ("gzip", Some("gzip"), "gzipped!"),
        ("identity", None, "plain"),
    ] {
        let answer = ask(
            &server,
            "GET",
            "/app.js",
            &[&format!("Accept-Encoding: {accepted}")],
        );
        assert_eq!(
            (
                answer.status,
                answer.find("Content-Encoding"),
                answer.text()
            ),
            (200, coding, body),
            "{accepted}"
        );
        assert_eq!(
            answer.field("Content-Type"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(answer.field("Vary"), "Accept-Encoding");
        assert_eq!(
            answer.find("Accept-Ranges").is_none(),
            coding.is_some(),
            "ranges are those of the plain form"
        );
        let tag = answer.field("ETag").to_owned();
        assert!(
            tag.starts_with('"') && !tags.contains(&tag),
            "{tag} is a strong tag of its own"
        );
        tags.push(tag);
    }
    for (accepted, body) in [
        ("gzip, deflate, br, zstd", "brotli"),
        ("gzip;q=1, br;q=0.5", "gzipped!"),
        ("*", "brotli"),
        ("br;q=0, *", "zstandard"),
        ("deflate", "plain"),
        ("identity, br;q=0.9", "plain"),
        ("identity;q=0, deflate", "plain"),
        ("", "plain"),
    ] {
        assert_eq!(
            ask(
                &server,
                "GET",
                "/app.js",
                &[&format!("Accept-Encoding: {accepted}")]
            )
            .text(),
            body,
            "{accepted}"
        );
    }
    assert_eq!(
        ask(&server, "GET", "/only.css", &[BROWSER]).text(),
        "gz",
        "the only form there is"
    );
    assert_eq!(
        ask(
            &server,
            "GET",
            "/app.js",
            &["Accept-Encoding: deflate", GZIP]
        )
        .text(),
        "gzipped!",
        "in two lines"
    );
    let data = ask(&server, "GET", "/data.bin", &[GZIP]);
    assert_eq!(
        (data.text(), data.field("Content-Type")),
        ("gz data", "application/octet-stream")
    );
    assert_eq!(get(&server, "/data.bin").field("Vary"), "Accept-Encoding");
    assert_eq!(get(&server, "/app.js").text(), "plain");
    let archive = ask(&server, "GET", "/app.js.gz", &[GZIP]);
    assert_eq!(
        (
            archive.find("Content-Encoding"),
            archive.field("Content-Type")
        ),
        (None, "application/gzip")
    );
}

#[test]
fn a_coded_form_has_conditions_of_its_own_and_no_ranges() {
    let dir = TestDir::new("coded-conditions");
    dir.write("a.txt", DIGITS);
    dir.write("a.txt.br", "coded");
    let server = TestServer::start(&["http", dir.as_str()]);
    let (plain, coded) = (get(&server, "/a.txt"), ask(&server, "GET", "/a.txt", &[BR]));
    let if_none_match = |answer: &Answer| format!("If-None-Match: {}", answer.field("ETag"));
    let unchanged = ask(&server, "GET", "/a.txt", &[BR, &if_none_match(&coded)]);
    assert_eq!(
        (unchanged.status, unchanged.field("ETag")),
        (304, coded.field("ETag"))
    );
    assert_eq!(unchanged.field("Vary"), "Accept-Encoding");
    assert_eq!(
        ask(&server, "GET", "/a.txt", &[&if_none_match(&plain)]).status,
        304
    );
    assert_eq!(
        ask(&server, "GET", "/a.txt", &[BR, &if_none_match(&plain)]).text(),
        "coded",
        "another form's tag"
    );
    assert_eq!(
        ask(&server, "GET", "/a.txt", &[&if_none_match(&coded)]).text(),
        DIGITS,
        "another form's tag"
    );
    let head = ask(&server, "HEAD", "/a.txt", &[BR]).without_date();
    assert_eq!(head.fields, coded.clone().without_date().fields);

    let range = ask(&server, "GET", "/a.txt", &[BR, "Range: bytes=2-4"]);
    assert_eq!(
        (range.status, range.text(), range.find("Content-Encoding")),
        (206, "234", None)
    );
    assert_eq!(range.field("ETag"), plain.field("ETag"));
    let resumed = format!("If-Range: {}", coded.field("ETag"));
    let resumed = ask(
        &server,
        "GET",
        "/a.txt",
        &[BR, "Range: bytes=2-4", &resumed],
    );
    assert_eq!(
        (resumed.status, resumed.text()),
        (200, DIGITS),
        "a part of another form is no part of this one"
    );
}

#[test]
fn a_form_beside_counts_only_while_it_is_not_older_than_its_file() {
    let dir = TestDir::new("older");
    dir.write("a.txt", "plain");
    dir.write("a.txt.br", "coded");
    set_modified(&dir, "a.txt", 10);
    set_modified(&dir, "a.txt.br", 9);
    let server = TestServer::start(&["http", dir.as_str()]);
    let is = |expected: &str| ask(&server, "GET", "/a.txt", &[BR]).text() == expected;
    assert!(is("plain"), "it is older");
    set_modified(&dir, "a.txt.br", 10);
    wait_until("it is as old", || is("coded"));
    dir.write("a.txt.br", "another");
    wait_until("it was made again", || is("another"));
    std::fs::remove_file(dir.join("a.txt.br")).unwrap();
    wait_until("it is gone", || is("plain"));
    dir.write("a.txt.br", "third");
    wait_until("it is back", || is("third"));
    dir.write("a.txt", "changed");
    set_modified(&dir, "a.txt.br", 0);
    wait_until("its file was changed", || is("changed"));
}

#[test]
fn text_is_compressed_for_whom_accepts_it_and_decodes_to_the_same() {
    let dir = TestDir::new("on-the-fly");
    let page = text(100 * 1024);
    dir.write("page.html", &page);
    dir.write("small.txt", text(2000));
    let server = TestServer::start(&["http", dir.as_str()]);
    let plain = get(&server, "/page.html");
    assert_eq!(
        (
            plain.text(),
            plain.field("Vary"),
            plain.find("Content-Encoding")
        ),
        (&*page, "Accept-Encoding", None)
    );
    let mut tags = vec![plain.field("ETag").to_owned()];
    for (coding, accept) in [("br", BR), ("zstd", ZSTD), ("gzip", GZIP)] {
        for _ in 0..3 {
            let answer = ask(&server, "GET", "/page.html", &[accept]);
            assert_eq!(answer.field("Content-Encoding"), coding);
            assert!(
                answer.body.len() < page.len() / 4,
                "{coding}: {} bytes",
                answer.body.len()
            );
            assert!(decoded(&answer) == page.as_bytes(), "{coding}");
            assert_eq!(answer.field("Last-Modified"), plain.field("Last-Modified"));
            let tag = format!("If-None-Match: {}", answer.field("ETag"));
            assert_eq!(
                ask(&server, "GET", "/page.html", &[accept, &tag]).status,
                304
            );
            tags.push(answer.field("ETag").to_owned());
        }
        assert_eq!(
            decoded(&ask(&server, "GET", "/small.txt", &[accept])),
            text(2000).as_bytes()
        );
    }
    tags.dedup();
    assert_eq!(tags.len(), 4, "a tag for each form: {tags:?}");
    let range = ask(&server, "GET", "/page.html", &[BROWSER, "Range: bytes=0-9"]);
    assert_eq!(
        (range.status, range.text(), range.find("Content-Encoding")),
        (206, &page[..10], None)
    );
    dir.write("page.html", text(50_000));
    wait_until("the changed page is compressed anew", || {
        decoded(&ask(&server, "GET", "/page.html", &[BR])) == text(50_000).as_bytes()
    });
}

#[test]
fn what_gains_nothing_is_not_compressed() {
    let dir = TestDir::new("not-compressed");
    dir.write("short.txt", text(1023));
    dir.write("picture.png", text(10_000));
    dir.write("stream", text(10_000));
    dir.write("long.txt", text((4 << 20) + 1));
    dir.write("noise.txt", noise(10_000));
    dir.write("page.txt", text(10_000));
    let server = TestServer::start(&["http", dir.as_str()]);
    for name in [
        "short.txt",
        "picture.png",
        "stream",
        "long.txt",
        "noise.txt",
    ] {
        for _ in 0..2 {
            let answer = ask(&server, "GET", &format!("/{name}"), &[BROWSER]);
            assert_eq!(
                (answer.status, answer.find("Content-Encoding")),
                (200, None),
                "{name}"
            );
            assert_eq!(
                answer.body,
                std::fs::read(dir.join(name)).unwrap(),
                "{name}"
            );
        }
    }
    assert_eq!(get(&server, "/picture.png").find("Vary"), None);
    let server = TestServer::start(&["http", dir.as_str(), "--compress", "off"]);
    assert_eq!(
        ask(&server, "GET", "/page.txt", &[BROWSER]).find("Content-Encoding"),
        None
    );
    dir.write("page.txt.gz", "beside");
    wait_until("what stands beside is sent nevertheless", || {
        ask(&server, "GET", "/page.txt", &[BROWSER]).text() == "beside"
    });
}

#[test]
fn while_a_page_is_being_compressed_others_get_it_as_it_is() {
    let dir = TestDir::new("meanwhile");
    let page = text(4 << 20);
    dir.write("page.html", &page);
    let server = TestServer::start(&["http", dir.as_str()]);
    // The first one starts the work, and the others come before it can be done.
    let mut clients: Vec<_> = (0..12).map(|_| Connection::open(&server)).collect();
    clients
        .iter_mut()
        .for_each(|client| client.send(request("GET", "/page.html", &[BR])));
    let answers: Vec<_> = clients.iter_mut().map(Connection::receive).collect();
    assert!(
        answers
            .iter()
            .all(|answer| decoded(answer) == page.as_bytes())
    );
    let coded = answers
        .iter()
        .filter(|answer| answer.find("Content-Encoding").is_some())
        .count();
    assert!(
        (1..12).contains(&coded),
        "{coded} of 12 waited for the compressed form"
    );
    assert_eq!(
        ask(&server, "GET", "/page.html", &[BR]).field("Content-Encoding"),
        "br"
    );
}

#[test]
fn many_compressed_pages_stay_within_the_memory_of_the_cache() {
    let dir = TestDir::new("compressed-memory");
    // Letters of 6 bits each: a coding makes them shorter by a quarter, and 36 MiB of coded forms
    // are twice what the cache may hold.
    let letters: Vec<u8> = noise(1 << 20).iter().map(|byte| b'0' + byte % 64).collect();
    for number in 0..16 {
        dir.write(&format!("{number}.txt"), &letters);
    }
    let server = TestServer::start(&["http", dir.as_str()]);
    let mut connection = Connection::open(&server);
    for number in 0..16 {
        for accept in [BR, GZIP, ZSTD] {
            let answer = connection.ask("GET", &format!("/{number}.txt"), &[accept]);
            assert!(answer.find("Content-Encoding").is_some() && answer.body.len() < 900_000);
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes < 64 << 10, "{kibibytes} KiB");
}
