//! `serve http --accounts`: folders of the system that users have mounted (`users set --mount`).

use std::os::unix::fs::symlink;

use crate::http::raw::{Connection, request};
use crate::http::users::{Guarded, ask_as, login, put_as};
use crate::support::TestServer;

/// Ada has mounted `photos`, which is beside the site, at `/pictures`. Bob may do everything too.
fn guarded(test: &str) -> Guarded {
    let guarded = Guarded::new(test, &[("ada", "lrwd", "/"), ("bob", "lrwd", "/")]);
    guarded.write("own", "own");
    guarded.dir.write("photos/cat", "a cat");
    guarded.dir.write("secret", "secret");
    mount(&guarded, "/pictures", "photos");
    guarded
}

fn mount(guarded: &Guarded, at: &str, folder: &str) {
    let folder = guarded.dir.join(folder);
    let at = at.parse().unwrap();
    guarded
        .store
        .mount("ada", &at, folder.to_str().unwrap())
        .unwrap();
}

fn get(server: &TestServer, user: &str, target: &str) -> (u16, String) {
    let answer = ask_as(server, user, "GET", target, &[]);
    (
        answer.status,
        String::from_utf8_lossy(&answer.body).into_owned(),
    )
}

/// The names in a folder, as the listing in JSON has them.
fn names(server: &TestServer, user: &str, folder: &str) -> Vec<String> {
    let (status, text) = get(server, user, &format!("{folder}?json"));
    assert_eq!(status, 200, "{text}");
    let listing: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entries = listing["entries"].as_array().unwrap();
    let names = entries.iter().map(|entry| entry["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn a_mounted_folder_is_shown_to_its_user_and_to_nobody_else() {
    let guarded = guarded("http-mount");
    guarded.write("pictures/hidden", "hidden");
    let server = guarded.start(&[]);
    assert_eq!(names(&server, "ada", "/"), ["pictures", "own"]);
    assert_eq!(names(&server, "ada", "/pictures/"), ["cat"]);
    let answer = ask_as(&server, "ada", "GET", "/pictures", &[]);
    assert_eq!(
        (answer.status, answer.field("Location")),
        (301, "/pictures/")
    );
    for target in ["/pictures/cat", "//pictures/./cat", "/%70ictures/cat"] {
        assert_eq!(get(&server, "ada", target), (200, "a cat".to_owned()));
        assert_eq!(get(&server, "bob", target).0, 404, "{target}");
    }
    assert_eq!(get(&server, "ada", "/pictures/hidden").0, 404);
    assert_eq!(get(&server, "ada", "/picturesque").0, 404);
    assert_eq!(
        get(&server, "bob", "/pictures/hidden"),
        (200, "hidden".to_owned())
    );
    assert_eq!(get(&server, "-", "/pictures/cat").0, 401);
    assert_eq!(get(&server, "ada", "/own"), (200, "own".to_owned()));
    assert!(
        get(&server, "ada", "/pictures/?json")
            .1
            .contains("\"path\": \"/pictures/\"")
    );
    let page = ask_as(&server, "ada", "GET", "/pictures/", &["Accept: text/html"]);
    assert!(page.text().contains("Index of /pictures/") && page.text().contains("../"));
}

#[test]
fn files_are_stored_moved_and_removed_within_a_mounted_folder() {
    let guarded = guarded("http-mount-changes");
    let server = guarded.start(&[]);
    let stored = |name: &str| std::fs::read_to_string(guarded.dir.join("photos").join(name)).ok();
    assert_eq!(put_as(&server, "ada", "/pictures/new", "new"), 201);
    assert_eq!(stored("new").as_deref(), Some("new"));
    let ask = |method: &str, target: &str, fields: &[&str]| {
        ask_as(&server, "ada", method, target, fields).status
    };
    assert_eq!(ask("MKCOL", "/pictures/sub", &[]), 201);
    assert_eq!(
        ask(
            "MOVE",
            "/pictures/new",
            &["Destination: /pictures/sub/moved"]
        ),
        201
    );
    assert_eq!(stored("sub/moved").as_deref(), Some("new"));
    assert_eq!(get(&server, "ada", "/pictures/sub/moved").1, "new");
    for (from, to) in [("/own", "/pictures/own"), ("/own", "/pictures")] {
        let answer = ask_as(
            &server,
            "ada",
            "MOVE",
            from,
            &[&format!("Destination: {to}")],
        );
        assert_eq!(answer.status, 403, "{from} {to}");
        assert!(answer.text().contains("copy them"), "{}", answer.text());
    }
    let out = ask("MOVE", "/pictures/cat", &["Destination: /cat"]);
    assert!((400..500).contains(&out), "{out}");
    assert_eq!(stored("cat").as_deref(), Some("a cat"));
    assert_eq!(ask("DELETE", "/pictures", &[]), 403);
    assert_eq!(ask("MKCOL", "/pictures", &[]), 405);
    assert_eq!(ask("DELETE", "/pictures/sub/moved", &[]), 204);
    assert_eq!(stored("sub/moved"), None);
    assert_eq!(guarded.read("own").as_deref(), Some("own"));
}

#[test]
fn an_upload_by_tus_goes_to_the_mounted_folder() {
    let guarded = guarded("http-mount-tus");
    let server = guarded.start(&[]);
    let fields = [
        "Tus-Resumable: 1.0.0",
        "Upload-Length: 5",
        "Upload-Metadata: filename bW92aWU=",
        "Content-Length: 0",
    ];
    let created = ask_as(&server, "ada", "POST", "/pictures/", &fields);
    assert_eq!(created.status, 201, "{}", created.text());
    let location = created.field("Location").to_owned();
    let path = location.find("/pictures/").map(|at| &location[at..]);
    let path = path.unwrap_or_else(|| panic!("{location}"));
    let mut fields = login("ada");
    fields.extend([
        "Tus-Resumable: 1.0.0".to_owned(),
        "Upload-Offset: 0".to_owned(),
        "Content-Type: application/offset+octet-stream".to_owned(),
        "Content-Length: 5".to_owned(),
    ]);
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let mut connection = Connection::open(&server);
    connection.send([&request("PATCH", path, &fields), &b"movie"[..]].concat());
    assert_eq!(connection.receive().status, 204);
    let movie = std::fs::read_to_string(guarded.dir.join("photos/movie")).unwrap();
    assert_eq!(movie, "movie");
}

#[test]
fn rights_quota_and_confinement_hold_in_a_mounted_folder() {
    let guarded = guarded("http-mount-rights");
    guarded.dir.write("photos/private/diary", "x");
    guarded.dir.write("photos/fixed/file", "fixed");
    symlink("../secret", guarded.dir.join("photos/up")).unwrap();
    symlink("private", guarded.dir.join("photos/open")).unwrap();
    guarded.allow("ada", "-", "/pictures/private");
    guarded.allow("ada", "lr", "/pictures/fixed");
    guarded.store.set_quota("ada", Some(100)).unwrap();
    let server = guarded.start(&[]);
    assert_eq!(names(&server, "ada", "/pictures/"), ["fixed", "cat"]);
    for (target, status) in [
        ("/pictures/private/diary", 403),
        ("/pictures/open/diary", 403),
        ("/pictures/up", 404),
        ("/pictures/fixed/file", 200),
        ("/pictures/../secret", 404),
    ] {
        assert_eq!(get(&server, "ada", target).0, status, "{target}");
    }
    assert_eq!(put_as(&server, "ada", "/pictures/fixed/new", "x"), 403);
    assert_eq!(put_as(&server, "ada", "/pictures/private/new", "x"), 403);
    assert_eq!(
        put_as(&server, "ada", "/pictures/new", &"x".repeat(60)),
        201
    );
    assert_eq!(put_as(&server, "ada", "/new", &"x".repeat(30)), 201);
    assert_eq!(
        put_as(&server, "ada", "/pictures/more", &"x".repeat(20)),
        507
    );
    assert_eq!(guarded.store.account("ada").unwrap().unwrap().used, 90);
}

#[test]
fn an_archive_has_no_mounted_folder_but_may_be_one() {
    let guarded = guarded("http-mount-archive");
    let server = guarded.start(&[]);
    let archive = |folder: &str| {
        let target = format!("{folder}?archive=zip");
        let answer = ask_as(&server, "ada", "GET", &target, &[]);
        assert_eq!(answer.status, 200);
        let has = |name: &[u8]| answer.body.windows(name.len()).any(|part| part == name);
        (has(b"own"), has(b"cat"))
    };
    assert_eq!(archive("/"), (true, false));
    assert_eq!(archive("/pictures/"), (false, true));
}

#[test]
fn a_mounted_folder_that_is_not_there_is_not_found_until_it_is_back() {
    let guarded = guarded("http-mount-gone");
    guarded.write("pictures/cat", "another cat");
    let server = guarded.start(&["--base-path", "/files"]);
    assert_eq!(get(&server, "ada", "/files/pictures/cat").1, "a cat");
    assert_eq!(get(&server, "ada", "/pictures/cat").0, 404);
    std::fs::rename(guarded.dir.join("photos"), guarded.dir.join("moved")).unwrap();
    let (status, text) = get(&server, "ada", "/files/pictures/cat");
    assert_eq!(status, 404);
    assert!(
        text.contains("The mounted folder is not available"),
        "{text}"
    );
    assert_eq!(put_as(&server, "ada", "/files/pictures/new", "x"), 404);
    assert_eq!(guarded.read("pictures/new"), None);
    assert_eq!(names(&server, "ada", "/files/"), ["own"]);
    guarded.dir.write("photos/dog", "a dog");
    assert_eq!(get(&server, "ada", "/files/pictures/dog").1, "a dog");
}

#[test]
fn a_mounted_folder_is_below_the_home_and_may_hold_another_one() {
    let guarded = guarded("http-mount-nested");
    guarded.dir.write("music/song", "la");
    guarded.write("users/ada/own", "ada's own");
    guarded
        .store
        .set_home("ada", &"/users/ada".parse().unwrap())
        .unwrap();
    mount(&guarded, "/pictures/music", "music");
    let server = guarded.start(&[]);
    assert_eq!(names(&server, "ada", "/users/ada/"), ["pictures", "own"]);
    let folder = "/users/ada/pictures/";
    assert_eq!(names(&server, "ada", folder), ["music", "cat"]);
    let song = |at: &str| get(&server, "ada", &format!("{folder}{at}"));
    assert_eq!(song("music/song"), (200, "la".to_owned()));
    assert_eq!(song("cat").1, "a cat");
    assert_eq!(
        get(&server, "ada", "/pictures/cat").0,
        403,
        "outside of the home"
    );
    let to = format!("Destination: {folder}music/cat");
    let from = format!("{folder}cat");
    let moved = ask_as(&server, "ada", "MOVE", &from, &[&to]);
    assert_eq!(moved.status, 403);
    assert!(moved.text().contains("copy them"), "{}", moved.text());
}
