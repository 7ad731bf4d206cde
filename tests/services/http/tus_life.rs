//! `serve http --upload`: how a tus upload ends, and which addresses and pages may use it.

use std::time::{Duration, SystemTime};

use crate::http::raw::{Connection, ask};
use crate::http::tus::{A_TXT, PIECE, TUS, create, created, head, part, piece_request, send};
use crate::http::upload::{read, site};
use crate::support::wait_until;

#[test]
fn an_unfinished_upload_expires() {
    let (_dir, server) = site("tus-expiry", &["--partial-expiry", "24h"]);
    let created = create(&server, "/", &[A_TXT, "Upload-Length: 10"]);
    let location = created.field("Location");
    let piece = send(&server, location, 0, &[], "hello");
    for answer in [&created, &piece, &head(&server, location)] {
        assert!(answer.field("Upload-Expires").ends_with(" GMT"));
    }
    assert_eq!(
        send(&server, location, 5, &[], "world").find("Upload-Expires"),
        None
    );
    let (_dir, server) = site("tus-expired", &["--partial-expiry", "1s"]);
    let location = self::created(&server, 10);
    assert_eq!(send(&server, &location, 0, &[], "hello").status, 204);
    wait_until("it has expired", || head(&server, &location).status == 404);
    assert_eq!(send(&server, &location, 5, &[], "world").status, 404);
}

#[test]
fn an_expired_upload_is_refused_on_resume_before_it_is_removed() {
    // This model has no thread that removes expired uploads at their time.
    let options = ["--partial-expiry", "24h", "--model", "processes"];
    let (dir, server) = site("tus-resume-expired", &options);
    let location = created(&server, 10);
    assert_eq!(send(&server, &location, 0, &[], "hello").status, 204);
    let id = location.rsplit('/').next().unwrap();
    let file = dir.join(&format!(".socketserver-partial/{id}.part"));
    let two_days_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
    let part = std::fs::File::options().write(true).open(&file).unwrap();
    part.set_modified(two_days_ago).unwrap();
    drop(part);
    assert_eq!(send(&server, &location, 5, &[], "world").status, 404);
    assert_eq!(head(&server, &location).status, 404);
    assert_eq!(read(&dir, "a.txt"), None);
    assert!(file.exists(), "nothing has removed it yet");
}

#[test]
fn a_terminated_upload_is_gone() {
    let (dir, server) = site("tus-terminated", &[]);
    let location = created(&server, 10);
    assert_eq!(send(&server, &location, 0, &[], "hello").status, 204);
    let gone = ask(&server, "DELETE", &location, &[TUS]);
    assert_eq!((gone.status, gone.field("Tus-Resumable")), (204, "1.0.0"));
    assert_eq!(head(&server, &location).status, 404);
    assert_eq!(send(&server, &location, 5, &[], "world").status, 404);
    assert_eq!(ask(&server, "DELETE", &location, &[TUS]).status, 404);
    assert!(
        std::fs::read_dir(dir.join(".socketserver-partial"))
            .unwrap()
            .next()
            .is_none()
    );
    // Of a complete one, the file stays.
    let location = created(&server, 1);
    assert_eq!(send(&server, &location, 0, &[], "1").status, 204);
    assert_eq!(ask(&server, "DELETE", &location, &[TUS]).status, 204);
    assert_eq!(
        (
            head(&server, &location).status,
            read(&dir, "a.txt").as_deref()
        ),
        (404, Some("1"))
    );
}

