//! `serve http`: digests of files (`?hash=`, RFC 9530).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http::raw::{Answer, Connection, ask, get};
use crate::http::users::{Guarded, ask_as};
use crate::support::{BoundedCommand, TestDir, TestServer, has_tool, python, wait_until};

const SHA_256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const REPR_SHA_256_OF_ABC: &str = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
const REPR_MD5_OF_ABC: &str = "md5=:kAFQmDzST7DWlj99KOF/cg==:";
/// More than is digested at once.
const LARGE: usize = 5_000_003;
const WANTS_REPR: &str = "Want-Repr-Digest: sha-256=5";
const WANTS_CONTENT: &str = "Want-Content-Digest: sha-256=5";

/// A site with `abc`, `large` and an empty file.
fn digests(test: &str, options: &[&str]) -> (TestDir, TestServer) {
    let dir = TestDir::new(test);
    dir.write("folder/abc", "abc");
    dir.write("empty", "");
    dir.write("large", large());
    let server = TestServer::start(&[&["http", dir.as_str()], options].concat());
    (dir, server)
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|at| (at * 7 % 251) as u8).collect()
}

/// A digest of a file as Python computes it, in hexadecimal.
fn by_python(test: &str, algorithm: &str, file: &str) -> Option<String> {
    let script = "import hashlib,sys; print(hashlib.new(sys.argv[1], open(sys.argv[2],\
                  'rb').read()).hexdigest())";
    Some(python(test, script, &[algorithm, file])?.trim().to_owned())
}

/// The value of the fields for a digest in hexadecimal.
fn member(key: &str, hex: &str) -> String {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    format!("{key}=:{}:", base64_simd::STANDARD.encode_to_string(bytes))
}

#[test]
fn a_digest_is_a_line_with_the_name() {
    let (_dir, server) = digests("hash-line", &[]);
    for (name, digest) in [
        ("sha256", SHA_256_OF_ABC),
        ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("md5", "900150983cd24fb0d6963f7d28e17f72"),
        (
            "blake3",
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        ),
    ] {
        let target = format!("/folder/abc?hash={name}");
        let answer = get(&server, &target);
        assert_eq!(
            (answer.status, answer.text()),
            (200, &*format!("{digest}  abc\n"))
        );
        assert_eq!(answer.field("Content-Type"), "text/plain; charset=utf-8");
        let head = ask(&server, "HEAD", &target, &[]);
        assert_eq!(
            (head.status, head.field("Content-Length")),
            (200, answer.field("Content-Length"))
        );
    }
}

#[test]
fn the_digests_of_large_and_empty_files_are_those_of_hashlib() {
    let test = "the_digests_of_large_and_empty_files_are_those_of_hashlib";
    let (dir, server) = digests("hash-large", &[]);
    let mut connection = Connection::open(&server);
    for (name, file) in [
        ("sha256", "large"),
        ("sha1", "large"),
        ("md5", "large"),
        ("sha256", "empty"),
        ("md5", "empty"),
    ] {
        let Some(digest) = by_python(test, name, dir.join(file).to_str().unwrap()) else {
            return;
        };
        let target = format!("/{file}?hash={name}");
        // On a connection that stays: what was announced is what came.
        let answer = connection.ask("GET", &target, &[]);
        assert_eq!(answer.text(), format!("{digest}  {file}\n"));
        let head = connection.ask("HEAD", &target, &[]);
        assert_eq!(head.field("Content-Length"), answer.field("Content-Length"));
    }
}

#[test]
fn sha256sum_checks_what_curl_fetches() {
    let test = "sha256sum_checks_what_curl_fetches";
    if !has_tool("curl", test) || !has_tool("sha256sum", test) {
        return;
    }
    let dir = TestDir::new("hash-curl");
    let server = TestServer::start(&["http", dir.as_str()]);
    for (name, target) in [
        ("plain", "/plain"),
        ("with space", "/with%20space"),
        ("\u{e9}", "/%C3%A9"),
        ("*star", "/*star"),
    ] {
        dir.write(name, large());
        let url = format!("http://{}{target}?hash=sha256", server.address());
        let check = |url: &str| {
            let script = "curl --silent --show-error --fail --noproxy '*' --max-time 20 \"$0\" | \
                          sha256sum -c --strict";
            let mut command = Command::new("sh");
            command
                .args(["-c", script, url])
                .current_dir(dir.as_str())
                .finish()
        };
        let output = check(&url);
        assert!(output.status.success(), "{name}: {output:?}");
        std::fs::write(dir.join(name), "other").unwrap();
        wait_until("the server has the new one, too", || {
            check(&url).status.success()
        });
    }
}

