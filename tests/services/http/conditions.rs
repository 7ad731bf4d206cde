//! `serve http`: conditional requests and ranges (RFC 9110 §13, §14).

use std::fs::File;
use std::time::{Duration, UNIX_EPOCH};

use crate::http::raw::{ask, get};
use crate::support::{TestDir, TestServer};

const DIGITS: &str = "0123456789";
/// When every file of these tests was modified.
const MODIFIED: &str = "Wed, 19 Apr 2023 17:04:30 GMT";
const EARLIER: &str = "Wed, 19 Apr 2023 17:04:29 GMT";
const LATER: &str = "Wed, 19 Apr 2023 17:04:31 GMT";

/// A server of `digits.txt`, and that file's entity tag.
fn digits(test: &str) -> (TestDir, TestServer, String) {
    let dir = TestDir::new(test);
    dir.write("digits.txt", DIGITS);
    // A fraction of a second that no HTTP date can tell.
    let modified = UNIX_EPOCH + Duration::from_millis(1_681_923_870_900);
    File::options()
        .write(true)
        .open(dir.join("digits.txt"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let server = TestServer::start(&["http", dir.as_str()]);
    let tag = get(&server, "/digits.txt").field("ETag").to_owned();
    (dir, server, tag)
}

#[test]
fn a_copy_that_is_still_good_is_answered_304_without_a_body() {
    let (_dir, server, tag) = digits("not-modified");
    for fields in [
        &[&*format!("If-None-Match: {tag}")][..],
        &[&format!("If-None-Match: W/{tag}")],
        &[&format!("If-None-Match: \"a\", W/\"b,c\" ,{tag}, \"d\"")],
        &["If-None-Match: \"a\"", &format!("If-None-Match: {tag}")],
        &["If-None-Match: *"],
        &[&format!("If-Modified-Since: {MODIFIED}")],
        &[&format!("If-Modified-Since: {LATER}")],
        &["If-Modified-Since: Wednesday, 19-Apr-23 17:04:30 GMT"],
        &[
            &format!("If-None-Match: {tag}"),
            &format!("If-Modified-Since: {EARLIER}"),
        ],
        &[&format!("If-None-Match: {tag}"), "Range: bytes=0-1"],
    ] {
        for method in ["GET", "HEAD"] {
            // That nothing follows the head is what `ask` asserts of the closed connection.
            let answer = ask(&server, method, "/digits.txt", fields);
            assert_eq!(answer.status, 304, "{fields:?}");
            assert_eq!(
                (answer.field("ETag"), answer.field("Last-Modified")),
                (&*tag, MODIFIED)
            );
            assert_eq!(
                (answer.find("Content-Length"), answer.find("Content-Type")),
                (None, None)
            );
        }
    }
}

#[test]
fn a_copy_that_is_no_longer_good_is_answered_by_the_file() {
    let (_dir, server, tag) = digits("modified");
    let bare = tag.trim_matches('"');
    for fields in [
        &["If-None-Match: \"other\""][..],
        &[&*format!("If-None-Match: {bare}")],
        &[&format!("If-Modified-Since: {EARLIER}")],
        &["If-Modified-Since: yesterday"],
        &[
            "If-None-Match: \"other\"",
            &format!("If-Modified-Since: {LATER}"),
        ],
        &[&format!("If-Match: \"other\", {tag}")],
        &["If-Match: *"],
        &[&format!("If-Unmodified-Since: {MODIFIED}")],
        &[
            &format!("If-Match: {tag}"),
            &format!("If-Unmodified-Since: {EARLIER}"),
        ],
    ] {
        let answer = ask(&server, "GET", "/digits.txt", fields);
        assert_eq!((answer.status, answer.text()), (200, DIGITS), "{fields:?}");
    }
}

#[test]
fn a_precondition_that_fails_is_answered_412() {
    let (_dir, server, tag) = digits("precondition");
    for fields in [
        &["If-Match: \"other\""][..],
        &[&*format!("If-Match: W/{tag}")],
        &[&format!("If-Unmodified-Since: {EARLIER}")],
        &["If-Match: \"other\"", &format!("If-None-Match: {tag}")],
        &["If-Match: \"other\"", "Range: bytes=0-1"],
    ] {
        assert_eq!(
            ask(&server, "GET", "/digits.txt", fields).status,
            412,
            "{fields:?}"
        );
    }
    assert_eq!(
        ask(&server, "GET", "/missing", &["If-Match: *"]).status,
        404,
        "there is nothing to compare with"
    );
}

#[test]
fn a_range_is_answered_by_its_bytes_alone() {
    let (_dir, server, tag) = digits("range");
    for (range, content_range, bytes) in [
        ("0-0", "0-0", "0"),
        ("0-3", "0-3", "0123"),
        ("9-9", "9-9", "9"),
        ("4-", "4-9", "456789"),
        ("-1", "9-9", "9"),
        ("-4", "6-9", "6789"),
        ("-100", "0-9", DIGITS),
        ("8-100", "8-9", "89"),
        ("0-99999999999999999999999", "0-9", DIGITS),
        ("2-3, 100-", "2-3", "23"),
    ] {
        let answer = ask(
            &server,
            "GET",
            "/digits.txt",
            &[&format!("Range: bytes={range}")],
        );
        assert_eq!((answer.status, answer.text()), (206, bytes), "{range}");
        assert_eq!(
            answer.field("Content-Range"),
            format!("bytes {content_range}/10"),
            "{range}"
        );
        assert_eq!(
            (answer.field("ETag"), answer.field("Last-Modified")),
            (&*tag, MODIFIED)
        );
        assert_eq!(answer.field("Content-Type"), "text/plain; charset=utf-8");
    }
}

#[test]
fn a_range_without_bytes_is_answered_416_with_the_length() {
    let (_dir, server, _) = digits("unsatisfiable");
    for range in [
        "10-",
        "10-20",
        "-0",
        "99999999999999999999999-",
        "10-, 20-30",
    ] {
        let answer = ask(
            &server,
            "GET",
            "/digits.txt",
            &[&format!("Range: bytes={range}")],
        );
        assert_eq!(
            (answer.status, answer.field("Content-Range")),
            (416, "bytes */10"),
            "{range}"
        );
    }
}

#[test]
fn a_range_that_does_not_count_is_answered_by_the_whole_file() {
    let (_dir, server, _) = digits("whole");
    for range in [
        "bytes=0-5,5-9",
        "bytes=3-2",
        "bytes=",
        "bytes=a-b",
        "bytes=-",
        "bytes 0-1",
        "lines=0-1",
        "bytes=0--1",
    ] {
        let answer = ask(&server, "GET", "/digits.txt", &[&format!("Range: {range}")]);
        assert_eq!((answer.status, answer.text()), (200, DIGITS), "{range}");
        assert_eq!(answer.find("Content-Range"), None);
    }
    let head = ask(&server, "HEAD", "/digits.txt", &["Range: bytes=0-1"]);
    assert_eq!(
        (head.status, head.field("Content-Length")),
        (200, "10"),
        "a range is for GET only"
    );
}

#[test]
fn if_range_gives_the_range_of_the_same_file_and_the_whole_of_another() {
    let (_dir, server, tag) = digits("if-range");
    let ranged = |condition: &str| {
        let answer = ask(
            &server,
            "GET",
            "/digits.txt",
            &["Range: bytes=2-4", &format!("If-Range: {condition}")],
        );
        (answer.status, answer.text().to_owned())
    };
    assert_eq!(ranged(&tag), (206, "234".to_owned()));
    assert_eq!(ranged(MODIFIED), (206, "234".to_owned()));
    for other in [
        "\"other\"",
        &format!("W/{tag}"),
        EARLIER,
        LATER,
        "yesterday",
    ] {
        assert_eq!(ranged(other), (200, DIGITS.to_owned()), "{other}");
    }
}
