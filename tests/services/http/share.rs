//! `serve http --accounts`: links of `socketserver share`.

use std::process::Command;
use std::time::{Duration, SystemTime};

use socketserver_handlers::accounts::share::Share;

use crate::http::raw::{Answer, Connection, request};
use crate::http::users::{Guarded, ask_as};
use crate::support::{BoundedCommand, TestServer, has_tool, run};

fn site(test: &str) -> (Guarded, TestServer) {
    let guarded = Guarded::new(test, &[("ada", "lrwd", "/")]);
    for (name, content) in [
        ("doc/a.txt", "0123456789"),
        ("doc/sub/b.txt", "b"),
        ("other.txt", "other"),
    ] {
        guarded.write(name, content);
    }
    let server = guarded.start(&["--access-log", "-"]);
    (guarded, server)
}

fn share(
    guarded: &Guarded,
    path: &str,
    expires: Option<SystemTime>,
    uses: Option<u64>,
) -> (Share, String) {
    let (share, token) = guarded
        .store
        .shares()
        .add(&path.parse().unwrap(), expires, uses)
        .unwrap();
    (share, format!("share={token}"))
}

fn uses(guarded: &Guarded, share: &Share) -> u64 {
    guarded
        .store
        .shares()
        .list()
        .unwrap()
        .into_iter()
        .find(|own| own.id == share.id)
        .unwrap()
        .used
}

fn get(server: &TestServer, target: &str, token: &str, fields: &[&str]) -> Answer {
    Connection::open(server).ask("GET", &format!("{target}?{token}"), fields)
}

#[test]
fn a_link_opens_its_file_for_who_has_no_account_and_nothing_else() {
    let (guarded, server) = site("share-file");
    let (own, token) = share(&guarded, "/doc/a.txt", None, None);
    let answer = get(&server, "/doc/a.txt", &token, &[]);
    assert_eq!(
        (answer.status, answer.text(), answer.field("Cache-Control")),
        (200, "0123456789", "private")
    );
    assert_eq!(
        Connection::open(&server)
            .ask("HEAD", &format!("/doc/a.txt?{token}"), &[])
            .status,
        200
    );
    let etag = format!("If-None-Match: {}", answer.field("ETag"));
    assert_eq!(get(&server, "/doc/a.txt", &token, &[&etag]).status, 304);
    assert_eq!(
        get(&server, "/doc/a.txt", &token, &["Range: bytes=99-"]).status,
        416
    );
    assert_eq!(uses(&guarded, &own), 1, "only what is sent is a use");
    for (target, status) in [
        ("/doc/a.txt/", 404),
        ("/doc/", 403),
        ("/other.txt", 403),
        ("/none", 403),
        ("/doc/a.tx", 403),
    ] {
        assert_eq!(get(&server, target, &token, &[]).status, status, "{target}");
    }
    for method in ["DELETE", "MKCOL"] {
        assert_eq!(
            ask_as(&server, "-", method, &format!("/doc/a.txt?{token}"), &[]).status,
            401,
            "{method}"
        );
    }
    assert_eq!(ask_as(&server, "-", "GET", "/doc/a.txt", &[]).status, 401);
}

#[test]
fn forged_expired_and_revoked_links_open_nothing_and_say_why() {
    let (guarded, server) = site("share-closed");
    let (own, token) = share(&guarded, "/doc/a.txt", None, None);
    let (_, expired) = share(
        &guarded,
        "/doc/a.txt",
        Some(SystemTime::now() - Duration::from_secs(1)),
        None,
    );
    let forged = format!(
        "{}{}",
        &token[..token.len() - 1],
        if token.ends_with('A') { "Q" } else { "A" }
    );
    let foreign = "share=AAAA";
    for (token, status, words) in [
        (&*forged, 403, "not valid, or was revoked"),
        (foreign, 403, "not valid"),
        ("share=", 403, "not valid"),
        (&*expired, 410, "has expired"),
    ] {
        for target in ["/doc/a.txt", "/none"] {
            let answer = get(&server, target, token, &[]);
            let expected = if target == "/none" && status == 410 {
                403
            } else {
                status
            };
            assert_eq!(answer.status, expected, "{target} {token}");
            assert!(
                expected != status || answer.text().contains(words),
                "{}",
                answer.text()
            );
        }
    }
    assert_eq!(get(&server, "/doc/a.txt", &token, &[]).status, 200);
    guarded.store.shares().revoke(own.id).unwrap();
    assert_eq!(get(&server, "/doc/a.txt", &token, &[]).status, 403);
}

