//! `serve http --upload`: tus 1.0.0, request by request.

use crate::http::raw::{Answer, Connection, ask, get, request};
use crate::http::tus_faults::SHA_1;
use crate::http::upload::{read, site};
use crate::support::{TestDir, TestServer};

pub(crate) const TUS: &str = "Tus-Resumable: 1.0.0";
pub(crate) const PIECE: &str = "Content-Type: application/offset+octet-stream";
/// `filename a.txt`
pub(crate) const A_TXT: &str = "Upload-Metadata: filename YS50eHQ=";

pub(crate) fn create(server: &TestServer, target: &str, fields: &[&str]) -> Answer {
    ask(server, "POST", target, &[&[TUS], fields].concat())
}

/// The address of a new upload of `a.txt` with so many bytes.
pub(crate) fn created(server: &TestServer, length: usize) -> String {
    let answer = create(server, "/", &[A_TXT, &format!("Upload-Length: {length}")]);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.field("Location").to_owned()
}

pub(crate) fn piece_request(
    target: &str,
    offset: usize,
    fields: &[&str],
    content: &str,
) -> Vec<u8> {
    let (offset, length) = (
        format!("Upload-Offset: {offset}"),
        format!("Content-Length: {}", content.len()),
    );
    [
        &request(
            "PATCH",
            target,
            &[&[TUS, PIECE, &offset, &length], fields].concat(),
        )[..],
        content.as_bytes(),
    ]
    .concat()
}

pub(crate) fn send(
    server: &TestServer,
    target: &str,
    offset: usize,
    fields: &[&str],
    content: &str,
) -> Answer {
    let mut connection = Connection::open(server);
    connection.send(piece_request(target, offset, fields, content));
    connection.receive()
}

pub(crate) fn head(server: &TestServer, target: &str) -> Answer {
    ask(server, "HEAD", target, &[TUS])
}

pub(crate) fn offset(server: &TestServer, target: &str) -> Option<usize> {
    head(server, target)
        .find("Upload-Offset")
        .map(|offset| offset.parse().unwrap())
}

