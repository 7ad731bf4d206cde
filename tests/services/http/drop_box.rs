//! `serve http --accounts`: drop boxes, where users may only upload.

use socketserver_handlers::accounts::ANONYMOUS;

use crate::http::users::{Guarded, ask_as, put_as};

#[test]
fn an_upload_only_user_adds_files_that_the_user_cannot_see() {
    let guarded = Guarded::new(
        "users-drop-box",
        &[("box", "w", "/"), ("-", "-", "/"), ("ada", "lr", "/")],
    );
    let server = guarded.start(&[]);
    assert_eq!(put_as(&server, "box", "/in/letter", "dear"), 201);
    assert_eq!(put_as(&server, "box", "/in/letter", "forged"), 403);
    for target in ["/", "/in", "/in/", "/in/letter", "/in/none"] {
        assert_eq!(
            ask_as(&server, "box", "GET", target, &[]).status,
            403,
            "{target}"
        );
    }
    assert_eq!(
        ask_as(&server, "box", "DELETE", "/in/letter", &[]).status,
        403
    );
    assert_eq!(
        ask_as(&server, "ada", "GET", "/in/letter", &[]).text(),
        "dear"
    );
}

#[test]
fn an_upload_only_user_s_browser_gets_a_page_without_a_listing() {
    let guarded = Guarded::new(
        "users-drop-page",
        &[("box", "w", "/in"), ("ada", "lrw", "/")],
    );
    let server = guarded.start(&[]);
    assert_eq!(put_as(&server, "box", "/in/letter", "dear"), 201);
    let page = |user: &str, target: &str| {
        ask_as(
            &server,
            user,
            "GET",
            target,
            &["Accept: text/html,*/*;q=0.8"],
        )
    };
    for target in [
        "/in/",
        "/in/none/",
        "/in/?archive=zip",
        "/in/?json",
        "/in/?hash=md5",
    ] {
        let answer = page("box", target);
        let text = answer.text();
        assert!(
            answer.status == 200 && text.contains("Upload files"),
            "{target}: {text}"
        );
        assert!(
            !text.contains("letter\"") && !text.contains("<table"),
            "{target}: {text}"
        );
        assert!(
            answer
                .field("Content-Security-Policy")
                .contains("script-src 'nonce-"),
            "{target}"
        );
    }
    for (target, status) in [
        ("/", 403),
        ("/in", 403),
        ("/in/letter", 403),
        ("/out/", 403),
        ("/in/letter/", 200),
    ] {
        assert_eq!(page("box", target).status, status, "{target}");
    }
    assert_eq!(page("-", "/in/").status, 401);
    assert!(page("ada", "/in/").text().contains("letter"));
    assert_eq!(page("box", "/in/?login").status, 200);
}

#[test]
fn everybody_may_add_files_and_known_users_can_log_in() {
    let guarded = Guarded::new(
        "users-open-box",
        &[(ANONYMOUS, "w", "/"), ("ada", "lr", "/")],
    );
    let server = guarded.start(&[]);
    let page =
        |user: &str, target: &str| ask_as(&server, user, "GET", target, &["Accept: text/html"]);
    assert!(page("-", "/").text().contains("?login"));
    assert_eq!(
        (page("-", "/?login").status, page("ada", "/?login").status),
        (401, 200)
    );
}
