//! Quotas of folders and users, and the other limits of the store.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::http::forms::{form, post};
use crate::http::raw::{Connection, get, request};
use crate::http::tus::{A_TXT, TUS, create};
use crate::http::upload::{put, read, site};
use crate::http::users::{Guarded, ask_as, login, put_as};
use crate::support::{TestDir, TestServer, wait_until};
use crate::upload_faults::SmallDisk;

/// Starts the server with this limit of descriptors.
fn start_with_descriptors(limit: usize, arguments: &[&str]) -> TestServer {
    let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
    TestServer::start_by(&["sh", "-c", &script], arguments, 1, |command| command)
}

fn used(guarded: &Guarded) -> u64 {
    guarded.store.account("ada").unwrap().unwrap().used
}

#[test]
fn an_overwrite_counts_the_old_file_as_free() {
    let (dir, server) = site("quota-overwrite", &["--quota", "100"]);
    for (target, length, status) in [
        ("/a", 60, 201),
        ("/a", 100, 204),
        ("/a", 101, 507),
        ("/a", 80, 204),
        ("/b", 21, 507),
        ("/b", 20, 201),
    ] {
        let answer = put(&server, target, &[], "x".repeat(length));
        assert_eq!(answer.status, status, "{target} {length}");
    }
    assert_eq!(
        crate::http::raw::ask(&server, "DELETE", "/a", &[]).status,
        204
    );
    assert_eq!(put(&server, "/c", &[], "x".repeat(80)).status, 201);
    assert_eq!(read(&dir, "c").map(|content| content.len()), Some(80));
}

#[test]
fn a_form_that_overwrites_counts_the_old_files_as_free() {
    let options = ["--quota", "9MB", "--on-duplicate", "overwrite"];
    let (dir, server) = site("quota-form", &options);
    let content = |length: usize| "x".repeat(length);
    assert_eq!(put(&server, "/a", &[], content(8_000_000)).status, 201);
    for (length, status) in [(8_500_000, 201), (9_000_001, 507)] {
        let answer = post(&server, "/", &[], form(&[("a", &content(length))]));
        assert_eq!(answer.status, status, "{length}: {}", answer.text());
    }
    assert_eq!(read(&dir, "a").map(|file| file.len()), Some(8_500_000));
}

#[test]
fn a_wide_and_deep_tree_is_counted_with_few_descriptors() {
    let dir = TestDir::new("quota-wide");
    for number in 0..300 {
        dir.write(&format!("wide/{number}/a"), "x");
    }
    let deep = format!("{}a", "deep/".repeat(300));
    dir.write(&deep, "x");
    let arguments = ["http", dir.as_str(), "--upload", "--quota", "400"];
    let server = start_with_descriptors(100, &arguments);
    assert_eq!(put(&server, "/b", &[], "x".repeat(100)).status, 507);
    assert_eq!(put(&server, "/b", &[], "x".repeat(99)).status, 201);
}

#[test]
fn what_others_remove_makes_room_and_what_they_add_counts_from_the_next_start() {
    let dir = TestDir::new("quota-others");
    dir.write("old", "x".repeat(90));
    let start = || TestServer::start(&["http", dir.as_str(), "--upload", "--quota", "100"]);
    let server = start();
    assert_eq!(put(&server, "/a", &[], "x".repeat(11)).status, 507);
    fs::remove_file(dir.join("old")).unwrap();
    // The folder is counted again at most once a second.
    wait_until("the file counts no more", || {
        put(&server, "/a", &[], "x".repeat(11)).status == 201
    });
    drop(server);
    dir.write("new", "x".repeat(80));
    let server = start();
    assert_eq!(put(&server, "/b", &[], "x".repeat(10)).status, 507);
}

#[test]
fn a_move_through_a_linked_folder_does_not_evade_the_quota() {
    let guarded = Guarded::new("quota-linked", &[("ada", "lrwd", "/")]);
    guarded.store.set_quota("ada", Some(100)).unwrap();
    fs::create_dir(guarded.dir.join("site/d")).unwrap();
    symlink("d", guarded.dir.join("site/link")).unwrap();
    let server = guarded.start(&[]);
    assert_eq!(put_as(&server, "ada", "/link/a", &"x".repeat(60)), 201);
    let moved = ask_as(&server, "ada", "MOVE", "/link/a", &["Destination: /b"]);
    assert_eq!((moved.status, used(&guarded)), (201, 60));
    assert_eq!(put_as(&server, "ada", "/d/c", &"x".repeat(41)), 507);
    let moved = ask_as(&server, "ada", "MOVE", "/b", &["Destination: /link/b"]);
    assert_eq!(moved.status, 201);
    let removed = ask_as(&server, "ada", "DELETE", "/d/b", &[]);
    assert_eq!((removed.status, used(&guarded)), (204, 0));
}

#[test]
fn a_folder_that_was_renamed_keeps_its_accounts() {
    let guarded = Guarded::new("quota-renamed", &[("ada", "lrwd", "/")]);
    let server = guarded.start(&[]);
    assert_eq!(put_as(&server, "ada", "/a", "12345"), 201);
    drop(server);
    let (site, other) = (guarded.dir.join("site"), guarded.dir.join("other"));
    fs::rename(&site, &other).unwrap();
    let accounts = guarded.dir.join("accounts.db");
    let arguments = [
        "http",
        other.to_str().unwrap(),
        "--upload",
        "--accounts",
        accounts.to_str().unwrap(),
    ];
    let server = TestServer::start(&arguments);
    assert_eq!(put_as(&server, "ada", "/a", "123"), 204);
    assert_eq!(used(&guarded), 3);
    assert_eq!(ask_as(&server, "ada", "DELETE", "/a", &[]).status, 204);
    assert_eq!(used(&guarded), 0);
}