/// The bytes of the only upload that is under way.
pub(crate) fn part(dir: &TestDir) -> Option<String> {
    let entries = std::fs::read_dir(dir.join(".socketserver-partial"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let part = entries.into_iter().find(|path| {
        path.extension()
            .is_some_and(|extension| extension == "part")
    })?;
    std::fs::read_to_string(part).ok()
}

#[test]
fn an_upload_is_created_sent_in_pieces_and_served_when_it_is_complete() {
    let (dir, server) = site("tus", &[]);
    dir.write("folder/x", "");
    let fields = [A_TXT, "Upload-Length: 10"];
    let created = create(&server, "/folder/", &fields);
    assert_eq!(
        (
            created.status,
            created.field("Tus-Resumable"),
            created.field("Upload-Offset")
        ),
        (201, "1.0.0", "0")
    );
    let location = created.field("Location");
    let id = location
        .strip_prefix("/folder/.socketserver-partial/")
        .unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_ne!(
        location,
        create(&server, "/folder/", &fields).field("Location")
    );
    for (begin, content) in [(0, "hello"), (5, ""), (5, "wor")] {
        let answer = send(&server, location, begin, &[], content);
        let now = (begin + content.len()).to_string();
        assert_eq!(
            (
                answer.status,
                answer.field("Upload-Offset"),
                answer.field("Tus-Resumable")
            ),
            (204, &*now, "1.0.0")
        );
        let head = head(&server, location);
        assert_eq!(
            (
                head.status,
                head.field("Upload-Offset"),
                head.field("Upload-Length")
            ),
            (200, &*now, "10")
        );
        assert_eq!(head.field("Upload-Metadata"), "filename YS50eHQ=");
        assert_eq!(
            (head.field("Cache-Control"), head.field("Tus-Resumable")),
            ("no-store", "1.0.0")
        );
        assert_eq!(read(&dir, "folder/a.txt"), None);
        for served in [
            get(&server, location),
            ask(&server, "GET", location, &[TUS]),
        ] {
            assert_eq!(served.status, 404);
        }
    }
    let last = send(&server, location, 8, &[], "ld");
    assert_eq!(
        (
            last.status,
            last.field("Upload-Offset"),
            last.field("Content-Location")
        ),
        (204, "10", "/folder/a.txt")
    );
    assert_eq!(get(&server, "/folder/a.txt").text(), "helloworld");
    // A client that has missed the answer asks, and adds nothing to a complete upload.
    let head = head(&server, location);
    assert_eq!(
        (head.field("Upload-Offset"), head.field("Content-Location")),
        ("10", "/folder/a.txt")
    );
    assert_eq!(send(&server, location, 10, &[], "x").status, 409);
    assert_eq!(create(&server, "/folder/", &fields).status, 409);
}

#[test]
fn what_the_server_can_do_is_told_by_options() {
    let (_dir, server) = site("tus-options", &["--max-size", "1000"]);
    // The version that the client speaks doesn't matter here.
    for fields in [&[][..], &["Tus-Resumable: 0.2.2"]] {
        let answer = ask(&server, "OPTIONS", "/", fields);
        assert_eq!(
            (
                answer.status,
                answer.field("Tus-Version"),
                answer.field("Tus-Max-Size")
            ),
            (204, "1.0.0", "1000")
        );
        let extensions = "creation,creation-with-upload,checksum,expiration,termination";
        assert_eq!(answer.field("Tus-Extension"), extensions);
        assert_eq!(answer.field("Tus-Checksum-Algorithm"), "sha256,sha1,md5");
        assert_eq!(answer.field("Tus-Resumable"), "1.0.0");
        assert!(answer.field("Allow").contains("PATCH"));
    }
}

#[test]
fn another_version_is_refused_and_nothing_done() {
    let (dir, server) = site("tus-version", &[]);
    let location = created(&server, 5);
    for version in [
        &["Tus-Resumable: 0.2.2"][..],
        &["Tus-Resumable: 1.0.0", "Tus-Resumable: 1.0.0"],
        &[],
    ] {
        for (method, target) in [
            ("POST", "/"),
            ("HEAD", &location),
            ("PATCH", &location),
            ("DELETE", &location),
        ] {
            if version.is_empty() && method != "PATCH" {
                continue; // such a request is no tus client's
            }
            let answer = ask(
                &server,
                method,
                target,
                &[version, &[A_TXT, PIECE, "Upload-Offset: 0"]].concat(),
            );
            assert_eq!(
                (answer.status, answer.field("Tus-Version")),
                (412, "1.0.0"),
                "{method} {version:?}"
            );
        }
    }
    assert_eq!(
        (offset(&server, &location), read(&dir, "a.txt")),
        (Some(0), None)
    );
}

#[test]
fn a_creation_that_cannot_succeed_is_refused_before_a_byte_is_sent() {
    let dir = TestDir::new("tus-refused");
    dir.write("80", [0; 80]);
    dir.write("taken", "1");
    dir.write("folder/x", "");
    // The server counts the files that are there when it starts.
    let options = ["--max-size", "100", "--quota", "150"];
    let arguments = ["http", dir.as_str(), "--upload", "--no-fsync"];
    let server = TestServer::start(&[&arguments[..], &options].concat());
    // In base64: taken, folder, .., .socketserver-partial, a\b, taken/a, ../a, \xff
    for (metadata, length, status) in [
        ("filename dGFrZW4=", "1", 409),
        ("filename Zm9sZGVy", "1", 409),
        ("filename Li4=", "1", 403),
        ("filename LnNvY2tldHNlcnZlci1wYXJ0aWFs", "1", 403),
        ("filename YVxi", "1", 400),
        ("relativePath dGFrZW4vYQ==", "1", 409),
        ("relativePath Li4vYQ==", "1", 403),
        ("filename /w==", "1", 400),
        ("filename", "1", 403),
        ("other YQ==", "1", 400),
        ("filename YQ", "1", 400),
        ("filename YQ==,filename YQ==", "1", 400),
        ("filename YQ==", "101", 413),
        ("filename YQ==", "18446744073709551615", 413),
        ("filename YQ==", "99", 507),
        ("filename YQ==", "-1", 400),
        ("filename YQ==", "", 400),
    ] {
        let (metadata, length) = (
            format!("Upload-Metadata: {metadata}"),
            format!("Upload-Length: {length}"),
        );
        let answer = create(&server, "/", &[&metadata, &length]);
        assert_eq!(
            answer.status,
            status,
            "{metadata} {length}: {}",
            answer.text()
        );
        assert_eq!(
            (
                answer.field("Tus-Resumable"),
                answer.text().ends_with(".\n")
            ),
            ("1.0.0", true)
        );
    }
    for (target, fields, status) in [
        ("/", &["Upload-Length: 1"][..], 400),
        ("/", &[A_TXT], 400),
        ("/", &[A_TXT, "Upload-Defer-Length: 1"], 400),
        (
            "/",
            &[A_TXT, "Upload-Length: 1", "Upload-Concat: partial"],
            400,
        ),
        (
            "/",
            &[
                A_TXT,
                "Upload-Length: 1",
                "Content-Length: 1",
                "Expect: 100-continue",
            ],
            415,
        ),
        (
            "/",
            &[
                A_TXT,
                "Upload-Length: 1",
                "Content-Length: 2",
                PIECE,
                "Expect: 100-continue",
            ],
            413,
        ),
        ("/no-folder/", &[A_TXT, "Upload-Length: 1"], 404),
        ("/taken", &[A_TXT, "Upload-Length: 1"], 404),
        ("/.socketserver-partial/", &[A_TXT, "Upload-Length: 1"], 403),
        ("/../", &[A_TXT, "Upload-Length: 1"], 400),
    ] {
        let answer = create(&server, target, fields);
        assert_eq!(
            answer.status,
            status,
            "{target} {fields:?}: {}",
            answer.text()
        );
    }
    assert_eq!(part(&dir), None);
}

#[test]
fn a_piece_must_fit_where_the_upload_is() {
    let (dir, server) = site("tus-pieces", &[]);
    let location = created(&server, 10);
    assert_eq!(send(&server, &location, 0, &[], "hello").status, 204);
    for (wrong, status) in [(0, 409), (4, 409), (6, 409), (5, 413)] {
        assert_eq!(
            send(&server, &location, wrong, &[], "too long").status,
            status,
            "{wrong}"
        );
    }
    for (fields, status) in [
        (&[TUS, "Upload-Offset: 5"][..], 415),
        (&[TUS, "Upload-Offset: 5", "Content-Type: text/plain"], 415),
        (
            &[TUS, "Upload-Offset: 5", PIECE, "Content-Encoding: gzip"],
            415,
        ),
        (&[TUS, PIECE], 400),
        (&[TUS, PIECE, "Upload-Offset: x"], 400),
        (&[TUS, PIECE, "Upload-Offset: 5", "Upload-Offset: 5"], 400),
    ] {
        assert_eq!(
            ask(&server, "PATCH", &location, fields).status,
            status,
            "{fields:?}"
        );
    }
    // Chunks that are more than fit show it late, and are taken back.
    for (chunks, status, there) in [
        ("6\r\n world\r\n0\r\n\r\n", 413, 5),
        ("5\r\nworld\r\n0\r\n\r\n", 204, 10),
    ] {
        let mut connection = Connection::open(&server);
        let fields = [TUS, PIECE, "Upload-Offset: 5", "Transfer-Encoding: chunked"];
        connection.send([&request("PATCH", &location, &fields), chunks.as_bytes()].concat());
        assert_eq!(connection.receive().status, status);
        assert_eq!(offset(&server, &location), Some(there));
    }
    assert_eq!(read(&dir, "a.txt").as_deref(), Some("helloworld"));
    let unknown = location.replace(|c: char| c.is_ascii_digit(), "0");
    let elsewhere = location.replace("/.", "/folder/.");
    dir.write("folder/x", "");
    for target in [
        &*unknown,
        &elsewhere,
        "/a.txt",
        "/",
        "/.socketserver-partial/x",
        "/.socketserver-partial/",
    ] {
        assert_eq!(send(&server, target, 0, &[], "x").status, 404, "{target}");
        assert_eq!(
            (head(&server, target).status, offset(&server, target)),
            (404, None),
            "{target}"
        );
        assert_eq!(
            ask(&server, "DELETE", target, &[TUS]).status,
            404,
            "{target}"
        );
    }
    assert_eq!(read(&dir, "a.txt").as_deref(), Some("helloworld"));
}

#[test]
fn an_upload_can_begin_and_end_with_its_creation() {
    let (dir, server) = site("tus-at-once", &[]);
    let mut connection = Connection::open(&server);
    let mut create = |name: &str, fields: &[&str], content: &str| {
        let length = format!("Content-Length: {}", content.len());
        let name = format!("Upload-Metadata: filename {name}");
        let fields = [&[TUS, PIECE, &length, &name], fields].concat();
        connection.send([&request("POST", "/", &fields), content.as_bytes()].concat());
        connection.receive()
    };
    let begun = create("YQ==", &["Upload-Length: 10"], "hello");
    assert_eq!(
        (
            begun.status,
            begun.field("Upload-Offset"),
            begun.find("Content-Location")
        ),
        (201, "5", None)
    );
    let whole = create("Yg==", &["Upload-Length: 5", SHA_1], "hello");
    assert_eq!(
        (
            whole.status,
            whole.field("Upload-Offset"),
            whole.field("Content-Location")
        ),
        (201, "5", "/b")
    );
    let empty = create("Yw==", &["Upload-Length: 0"], "");
    assert_eq!(
        (
            empty.status,
            empty.field("Upload-Offset"),
            empty.field("Content-Location")
        ),
        (201, "0", "/c")
    );
    assert_eq!(
        create("ZA==", &["Upload-Length: 5", SHA_1], "hellO").status,
        460
    );
    let last = send(&server, begun.field("Location"), 5, &[], "world");
    assert_eq!(last.field("Content-Location"), "/a");
    assert_eq!(
        ["a", "b", "c", "d"].map(|name| read(&dir, name)),
        [Some("helloworld"), Some("hello"), Some(""), None]
            .map(|content| content.map(str::to_owned))
    );
    assert_eq!(part(&dir), None);
}

#[test]
fn a_taken_name_gets_a_number_if_that_is_the_policy() {
    let (dir, server) = site("tus-rename", &["--on-duplicate", "rename"]);
    let [first, second] = [created(&server, 1), created(&server, 1)];
    assert_eq!(
        send(&server, &second, 0, &[], "2").field("Content-Location"),
        "/a.txt"
    );
    assert_eq!(
        send(&server, &first, 0, &[], "1").field("Content-Location"),
        "/a%20%281%29.txt"
    );
    assert_eq!(
        head(&server, &first).field("Content-Location"),
        "/a%20%281%29.txt"
    );
    assert_eq!(
        (
            read(&dir, "a.txt").as_deref(),
            read(&dir, "a (1).txt").as_deref()
        ),
        (Some("2"), Some("1"))
    );
}
