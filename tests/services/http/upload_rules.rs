//! `serve http --upload`: methods, origins and options that apply to every change.

use std::os::unix::fs::symlink;

use crate::http::raw::{ask, get};
use crate::http::upload::{put, site};

#[test]
fn allow_names_the_methods() {
    let (_dir, server) = site("put-allow", &[]);
    for (method, status) in [("OPTIONS", 204), ("TRACE", 405)] {
        let answer = ask(&server, method, "/a", &[]);
        assert_eq!(answer.status, status);
        for allowed in ["GET", "HEAD", "PUT", "DELETE", "MKCOL", "MOVE", "OPTIONS"] {
            assert!(
                answer
                    .field("Allow")
                    .split(", ")
                    .any(|name| name == allowed),
                "{allowed}"
            );
        }
    }
    assert_eq!(ask(&server, "LOCK", "/a", &[]).status, 501);
}

#[test]
fn pages_of_other_sites_change_nothing() {
    let (dir, server) = site("put-origin", &["--cors", "https://friend.example"]);
    dir.write("a", "1");
    for (fields, is_allowed) in [
        (&["Origin: http://h"][..], true),
        (
            &[
                "Origin: https://friend.example",
                "Sec-Fetch-Site: cross-site",
            ],
            true,
        ),
        (
            &[
                "Sec-Fetch-Site: same-origin",
                "Origin: http://behind.a.proxy",
            ],
            true,
        ),
        (&["Origin: http://elsewhere"], false),
        (&["Origin: null"], false),
        (&["Origin: http://h:81"], false),
        (&["Origin: http://h", "Sec-Fetch-Site: cross-site"], false),
        (&["Origin: http://i.h", "Sec-Fetch-Site: same-site"], false),
    ] {
        for (method, more) in [
            ("PUT", "Content-Length: 0"),
            ("MKCOL", "X: y"),
            ("MOVE", "Destination: /b"),
            ("DELETE", "X: y"),
        ] {
            let answer = ask(
                &server,
                method,
                "/a",
                &[fields, &[more, "If-Match: \"x\""]].concat(),
            );
            assert_eq!(
                answer.status == 403,
                !is_allowed,
                "{method} {fields:?}: {}",
                answer.text()
            );
        }
    }
    let preflight = [
        "Origin: https://friend.example",
        "Access-Control-Request-Method: PUT",
    ];
    let answer = ask(&server, "OPTIONS", "/a", &preflight);
    assert!(answer.field("Access-Control-Allow-Methods").contains("PUT"));
    assert_eq!(
        answer.field("Access-Control-Allow-Origin"),
        "https://friend.example"
    );
    let answer = ask(
        &server,
        "OPTIONS",
        "/a",
        &[&preflight[1..], &["Origin: http://elsewhere"]].concat(),
    );
    assert!(!answer.field("Access-Control-Allow-Methods").contains("PUT"));
}

#[test]
fn the_options_of_the_site_hold_for_changes() {
    let options = [
        "--base-path",
        "/base",
        "--header",
        "X-Own: 1",
        "--symlinks",
        "off",
        "--try-html",
    ];
    let (dir, server) = site("put-site", &options);
    dir.write("folder/a.html", "old");
    symlink("folder", dir.join("link")).unwrap();
    let stored = put(&server, "/base/b", &[], "1");
    assert_eq!(
        (
            stored.status,
            stored.field("Location"),
            stored.field("X-Own")
        ),
        (201, "/base/b", "1")
    );
    assert_eq!(put(&server, "/b", &[], "1").status, 404);
    assert_eq!(put(&server, "/base/link/a", &[], "1").status, 403);
    assert_eq!(get(&server, "/base/folder/a").text(), "old");
    assert_eq!(put(&server, "/base/folder/a.html", &[], "new").status, 204);
    assert_eq!(get(&server, "/base/folder/a").text(), "new");
    let moved = ask(
        &server,
        "MOVE",
        "/base/b",
        &["Destination: http://h/base/c"],
    );
    assert_eq!(
        (moved.status, moved.field("Location"), moved.field("X-Own")),
        (201, "/base/c", "1")
    );
    assert_eq!(
        ask(&server, "MOVE", "/base/c", &["Destination: /d"]).status,
        404
    );
}

#[test]
fn the_tag_of_a_coded_form_is_one_of_the_file() {
    let (_dir, server) = site("put-coded", &[]);
    let text = "text that is worth compressing, ".repeat(200);
    put(&server, "/a.txt", &[], &text);
    let coded = ask(&server, "GET", "/a.txt", &["Accept-Encoding: gzip"]);
    assert_eq!(coded.field("Content-Encoding"), "gzip");
    let tag = format!("If-Match: {}", coded.field("ETag"));
    assert_eq!(put(&server, "/a.txt", &[&tag], "new").status, 204);
    assert_eq!(put(&server, "/a.txt", &[&tag], "newer").status, 412);
}