#[test]
fn a_put_ends_unstored_when_its_user_was_removed_meanwhile() {
    let guarded = Guarded::new("quota-user", &[("ada", "lrwd", "/")]);
    let server = guarded.start(&[]);
    let mut connection = Connection::open(&server);
    let fields = [login("ada"), vec!["Content-Length: 2".to_owned()]].concat();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    connection.send([&request("PUT", "/a", &fields)[..], b"x"].concat());
    wait_until("the upload has begun", || {
        fs::read_dir(guarded.dir.join("site/.socketserver-partial")).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.metadata().is_ok_and(|part| part.len() == 1))
        })
    });
    guarded.store.remove_user("ada").unwrap();
    connection.send("y");
    let answer = connection.receive();
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(guarded.read("a"), None);
    let staged = fs::read_dir(guarded.dir.join("site/.socketserver-partial")).unwrap();
    assert_eq!(staged.count(), 0);
}

#[test]
fn registrations_are_limited_in_all_and_for_each_user() {
    let length = "Upload-Length: 1";
    let (_dir, server) = site("partials-all", &["--max-partials", "20"]);
    for number in 0..25 {
        let answer = create(&server, "/", &[A_TXT, length]);
        let expected = if number < 20 { 201 } else { 429 };
        assert_eq!(answer.status, expected, "{number}");
    }
    // Uploads that are not registered are still accepted.
    assert_eq!(put(&server, "/b", &[], "x").status, 201);

    let users = [("ada", "lrwd", "/"), ("eve", "lrwd", "/")];
    let guarded = Guarded::new("partials-user", &users);
    let server = guarded.start(&["--max-partials", "30"]);
    let create = |user| ask_as(&server, user, "POST", "/", &[TUS, A_TXT, length]);
    let first = create("ada");
    assert_eq!(first.status, 201);
    for status in [201, 201, 429, 429] {
        assert_eq!(create("ada").status, status);
    }
    assert_eq!(create("eve").status, 201);
    let ended = ask_as(&server, "ada", "DELETE", first.field("Location"), &[TUS]);
    assert_eq!((ended.status, create("ada").status), (204, 201));
}

#[test]
fn uploads_leave_descriptors_for_downloads() {
    let dir = TestDir::new("descriptors");
    dir.write("a", "x".repeat(100_000));
    let server = start_with_descriptors(256, &["http", dir.as_str(), "--upload"]);
    let begin = |number: usize| {
        let mut connection = Connection::open(&server);
        let fields = ["Content-Length: 2", "Expect: 100-continue"];
        connection.send(request("PUT", &format!("/{number}"), &fields));
        let status = connection.receive_head().status;
        (status == 100).then_some(connection).ok_or(status)
    };
    let mut uploads = Vec::new();
    let refused = loop {
        match begin(uploads.len()) {
            Ok(upload) => uploads.push(upload),
            Err(status) => break status,
        }
    };
    // One descriptor for the connection, one for the file.
    assert_eq!(refused, 503);
    assert!((80..=112).contains(&uploads.len()), "{}", uploads.len());
    for _ in 0..3 {
        assert_eq!(get(&server, "/a").body.len(), 100_000);
    }
    for (number, mut upload) in uploads.into_iter().enumerate() {
        upload.send("xy");
        assert_eq!(upload.receive().status, 201, "{number}");
    }
    assert_eq!(put(&server, "/later", &[], "x").status, 201);
}

fn mode(dir: &TestDir, name: &str) -> u32 {
    fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_replaced_file_keeps_its_mode_and_new_ones_obey_the_umask() {
    let (dir, server) = site("modes", &["--umask", "037"]);
    for (target, status) in [("/new", 201), ("/folder/new", 201)] {
        assert_eq!(put(&server, target, &[], "x").status, status);
    }
    assert_eq!(
        (
            mode(&dir, "new"),
            mode(&dir, "folder"),
            mode(&dir, "folder/new")
        ),
        (0o640, 0o740, 0o640)
    );
    dir.write("old", "1");
    for kept in [0o604, 0o755, 0o600] {
        fs::set_permissions(dir.join("old"), fs::Permissions::from_mode(kept)).unwrap();
        assert_eq!(put(&server, "/old", &[], "22").status, 204);
        assert_eq!(
            (mode(&dir, "old"), read(&dir, "old").as_deref()),
            (kept, Some("22"))
        );
    }
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::{MetadataExt, chown};
        chown(dir.join("old"), Some(65534), Some(65534)).unwrap();
        assert_eq!(put(&server, "/old", &[], "333").status, 204);
        let owner = fs::metadata(dir.join("old")).unwrap();
        assert_eq!(
            (owner.uid(), owner.gid(), mode(&dir, "old")),
            (65534, 65534, 0o600)
        );
    }
}

#[test]
fn a_full_disk_leaves_no_empty_record() {
    let Some(disk) = SmallDisk::mount("full-record") else {
        return;
    };
    let server = TestServer::start(&["http", disk.0.as_str(), "--upload"]);
    // A first upload creates the hidden folder while there is room.
    assert_eq!(put(&server, "/a", &[], "x").status, 201);
    let mut filler = fs::File::create(disk.0.join("filler")).unwrap();
    let block = vec![0; 4096];
    while std::io::Write::write_all(&mut filler, &block).is_ok() {}
    let mut refused = 0;
    for _ in 0..5 {
        let answer = create(&server, "/", &[A_TXT, "Upload-Length: 1"]);
        refused += u32::from(answer.status == 507);
    }
    assert_eq!(refused, 5);
    let staged = fs::read_dir(disk.0.join(".socketserver-partial")).unwrap();
    assert_eq!(staged.count(), 0);
}