#[test]
fn a_method_can_be_named_in_a_field() {
    let (dir, server) = site("tus-override", &[]);
    let location = created(&server, 5);
    let piece = String::from_utf8(piece_request(
        &location,
        0,
        &["X-HTTP-Method-Override: PATCH"],
        "he",
    ))
    .unwrap();
    let mut connection = Connection::open(&server);
    connection.send(piece.replacen("PATCH", "POST", 1));
    assert_eq!(connection.receive().field("Upload-Offset"), "2");
    let head = connection.ask("POST", &location, &[TUS, "X-HTTP-Method-Override: HEAD"]);
    assert_eq!((head.status, head.field("Upload-Offset")), (200, "2"));
    assert_eq!(
        connection
            .ask("GET", &location, &[TUS, "X-HTTP-Method-Override: PATCH"])
            .status,
        400
    );
    assert_eq!(
        connection
            .ask("POST", &location, &[TUS, "X-HTTP-Method-Override: DELETE"])
            .status,
        204
    );
    assert_eq!(part(&dir), None);
    // Only tus knows the field.
    dir.write("b", "");
    assert_ne!(
        connection
            .ask("POST", "/b", &["X-HTTP-Method-Override: DELETE"])
            .status,
        204
    );
    assert!(read(&dir, "b").is_some());
}

#[test]
fn addresses_are_below_the_base_path_and_folders_are_made_on_the_way() {
    let (dir, server) = site("tus-base", &["--base-path", "/files/"]);
    dir.write("a b/x", "");
    // relativePath c/d.txt
    let answer = create(
        &server,
        "/files/a%20b",
        &[
            "Upload-Metadata: relativePath Yy9kLnR4dA==",
            "Upload-Length: 1",
        ],
    );
    let location = answer.field("Location");
    assert!(
        location.starts_with("/files/a%20b/.socketserver-partial/"),
        "{location}"
    );
    assert_eq!(
        send(
            &server,
            location.strip_prefix("/files").unwrap(),
            0,
            &[],
            "1"
        )
        .status,
        404
    );
    let last = send(&server, location, 0, &[], "1");
    assert_eq!(last.field("Content-Location"), "/files/a%20b/c/d.txt");
    assert_eq!(read(&dir, "a b/c/d.txt").as_deref(), Some("1"));
}

#[test]
fn pages_of_other_sites_upload_only_if_they_are_named() {
    let (_dir, server) = site("tus-origin", &["--cors", "https://example.org"]);
    let fields = [A_TXT, "Upload-Length: 1"];
    let refused = create(
        &server,
        "/",
        &[&fields[..], &["Origin: https://example.com"]].concat(),
    );
    assert_eq!(
        (refused.status, refused.field("Tus-Resumable")),
        (403, "1.0.0")
    );
    let allowed = create(
        &server,
        "/",
        &[&fields[..], &["Origin: https://example.org"]].concat(),
    );
    assert_eq!(allowed.status, 201);
    for method in ["PATCH", "HEAD", "DELETE"] {
        let refused = ask(
            &server,
            method,
            allowed.field("Location"),
            &[TUS, PIECE, "Origin: https://example.com"],
        );
        assert_eq!(
            (refused.status, refused.field("Tus-Resumable")),
            (403, "1.0.0"),
            "{method}"
        );
    }
    let exposed = allowed
        .fields
        .iter()
        .filter(|(name, _)| name == "Access-Control-Expose-Headers");
    let exposed: String = exposed.map(|(_, value)| format!("{value}, ")).collect();
    for name in [
        "ETag,",
        "Location,",
        "Upload-Offset,",
        "Upload-Length,",
        "Upload-Expires,",
        "Tus-Resumable,",
    ] {
        assert!(exposed.contains(name), "{name} in {exposed}");
    }
    let preflight = ask(
        &server,
        "OPTIONS",
        allowed.field("Location"),
        &[
            "Origin: https://example.org",
            "Access-Control-Request-Method: PATCH",
            "Access-Control-Request-Headers: tus-resumable,upload-offset",
        ],
    );
    assert!(
        preflight
            .field("Access-Control-Allow-Methods")
            .contains("PATCH")
    );
    assert_eq!(
        preflight.field("Access-Control-Allow-Headers"),
        "tus-resumable,upload-offset"
    );
}