#[test]
fn what_has_no_digest_says_why() {
    let (dir, server) = digests("hash-refused", &[]);
    std::os::unix::fs::symlink("/etc/passwd", dir.join("out")).unwrap();
    for unknown in ["sha3", "", "SHA256", "sha-256"] {
        let answer = get(&server, &format!("/folder/abc?hash={unknown}"));
        assert_eq!(answer.status, 400, "{unknown}");
        for known in ["sha256", "blake3", "sha1", "md5"] {
            assert!(answer.text().contains(known), "{}", answer.text());
        }
    }
    for (target, status) in [
        ("/folder/?hash=sha256", 400),
        ("/folder?hash=sha256", 301),
        ("/none?hash=sha256", 404),
        ("/out?hash=sha256", 404),
        ("/folder/abc/?hash=sha256", 404),
    ] {
        assert_eq!(get(&server, target).status, status, "{target}");
    }
}

#[test]
fn a_digest_is_for_those_who_may_read() {
    let guarded = Guarded::new(
        "hash-users",
        &[
            ("lister", "l", "/"),
            ("reader", "r", "/"),
            ("writer", "w", "/"),
        ],
    );
    guarded.write("f", "abc");
    let server = guarded.start(&[]);
    let statuses = |target: &str, fields: &[&str]| {
        ["-", "lister", "reader", "writer"]
            .map(|user| ask_as(&server, user, "GET", target, fields).status)
    };
    assert_eq!(statuses("/f?hash=sha256", &[]), [401, 403, 200, 403]);
    assert_eq!(statuses("/f?hash=none", &[]), [401, 403, 400, 403]);
    assert_eq!(statuses("/?hash=sha256", &[]), [401, 400, 403, 403]);
    for user in ["-", "lister", "writer"] {
        assert_eq!(
            ask_as(&server, user, "GET", "/f", &[WANTS_REPR]).find("Repr-Digest"),
            None,
            "{user}"
        );
    }
    assert_eq!(
        ask_as(&server, "reader", "GET", "/f", &[WANTS_REPR]).field("Repr-Digest"),
        REPR_SHA_256_OF_ABC
    );
}

#[test]
fn a_wanted_digest_stands_in_the_answer() {
    let (_dir, server) = digests("hash-fields", &[]);
    for (fields, repr, content) in [
        (&[][..], None, None),
        (&[WANTS_REPR], Some(REPR_SHA_256_OF_ABC), None),
        (&[WANTS_CONTENT], None, Some(REPR_SHA_256_OF_ABC)),
        (
            &[WANTS_CONTENT, "Want-Repr-Digest: md5=1"],
            Some(REPR_MD5_OF_ABC),
            Some(REPR_SHA_256_OF_ABC),
        ),
        (
            &["Want-Repr-Digest: sha-256=1", "want-repr-digest: md5=9"],
            Some(REPR_MD5_OF_ABC),
            None,
        ),
        (
            &["Want-Repr-Digest: sha-512=10, sha-256=1"],
            Some(REPR_SHA_256_OF_ABC),
            None,
        ),
        (&["Want-Repr-Digest: sha-512=10"], None, None),
        (&["Want-Repr-Digest: sha-256"], None, None),
        (&["Want-Repr-Digest: sha-256=0"], None, None),
    ] {
        let answer = ask(&server, "GET", "/folder/abc", fields);
        assert_eq!((answer.status, answer.text()), (200, "abc"));
        assert_eq!(
            (answer.find("Repr-Digest"), answer.find("Content-Digest")),
            (repr, content),
            "{fields:?}"
        );
        // A HEAD's own content is empty: nothing is said of that.
        let head = ask(&server, "HEAD", "/folder/abc", fields);
        assert_eq!(
            (head.find("Repr-Digest"), head.find("Content-Digest")),
            (repr, None),
            "{fields:?}"
        );
    }
    // Of a range, it is that of the whole.
    let range = ask(
        &server,
        "GET",
        "/folder/abc",
        &["Range: bytes=1-1", WANTS_REPR, WANTS_CONTENT],
    );
    assert_eq!(
        (range.status, range.text(), range.field("Repr-Digest")),
        (206, "b", REPR_SHA_256_OF_ABC)
    );
    assert_eq!(range.find("Content-Digest"), None);
    let etag = format!("If-None-Match: {}", range.field("ETag"));
    let unmodified = ask(&server, "GET", "/folder/abc", &[&etag, WANTS_REPR]);
    assert_eq!(
        (unmodified.status, unmodified.find("Repr-Digest")),
        (304, None)
    );
    assert_eq!(
        ask(
            &server,
            "GET",
            "/folder/abc",
            &["Range: bytes=9-", WANTS_REPR]
        )
        .find("Repr-Digest"),
        None
    );
}

