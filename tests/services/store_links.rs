//! Symbolic links in a folder with accounts: rights are checked for the path without links.

use std::fs;
use std::os::unix::fs::symlink;

use crate::http::forms::{FORM, form};
use crate::http::raw::Connection;
use crate::http::tus::{A_TXT, TUS};
use crate::http::users::{Guarded, ask_as, login, put_as};
use crate::support::wait_until;

/// Ada has all rights in `/pub` and none elsewhere. The link `/pub/out` leads out of `/pub`,
/// `/pub/in` does not.
fn guarded(test: &str) -> Guarded {
    let guarded = Guarded::new(test, &[("ada", "-", "/"), ("ada", "lrwd", "/pub")]);
    for (name, content) in [
        ("releases/secret.txt", "secret"),
        ("pub/releases/open.txt", "open"),
        ("pub/d/x", "x"),
    ] {
        guarded.write(name, content);
    }
    let link = |to: &str, at: &str| symlink(to, guarded.dir.join("site").join(at)).unwrap();
    link("../releases", "pub/out");
    link("../releases/secret.txt", "pub/file");
    link("../releases", "pub/d/current");
    link("releases", "pub/in");
    guarded
}

#[test]
fn no_verb_gets_past_rights_through_a_link() {
    let guarded = guarded("links-verbs");
    let server = guarded.start(&["--on-duplicate", "overwrite"]);
    let to_out = "Destination: /pub/out/moved";
    for (method, target, fields) in [
        ("GET", "/pub/out/secret.txt", &[][..]),
        ("HEAD", "/pub/out/secret.txt", &[]),
        ("GET", "/pub/out/secret.txt?hash=sha256", &[]),
        ("GET", "/pub/file", &[]),
        ("GET", "/pub/out/", &[]),
        ("GET", "/pub/out/?json", &[]),
        ("GET", "/pub/out/?archive=zip", &[]),
        ("DELETE", "/pub/out/secret.txt", &[]),
        ("MKCOL", "/pub/out/new", &[]),
        ("MOVE", "/pub/out/secret.txt", &["Destination: /pub/mine"]),
        ("MOVE", "/pub/d/x", &[to_out]),
        ("POST", "/pub/out/", &[TUS, A_TXT, "Upload-Length: 1"]),
        ("POST", "/pub/", &[TUS, "Upload-Length: 1", OUT_A_TXT]),
    ] {
        let answer = ask_as(&server, "ada", method, target, fields);
        assert_eq!(answer.status, 403, "{method} {target} {fields:?}");
    }
    assert_eq!(put_as(&server, "ada", "/pub/out/secret.txt", "mine"), 403);
    assert_eq!(put_as(&server, "ada", "/pub/out/new/x", "mine"), 403);
    for (target, name) in [("/pub/out/", "a"), ("/pub/", "out/a")] {
        let mut connection = Connection::open(&server);
        let (form, login) = (form(&[(name, "mine")]), login("ada"));
        let length = format!("Content-Length: {}", form.len());
        let fields = [&login[0], FORM, &length];
        connection.send(
            [
                &crate::http::raw::request("POST", target, &fields)[..],
                form.as_bytes(),
            ]
            .concat(),
        );
        assert_eq!(connection.receive().status, 403, "{target} {name}");
    }
    let names = fs::read_dir(guarded.dir.join("site/releases"))
        .unwrap()
        .count();
    assert_eq!(
        (names, guarded.read("releases/secret.txt").as_deref()),
        (1, Some("secret"))
    );
    let listing = ask_as(&server, "ada", "GET", "/pub/?json", &[]);
    assert!(!listing.text().contains("\"out\"") && !listing.text().contains("\"file\""));
    assert!(listing.text().contains("\"in\""), "{}", listing.text());
}

/// `relativePath out/a.txt`
const OUT_A_TXT: &str = "Upload-Metadata: relativePath b3V0L2EudHh0";

#[test]
fn a_link_to_what_a_user_may_use_works() {
    let guarded = guarded("links-inside");
    let server = guarded.start(&[]);
    assert_eq!(
        ask_as(&server, "ada", "GET", "/pub/in/open.txt", &[]).text(),
        "open"
    );
    assert_eq!(put_as(&server, "ada", "/pub/in/new", "new"), 201);
    assert_eq!(guarded.read("pub/releases/new").as_deref(), Some("new"));
    let removed = ask_as(&server, "ada", "DELETE", "/pub/in/new", &[]);
    assert_eq!(
        (removed.status, guarded.read("pub/releases/new")),
        (204, None)
    );
}

#[test]
fn a_move_does_not_retarget_a_relative_link_past_rights() {
    let guarded = guarded("links-moved");
    let server = guarded.start(&[]);
    let open = ask_as(&server, "ada", "GET", "/pub/d/current/open.txt", &[]);
    assert_eq!(open.text(), "open");
    let to = |destination: &str| format!("Destination: {destination}");
    let moved = |from: &str, destination: &str| {
        ask_as(&server, "ada", "MOVE", from, &[&to(destination)]).status
    };
    assert_eq!(moved("/pub/d/current", "/pub/current"), 403);
    // A link that leads to a file that the user may see can be moved.
    assert_eq!(
        ask_as(&server, "ada", "MKCOL", "/pub/deep", &[]).status,
        201
    );
    assert_eq!(moved("/pub/d/current", "/pub/deep/current"), 201);
    let read = ask_as(&server, "ada", "GET", "/pub/deep/current/open.txt", &[]);
    assert_eq!(read.text(), "open");
}

#[test]
fn a_file_that_moved_behind_its_link_is_judged_where_it_is_now() {
    let guarded = guarded("links-cached");
    let server = guarded.start(&[]);
    let get = || ask_as(&server, "ada", "GET", "/pub/in/open.txt", &[]);
    assert_eq!(get().text(), "open");
    let site = guarded.dir.join("site");
    fs::rename(site.join("pub/releases"), site.join("private")).unwrap();
    fs::remove_file(site.join("pub/in")).unwrap();
    symlink("../private", site.join("pub/in")).unwrap();
    wait_until("the cached file is not sent any more", || {
        get().status == 403
    });
}

#[test]
fn a_home_that_is_a_link_is_a_home() {
    let guarded = guarded("links-home");
    guarded.allow("eve", "lrwd", "/eve");
    guarded.write("disk/eve/a", "a");
    symlink("disk/eve", guarded.dir.join("site/eve")).unwrap();
    guarded
        .store
        .set_home("eve", &"/eve".parse().unwrap())
        .unwrap();
    let server = guarded.start(&[]);
    assert_eq!(ask_as(&server, "eve", "GET", "/eve/a", &[]).text(), "a");
    assert_eq!(put_as(&server, "eve", "/eve/b", "b"), 201);
    assert_eq!(guarded.read("disk/eve/b").as_deref(), Some("b"));
}
