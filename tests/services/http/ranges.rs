//! `serve http`: several ranges of one file.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use crate::http::raw::{Answer, Connection, ask, request};
use crate::support::{TestDir, TestServer};

pub(crate) const DIGITS: &str = "0123456789";

/// The parts of a multipart answer: their `Content-Range`, and their content.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let boundary = answer
        .field("Content-Type")
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let body: Vec<u8> = answer.body.clone();
    let delimiter = format!("\r\n--{boundary}");
    let mut parts = Vec::new();
    let mut rest = &body[..];
    while let Some(at) = find(rest, delimiter.as_bytes()) {
        let (part, behind) = (&rest[..at], &rest[at + delimiter.len()..]);
        rest = behind.strip_prefix(b"\r\n").unwrap_or(behind);
        if let Some(end) = find(part, b"\r\n\r\n") {
            let head = std::str::from_utf8(&part[..end]).unwrap();
            let range = head.split("Content-Range: bytes ").nth(1).unwrap();
            assert!(head.starts_with("Content-Type: "), "{head}");
            parts.push((range.to_owned(), part[end + 4..].to_vec()));
        }
    }
    assert_eq!(rest, b"--\r\n", "the last boundary ends the body");
    parts
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn expected(parts: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    parts
        .iter()
        .map(|(range, content)| (range.to_string(), content.as_bytes().to_vec()))
        .collect()
}

#[test]
fn several_ranges_are_answered_in_one_part_each_in_their_order() {
    let dir = TestDir::new("parts");
    dir.write("digits.txt", DIGITS);
    let server = TestServer::start(&["http", dir.as_str()]);
    let mut connection = Connection::open(&server);
    let plain = connection.ask("GET", "/digits.txt", &[]);
    for (range, found) in [
        ("0-1,4-5", &[("0-1/10", "01"), ("4-5/10", "45")][..]),
        ("-1, 0-0", &[("9-9/10", "9"), ("0-0/10", "0")]),
        ("0-4,5-9", &[("0-4/10", "01234"), ("5-9/10", "56789")]),
        ("20-,1-1,-0,3-3", &[("1-1/10", "1"), ("3-3/10", "3")]),
    ] {
        let answer = connection.ask("GET", "/digits.txt", &[&format!("Range: bytes={range}")]);
        assert_eq!(
            (answer.status, parts(&answer)),
            (206, expected(found)),
            "{range}"
        );
        assert_eq!(
            (answer.field("ETag"), answer.find("Content-Range")),
            (plain.field("ETag"), None)
        );
        assert!(
            answer
                .text()
                .contains("Content-Type: text/plain; charset=utf-8\r\n")
        );
    }
}

#[test]
fn ranges_that_overlap_or_are_too_many_are_answered_by_the_whole_file() {
    let dir = TestDir::new("no-parts");
    dir.write("digits.txt", DIGITS);
    dir.write("hundred.txt", DIGITS.repeat(10));
    let server = TestServer::start(&["http", dir.as_str()]);
    for range in ["0-5,5-9", "0-,0-", "0-9,3-3", "0-1,4-5,x"] {
        let answer = ask(
            &server,
            "GET",
            "/digits.txt",
            &[&format!("Range: bytes={range}")],
        );
        assert_eq!((answer.status, answer.text()), (200, DIGITS), "{range}");
    }
    let ranges = |count: usize| {
        (0..count)
            .map(|i| format!("{0}-{0}", 2 * i))
            .collect::<Vec<_>>()
            .join(",")
    };
    for (count, status) in [(16, 206), (17, 200)] {
        let answer = ask(
            &server,
            "GET",
            "/hundred.txt",
            &[&format!("Range: bytes={}", ranges(count))],
        );
        assert_eq!(answer.status, status, "{count} ranges");
    }
}

#[test]
fn ranges_of_a_large_file_go_out_piece_by_piece_and_the_connection_goes_on() {
    let dir = TestDir::new("large-parts");
    let length: u64 = (4 << 30) + 10;
    let mut file = File::create(dir.join("huge")).unwrap();
    file.set_len(length).unwrap();
    file.write_all(b"begin").unwrap();
    file.seek(SeekFrom::End(-3)).unwrap();
    file.write_all(b"end").unwrap();
    dir.write("small.txt", "small");
    let server = TestServer::start(&["http", dir.as_str()]);
    let mut connection = Connection::open(&server);
    let range = format!("Range: bytes=0-4,{}-,1000-1000999", length - 3);
    // The next request waits in the pipeline until all parts are out.
    connection.send(
        [
            request("GET", "/huge", &[&range]),
            request("GET", "/small.txt", &[]),
        ]
        .concat(),
    );
    let found = parts(&connection.receive());
    let ranges: Vec<_> = found
        .iter()
        .map(|(range, _)| range.split('/').next().unwrap())
        .collect();
    assert_eq!(
        ranges,
        [
            "0-4",
            &format!("{}-{}", length - 3, length - 1),
            "1000-1000999"
        ]
    );
    assert_eq!(
        (&found[0].1[..], &found[1].1[..]),
        (&b"begin"[..], &b"end"[..])
    );
    assert!(found[2].1.len() == 1_000_000 && found[2].1.iter().all(|byte| *byte == 0));
    assert_eq!(connection.receive().text(), "small");
}

#[test]
fn a_client_that_reads_no_part_holds_no_thread() {
    let dir = TestDir::new("slow-parts");
    let length: u64 = 256 << 20;
    File::create(dir.join("large"))
        .unwrap()
        .set_len(length)
        .unwrap();
    dir.write("small.txt", "small");
    let server = TestServer::start(&["http", dir.as_str(), "--threads", "1", "--max-threads", "1"]);
    let range = format!("Range: bytes=0-99999999,100000000-{}", length - 1);
    let mut slow: Vec<_> = (0..8).map(|_| Connection::open(&server)).collect();
    for connection in &mut slow {
        connection.send(request("GET", "/large", &[&range]));
        assert_eq!(connection.receive_head().status, 206);
    }
    assert_eq!(
        ask(&server, "GET", "/small.txt", &[]).text(),
        "small",
        "the only thread is free"
    );
}

#[test]
fn an_http_1_0_client_gets_parts_of_known_length() {
    let dir = TestDir::new("old-parts");
    dir.write("digits.txt", DIGITS);
    let server = TestServer::start(&["http", dir.as_str()]);
    let answer = server.exchange(b"GET /digits.txt HTTP/1.0\r\nRange: bytes=0-0,9-9\r\n\r\n");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
        "{head}"
    );
    assert!(!head.contains("Transfer-Encoding"), "{head}");
}
