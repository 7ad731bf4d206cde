//! `serve http --accounts --upload`: who may upload by tus, and from the pages of folders.

use base64_simd::STANDARD;

use crate::http::raw::{Answer, Connection, ask, request};
use crate::http::tus::{PIECE, TUS};
use crate::http::users::{Guarded, login};
use crate::support::TestServer;

fn create(server: &TestServer, user: &str, folder: &str, path: &str) -> Answer {
    let metadata = format!(
        "Upload-Metadata: relativePath {}",
        STANDARD.encode_to_string(path)
    );
    let login = login(user);
    let login: Vec<&str> = login.iter().map(String::as_str).collect();
    ask(
        server,
        "POST",
        folder,
        &[&[TUS, "Upload-Length: 2", &metadata], &login[..]].concat(),
    )
}

/// HEAD, or DELETE, or a PATCH with one byte.
fn request_by(server: &TestServer, user: &str, method: &str, target: &str, offset: &str) -> u16 {
    let login = login(user);
    let offset = format!("Upload-Offset: {offset}");
    let mut fields = vec![TUS];
    fields.extend(login.iter().map(String::as_str));
    if method == "PATCH" {
        fields.extend([PIECE, &offset, "Content-Length: 1"]);
    }
    let mut connection = Connection::open(server);
    connection.send(
        [
            &request(method, target, &fields)[..],
            if method == "PATCH" { b"x" } else { b"" },
        ]
        .concat(),
    );
    connection.receive_head().status
}

#[test]
fn whoever_may_only_write_uploads_asks_and_gives_up() {
    let guarded = Guarded::new("tus-users", &[("ada", "w", "/in"), ("eve", "lr", "/")]);
    guarded.write("in/x", "");
    let server = guarded.start(&[]);
    for (user, folder, path, status) in [
        ("-", "/in/", "a", 401),
        ("eve", "/in/", "a", 403),
        ("ada", "/", "a", 403),
        ("ada", "/", "in/a", 403),
    ] {
        assert_eq!(
            create(&server, user, folder, path).status,
            status,
            "{user} {folder} {path}"
        );
    }
    let created = create(&server, "ada", "/in/", "a");
    assert_eq!(created.status, 201);
    let upload = created.field("Location");
    // Who knows the address, but may not write there, can't do anything with it; nor can another
    // folder's writer.
    for method in ["HEAD", "PATCH", "DELETE"] {
        assert_eq!(
            request_by(&server, "eve", method, upload, "0"),
            403,
            "{method}"
        );
        assert_eq!(
            request_by(&server, "-", method, upload, "0"),
            401,
            "{method}"
        );
    }
    assert_eq!(request_by(&server, "ada", "HEAD", upload, "0"), 200);
    assert_eq!(request_by(&server, "ada", "PATCH", upload, "0"), 204);
    assert_eq!(request_by(&server, "ada", "PATCH", upload, "1"), 204);
    assert_eq!(guarded.read("in/a").as_deref(), Some("xx"));
    let created = create(&server, "ada", "/in/", "b");
    assert_eq!(
        request_by(&server, "ada", "DELETE", created.field("Location"), "0"),
        204
    );
}

#[test]
fn options_which_needs_no_right_stands_for_no_other_method() {
    let guarded = Guarded::new("tus-options", &[("ada", "w", "/")]);
    let server = guarded.start(&[]);
    let created = create(&server, "ada", "/", "a");
    let upload = created.field("Location");
    for named in ["HEAD", "DELETE", "PATCH"] {
        let named = format!("X-HTTP-Method-Override: {named}");
        let answer = ask(
            &server,
            "OPTIONS",
            upload,
            &[TUS, &named, PIECE, "Upload-Offset: 0"],
        );
        assert_eq!(
            (answer.status, answer.find("Upload-Offset")),
            (204, None),
            "{named}"
        );
        assert!(!answer.field("Allow").is_empty(), "{named}");
    }
    assert_eq!(request_by(&server, "ada", "HEAD", upload, "0"), 200);
}

#[test]
fn a_path_with_folders_needs_the_right_where_it_leads() {
    let guarded = Guarded::new(
        "tus-users-below",
        &[("ada", "lrw", "/"), ("ada", "-", "/secret")],
    );
    guarded.write("secret/x", "");
    let server = guarded.start(&["--on-duplicate", "overwrite"]);
    assert_eq!(create(&server, "ada", "/", "secret/a").status, 403);
    guarded.write("taken", "");
    // To replace takes the right to delete.
    assert_eq!(create(&server, "ada", "/", "taken").status, 409);
    let upload = create(&server, "ada", "/", "new")
        .field("Location")
        .to_owned();
    assert_eq!(request_by(&server, "ada", "PATCH", &upload, "0"), 204);
    guarded.write("new", "");
    assert_eq!(request_by(&server, "ada", "PATCH", &upload, "1"), 409);
    assert_eq!(guarded.read("new").as_deref(), Some(""));
}

#[test]
fn only_who_may_write_is_shown_where_to_drop_files() {
    let guarded = Guarded::new("page-users", &[("ada", "lrw", "/"), ("eve", "lr", "/")]);
    let server = guarded.start(&[]);
    for (user, shown) in [("ada", true), ("eve", false)] {
        let login = login(user);
        let page = ask(&server, "GET", "/", &["Accept: text/html", &login[0]]);
        assert_eq!(
            (page.status, page.text().contains("class=\"upload\"")),
            (200, shown),
            "{user}"
        );
        assert_eq!(
            page.field("Content-Security-Policy").contains("script-src"),
            shown
        );
    }
}