#[test]
fn an_answer_waits_for_the_digest_of_a_large_file() {
    let test = "an_answer_waits_for_the_digest_of_a_large_file";
    let (dir, server) = digests("hash-waits", &[]);
    let Some(digest) = by_python(test, "sha256", dir.join("large").to_str().unwrap()) else {
        return;
    };
    let (digest, large) = (member("sha-256", &digest), large());
    let mut connection = Connection::open(&server);
    // Twice: the second time the digest may be remembered.
    for _ in 0..2 {
        let head = connection.ask("HEAD", "/large", &[WANTS_REPR]);
        assert_eq!(
            (head.field("Repr-Digest"), head.field("Content-Length")),
            (&*digest, &*LARGE.to_string())
        );
        let whole = connection.ask("GET", "/large", &[WANTS_REPR, WANTS_CONTENT]);
        assert_eq!(
            (whole.field("Repr-Digest"), whole.field("Content-Digest")),
            (&*digest, &*digest)
        );
        assert!(
            whole.status == 200 && whole.body == large,
            "the content differs"
        );
        let plain = connection.ask("GET", "/large", &[]);
        let without_digest = |mut answer: Answer| {
            answer.fields.retain(|(name, _)| !name.ends_with("-Digest"));
            answer.without_date()
        };
        assert!(
            without_digest(whole) == plain.without_date(),
            "the digest changes more than itself"
        );
        let range = connection.ask("GET", "/large", &["Range: bytes=70000-2999999", WANTS_REPR]);
        assert_eq!((range.status, range.field("Repr-Digest")), (206, &*digest));
        assert!(range.body == large[70_000..3_000_000], "the range differs");
        let several = connection.ask(
            "GET",
            "/large",
            &["Range: bytes=0-0,70000-299999", WANTS_REPR],
        );
        assert_eq!(
            (several.status, several.field("Repr-Digest")),
            (206, &*digest)
        );
        let part = &large[70_000..300_000];
        assert!(
            several
                .body
                .windows(part.len())
                .any(|window| window == part),
            "a part differs"
        );
    }
}

#[test]
fn the_digest_is_that_of_the_coding_that_is_sent() {
    let test = "the_digest_is_that_of_the_coding_that_is_sent";
    let dir = TestDir::new("hash-coded");
    dir.write("page.html", "<p>text</p>\n".repeat(500));
    let server = TestServer::start(&["http", dir.as_str()]);
    let coded = ask(
        &server,
        "GET",
        "/page.html",
        &["Accept-Encoding: gzip", WANTS_REPR],
    );
    assert_eq!(coded.field("Content-Encoding"), "gzip");
    dir.write("coded", &coded.body);
    for (file, answer) in [
        ("coded", &coded),
        (
            "page.html",
            &ask(&server, "GET", "/page.html", &[WANTS_REPR]),
        ),
    ] {
        let Some(digest) = by_python(test, "sha256", dir.join(file).to_str().unwrap()) else {
            return;
        };
        assert_eq!(
            answer.field("Repr-Digest"),
            member("sha-256", &digest),
            "{file}"
        );
    }
}

#[test]
fn a_remembered_digest_goes_with_the_change_of_its_file() {
    let (dir, server) = digests("hash-changed", &[]);
    let hash = || get(&server, "/folder/abc?hash=sha256").text().to_owned();
    // The date of the last change can't be set: this file must have rested for its digest to be
    // remembered.
    wait_until("it has rested", || {
        let changed = rustix::fs::stat(dir.join("folder/abc")).unwrap().st_ctime;
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64
            > changed as i64 + 3
    });
    let first = hash();
    assert_eq!(first, format!("{SHA_256_OF_ABC}  abc\n"));
    assert_eq!(hash(), first);
    // As long as before, and as old.
    let modified = std::fs::metadata(dir.join("folder/abc"))
        .unwrap()
        .modified()
        .unwrap();
    std::fs::write(dir.join("folder/abc"), "abd").unwrap();
    File::options()
        .write(true)
        .open(dir.join("folder/abc"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    wait_until("the change is noticed", || hash() != first);
    assert_eq!(
        hash(),
        "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9  abc\n"
    );
}

#[test]
fn a_digest_that_takes_long_holds_nobody_up() {
    let dir = TestDir::new("hash-long");
    dir.write("small", "small");
    // Nobody waits for the end of this one; it takes no room.
    File::create(dir.join("endless"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let server = TestServer::start(&["http", dir.as_str(), "--threads", "1", "--max-threads", "1"]);
    let mut waiting: Vec<Connection> = (0..2).map(|_| Connection::open(&server)).collect();
    for (number, connection) in waiting.iter_mut().enumerate() {
        let request = crate::http::raw::request(
            "GET",
            ["/endless", "/endless?hash=md5"][number % 2],
            &[WANTS_REPR],
        );
        connection.send(request);
    }
    for _ in 0..5 {
        assert_eq!(get(&server, "/small").text(), "small");
        assert_eq!(get(&server, "/small?hash=md5").status, 200);
    }
    let stream = waiting[0].stream();
    stream.set_nonblocking(true).unwrap();
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "its head can't be known yet"
    );
}