#[test]
fn a_limited_link_counts_downloads_and_not_their_parts() {
    let (guarded, server) = site("share-limit");
    let (own, token) = share(&guarded, "/doc/a.txt", None, Some(2));
    let part = |server: &TestServer, range: &str| {
        let answer = get(
            server,
            "/doc/a.txt",
            &token,
            &[&format!("Range: bytes={range}")],
        );
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    assert_eq!(part(&server, "0-3"), (206, "0123".to_owned()));
    assert_eq!(part(&server, "4-"), (206, "456789".to_owned()));
    assert_eq!(uses(&guarded, &own), 1);
    assert_eq!(get(&server, "/doc/a.txt", &token, &[]).status, 200);
    assert_eq!(uses(&guarded, &own), 2);
    // What was begun can be ended, but nothing more begun.
    assert_eq!(part(&server, "9-"), (206, "9".to_owned()));
    let answer = get(&server, "/doc/a.txt", &token, &[]);
    assert_eq!(answer.status, 410);
    assert!(answer.text().contains("as often as it may be"));
    assert_eq!(uses(&guarded, &own), 2);
    drop(server);
    let server = guarded.start(&[]);
    assert_eq!(
        (
            get(&server, "/doc/a.txt", &token, &[]).status,
            part(&server, "9-").0
        ),
        (410, 410)
    );
}

#[test]
fn of_many_at_once_only_as_many_get_through_as_the_link_allows() {
    let (guarded, server) = site("share-race");
    let (own, token) = share(&guarded, "/doc/a.txt", None, Some(5));
    let mut connections: Vec<_> = (0..24).map(|_| Connection::open(&server)).collect();
    connections
        .iter_mut()
        .for_each(|one| one.send(request("GET", &format!("/doc/a.txt?{token}"), &[])));
    let let_in = connections
        .iter_mut()
        .filter_map(|one| (one.receive().status == 200).then_some(()))
        .count();
    assert_eq!((let_in, uses(&guarded, &own)), (5, 5));
}

#[test]
fn a_link_to_a_folder_opens_all_below_it_and_its_pages_lead_on_by_a_cookie() {
    let (guarded, server) = site("share-folder");
    let (own, token) = share(&guarded, "/doc", None, None);
    let moved = get(&server, "/doc", &token, &[]);
    assert_eq!(
        (moved.status, moved.field("Location")),
        (301, &*format!("/doc/?{token}"))
    );
    let listing = get(&server, "/doc/", &token, &["Accept: text/html"]);
    assert!(listing.text().contains("a.txt"));
    assert_eq!(uses(&guarded, &own), 0);
    let cookie = listing.field("Set-Cookie");
    assert_eq!(cookie, format!("{token}; HttpOnly; SameSite=Lax"));
    let cookie = format!("Cookie: share=bad; {token}");
    for (target, status) in [
        ("/doc/a.txt", 200),
        ("/doc/sub/", 200),
        ("/doc/sub/b.txt", 200),
        ("/other.txt", 401),
    ] {
        let answer = ask_as(&server, "-", "GET", target, &[&cookie]);
        assert_eq!(
            (answer.status, answer.find("Set-Cookie")),
            (status, None),
            "{target}"
        );
    }
    assert_eq!(get(&server, "/doc/sub/b.txt", &token, &[]).text(), "b");
    let archive = get(&server, "/doc/", &format!("archive=zip&{token}"), &[]);
    assert!(archive.body.starts_with(b"PK"));
    assert_eq!(
        get(&server, "/doc/", &format!("archive=rar&{token}"), &[]).status,
        400
    );
    assert_eq!(uses(&guarded, &own), 4);
    // Who has an account is himself, whatever cookies he has.
    assert_eq!(
        ask_as(&server, "ada", "GET", "/other.txt", &[&cookie]).status,
        200
    );
}

#[test]
fn the_command_makes_a_link_that_curl_can_fetch_and_the_log_hides() {
    let (guarded, server) = site("share-command");
    let (accounts, base) = (
        guarded.dir.join("accounts.db"),
        format!("http://{}", server.address()),
    );
    let accounts = accounts.to_str().unwrap();
    let share = [
        "share",
        "add",
        "/doc/a.txt",
        "--accounts",
        accounts,
        "--uses",
        "1",
        "--base-url",
        &base,
        "--qr",
    ];
    let (code, stdout, _) = run(&share);
    assert_eq!(code, Some(0));
    let link = stdout.lines().next().unwrap();
    assert!(stdout.lines().count() > 10, "with a QR code");
    if has_tool("curl", "the_command_makes_a_link") {
        for expected in ["0123456789200", "410"] {
            let output = Command::new("curl")
                .args(["-s", "-m", "20", "-w", "%{http_code}", link])
                .finish();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.ends_with(expected), "{said}");
            let line = server.wait_for_log("GET /doc");
            assert!(
                line.contains(r#""GET /doc/a.txt?share=... HTTP/1.1""#),
                "{line}"
            );
        }
    }
}
