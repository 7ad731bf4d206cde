//! `serve http --upload`: the dates that senders give their files.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::http::raw::{ask, get};
use crate::http::tus::{TUS, create, send};
use crate::http::upload::{put, site};
use crate::support::TestDir;

/// The date of a file.
fn date_of(dir: &TestDir, name: &str) -> SystemTime {
    std::fs::metadata(dir.join(name))
        .unwrap()
        .modified()
        .unwrap()
}

#[test]
fn a_put_file_keeps_the_date_that_its_sender_gives() {
    let (dir, server) = site("date-put", &[]);
    for (value, milliseconds) in [
        ("1000000000", 1_000_000_000_000),
        ("1234567890.25", 1_234_567_890_250),
        ("0", 0),
    ] {
        let stored = put(&server, "/a", &[&format!("X-OC-Mtime: {value}")], "abc");
        assert!(stored.status < 300 && stored.field("X-OC-Mtime") == "accepted");
        assert_eq!(
            date_of(&dir, "a"),
            UNIX_EPOCH + Duration::from_millis(milliseconds)
        );
        assert_eq!(get(&server, "/a").field("ETag"), stored.field("ETag"));
    }
    let etag = get(&server, "/a").field("ETag").to_owned();
    for value in ["", "yesterday", "-1", "0x1", "1e9", "99999999999999"] {
        let refused = put(&server, "/a", &[&format!("X-OC-Mtime: {value}")], "abd");
        assert_eq!(
            (refused.status, refused.text().lines().count()),
            (400, 1),
            "{value}"
        );
    }
    assert_eq!(
        put(&server, "/a", &["X-OC-Mtime: 1", "X-OC-Mtime: 2"], "abd").status,
        400
    );
    assert_eq!(get(&server, "/a").field("ETag"), etag);
    let without = put(&server, "/b", &[], "abc");
    assert_eq!(without.find("X-OC-Mtime"), None);
    assert!(
        date_of(&dir, "b")
            .elapsed()
            .is_ok_and(|age| age < Duration::from_secs(60))
    );
}

#[test]
fn a_tus_upload_keeps_the_date_in_its_metadata() {
    let (dir, server) = site("date-tus", &[]);
    let encode = |text: &str| base64_simd::STANDARD.encode_to_string(text);
    for (name, key, value, milliseconds) in [
        ("seconds", "mtime", "1000000000", 1_000_000_000_000_u64),
        (
            "milliseconds",
            "lastModified",
            "1234567890250",
            1_234_567_890_250,
        ),
    ] {
        let metadata = format!(
            "Upload-Metadata: filename {},{key} {}",
            encode(name),
            encode(value)
        );
        let created = create(&server, "/", &[&metadata, "Upload-Length: 3"]);
        assert_eq!(created.status, 201, "{}", created.text());
        assert_eq!(
            send(&server, created.field("Location"), 0, &[], "abc").status,
            204
        );
        let (stored, wanted) = (
            date_of(&dir, name),
            UNIX_EPOCH + Duration::from_millis(milliseconds),
        );
        let apart = stored
            .duration_since(wanted)
            .unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_millis(1), "{name}: {stored:?}");
    }
    let metadata = format!(
        "Upload-Metadata: filename {},mtime {}",
        encode("x"),
        encode("now")
    );
    let refused = ask(&server, "POST", "/", &[TUS, &metadata, "Upload-Length: 3"]);
    assert_eq!(
        (refused.status, refused.text().contains("mtime")),
        (400, true)
    );
}
