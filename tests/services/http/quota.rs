//! `serve http --upload --accounts`: users store as much as their quotas let them, whichever way
//! they take.

use std::io::Write;

use crate::http::forms::{FORM, form};
use crate::http::raw::{Answer, Connection, request};
use crate::http::tus::{A_TXT, PIECE, TUS};
use crate::http::users::{Guarded, ask_as, login};
use crate::support::{TestServer, run, wait_until};

const USED_UP: &str = "Nothing is stored: the user's quota is used up.\n";

/// A site with the user ada, who may store 100 bytes, and eve, who may store any number.
fn guarded(test: &str) -> Guarded {
    let guarded = Guarded::new(test, &[("ada", "lrwd", "/"), ("eve", "lrwd", "/")]);
    guarded.store.set_quota("ada", Some(100)).unwrap();
    std::fs::create_dir(guarded.dir.join("site/d")).unwrap();
    guarded
}

fn used(guarded: &Guarded, user: &str) -> u64 {
    guarded.store.account(user).unwrap().unwrap().used
}

/// Nothing is left of uploads that were refused or cut.
fn nothing_left(guarded: &Guarded) -> bool {
    aside(guarded).is_none_or(|mut entries| entries.next().is_none())
}

/// The bytes of uploads that are under way or were cut.
fn bytes_aside(guarded: &Guarded) -> u64 {
    aside(guarded).map_or(0, |entries| {
        entries
            .flatten()
            .filter_map(|entry| entry.metadata().ok())
            .map(|m| m.len())
            .sum()
    })
}

fn aside(guarded: &Guarded) -> Option<std::fs::ReadDir> {
    std::fs::read_dir(guarded.dir.join("site/.socketserver-partial")).ok()
}

fn send_as(
    server: &TestServer,
    user: &str,
    method: &str,
    target: &str,
    fields: &[&str],
    content: impl AsRef<[u8]>,
) -> Answer {
    let mut connection = Connection::open(server);
    connection.send(head_as(
        user,
        method,
        target,
        fields,
        content.as_ref().len(),
    ));
    // The server may refuse and close before all has come.
    let _ = connection.stream().write_all(content.as_ref());
    connection.receive()
}

fn head_as(user: &str, method: &str, target: &str, fields: &[&str], length: usize) -> Vec<u8> {
    let (login, length) = (login(user), format!("Content-Length: {length}"));
    request(method, target, &[fields, &[&*login[0], &length]].concat())
}

fn put(server: &TestServer, user: &str, target: &str, length: usize) -> u16 {
    send_as(server, user, "PUT", target, &[], vec![b'x'; length]).status
}

/// A body of one chunk that doesn't tell how many follow.
fn chunked(length: usize) -> Vec<u8> {
    [
        format!("{length:x}\r\n").into_bytes(),
        vec![b'x'; length],
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat()
}

fn put_chunked(server: &TestServer, target: &str, length: usize) -> Answer {
    let mut connection = Connection::open(server);
    connection.send(request(
        "PUT",
        target,
        &[&login("ada")[0], "Transfer-Encoding: chunked"],
    ));
    connection.send(chunked(length));
    connection.receive()
}

#[test]
fn put_and_delete_and_move_keep_the_books() {
    let guarded = guarded("quota-put");
    let server = guarded.start(&[]);
    for (method, target, length, status, counted) in [
        ("PUT", "/a", 60, 201, 60),
        ("PUT", "/b", 41, 507, 60),
        ("PUT", "/b", 40, 201, 100),
        ("PUT", "/empty", 0, 201, 100),
        ("PUT", "/c", 1, 507, 100),
        // Only the difference counts.
        ("PUT", "/a", 60, 204, 100),
        ("PUT", "/a", 61, 507, 100),
        ("PUT", "/a", 10, 204, 50),
        ("DELETE", "/b", 0, 204, 10),
        ("PUT", "/d/e", 90, 201, 100),
        ("MOVE", "/d", 0, 201, 100),
        ("DELETE", "/moved/e", 0, 204, 10),
        ("PUT", "/moved/f", 50, 201, 60),
        // What is replaced counts no more.
        ("MOVE", "/a", 0, 204, 10),
        ("DELETE", "/none", 0, 404, 10),
    ] {
        let destination = format!(
            "Destination: {}",
            if target == "/d" { "/moved" } else { "/moved/f" }
        );
        let answer = match method {
            "PUT" => put(&server, "ada", target, length),
            _ => ask_as(&server, "ada", method, target, &[&destination]).status,
        };
        assert_eq!(
            (answer, used(&guarded, "ada")),
            (status, counted),
            "{method} {target} {length}"
        );
        assert!(nothing_left(&guarded));
    }
    // Another's file counts for who stored it; replaced, for who replaced it.
    assert_eq!(
        (
            put(&server, "eve", "/e", 1000),
            put(&server, "ada", "/e", 91)
        ),
        (201, 507)
    );
    assert_eq!((used(&guarded, "ada"), used(&guarded, "eve")), (10, 1000));
    assert_eq!(
        (
            put(&server, "ada", "/e", 90),
            put(&server, "eve", "/moved/f", 1)
        ),
        (204, 204)
    );
    assert_eq!((used(&guarded, "ada"), used(&guarded, "eve")), (90, 1));
    assert_eq!(ask_as(&server, "eve", "DELETE", "/e", &[]).status, 204);
    assert_eq!(used(&guarded, "ada"), 0);
}

#[test]
fn a_length_that_does_not_fit_is_refused_before_the_body_comes() {
    let guarded = guarded("quota-early");
    let server = guarded.start(&[]);
    for (method, target, fields, length) in [
        ("PUT", "/a", &[][..], 101),
        ("POST", "/", &[FORM], 5_000_000),
        ("POST", "/", &[TUS, A_TXT, PIECE, "Upload-Length: 101"], 50),
    ] {
        let mut connection = Connection::open(&server);
        connection.send(head_as(
            "ada",
            method,
            target,
            &[fields, &["Expect: 100-continue"]].concat(),
            length,
        ));
        let answer = connection.receive();
        assert_eq!(
            (answer.status, answer.text()),
            (507, USED_UP),
            "{method} {fields:?}"
        );
        assert!(nothing_left(&guarded) && used(&guarded, "ada") == 0);
    }
}

#[test]
fn a_body_of_unknown_length_is_cut_where_the_quota_ends() {
    let guarded = guarded("quota-chunked");
    let server = guarded.start(&[]);
    let answer = put_chunked(&server, "/a", 101);
    assert_eq!((answer.status, answer.text()), (507, USED_UP));
    assert_eq!((guarded.read("a"), used(&guarded, "ada")), (None, 0));
    assert_eq!(
        (put_chunked(&server, "/a", 70).status, used(&guarded, "ada")),
        (201, 70)
    );
    assert_eq!(
        (
            put_chunked(&server, "/a", 100).status,
            used(&guarded, "ada")
        ),
        (204, 100)
    );
    // A large one, of which more is claimed ahead than comes.
    guarded.store.set_quota("ada", Some(3_000_000)).unwrap();
    assert_eq!(
        (
            put_chunked(&server, "/b", 2_999_900).status,
            used(&guarded, "ada")
        ),
        (201, 3_000_000)
    );
    assert_eq!(
        (put_chunked(&server, "/c", 1).status, nothing_left(&guarded)),
        (507, true)
    );
}

#[test]
fn a_form_keeps_the_files_that_fit() {
    let guarded = guarded("quota-form");
    let server = guarded.start(&["--on-duplicate", "overwrite"]);
    let content = "x".repeat(60);
    let post = |files: &[(&str, &str)]| send_as(&server, "ada", "POST", "/", &[FORM], form(files));
    let answer = post(&[("a", &content), ("b", &content), ("c", "")]);
    assert_eq!(answer.status, 507);
    assert_eq!(
        answer.text(),
        "b: the user's quota is used up.\nStored a, 60 bytes: /a\n"
    );
    assert_eq!(
        (
            used(&guarded, "ada"),
            guarded.read("b"),
            nothing_left(&guarded)
        ),
        (60, None, true)
    );
    assert_eq!(
        (
            post(&[("b", &content[..40]), ("a", &content)]).status,
            used(&guarded, "ada")
        ),
        (201, 100)
    );
}

#[test]
fn a_tus_upload_counts_in_full_from_its_creation_to_its_end() {
    let guarded = guarded("quota-tus");
    let server = guarded.start(&["--on-duplicate", "overwrite"]);
    let create = |length: usize| {
        send_as(
            &server,
            "ada",
            "POST",
            "/",
            &[TUS, A_TXT, &format!("Upload-Length: {length}")],
            "",
        )
    };
    let piece = |target: &str, offset: usize, length: usize| {
        let fields = [TUS, PIECE, &format!("Upload-Offset: {offset}")];
        send_as(&server, "ada", "PATCH", target, &fields, vec![b'x'; length]).status
    };
    assert_eq!((create(101).status, used(&guarded, "ada")), (507, 0));
    let first = create(60);
    assert_eq!((first.status, used(&guarded, "ada")), (201, 60));
    let first = first.field("Location");
    let refused = create(41);
    assert_eq!(
        (refused.status, refused.field("Tus-Resumable")),
        (507, "1.0.0")
    );
    assert_eq!(
        (piece(first, 0, 30), put(&server, "ada", "/b", 41)),
        (204, 507)
    );
    // It counts for a server that has just begun, too.
    drop(server);
    let server = guarded.start(&["--on-duplicate", "overwrite"]);
    assert_eq!(
        (put(&server, "ada", "/b", 41), put(&server, "ada", "/b", 40)),
        (507, 201)
    );
    let piece = |target: &str, offset: usize, length: usize| {
        let fields = [TUS, PIECE, &format!("Upload-Offset: {offset}")];
        send_as(&server, "ada", "PATCH", target, &fields, vec![b'x'; length]).status
    };
    assert_eq!((piece(first, 30, 30), used(&guarded, "ada")), (204, 100));
    assert_eq!(guarded.read("a.txt").map(|content| content.len()), Some(60));
    let create = |length: usize| {
        send_as(
            &server,
            "ada",
            "POST",
            "/",
            &[TUS, A_TXT, &format!("Upload-Length: {length}")],
            "",
        )
    };
    // To replace the file, only the difference has to fit; and it has to be there still when the
    // last byte comes.
    assert_eq!(create(61).status, 507);
    let second = create(60);
    assert_eq!((second.status, used(&guarded, "ada")), (201, 160));
    let terminated = ask_as(&server, "ada", "DELETE", second.field("Location"), &[TUS]);
    assert_eq!((terminated.status, used(&guarded, "ada")), (204, 100));
    let third = create(60);
    assert_eq!(
        ask_as(&server, "ada", "MOVE", "/a.txt", &["Destination: /kept"]).status,
        201
    );
    let third = third.field("Location");
    assert_eq!(
        (
            piece(third, 0, 60),
            used(&guarded, "ada"),
            guarded.read("a.txt")
        ),
        (507, 160, None)
    );
    // With room for it, the upload goes on.
    assert_eq!(ask_as(&server, "ada", "DELETE", "/kept", &[]).status, 204);
    assert_eq!((piece(third, 0, 60), used(&guarded, "ada")), (204, 100));
}

#[test]
fn what_is_under_way_counts_and_is_given_back_when_it_is_cut() {
    let guarded = guarded("quota-under-way");
    let server = guarded.start(&[]);
    let mut under_way = Connection::open(&server);
    under_way.send(head_as("ada", "PUT", "/a", &[], 80));
    under_way.send("x");
    wait_until("the upload counts", || used(&guarded, "ada") == 80);
    assert_eq!(
        (put(&server, "ada", "/b", 21), put(&server, "ada", "/b", 20)),
        (507, 201)
    );
    drop(under_way);
    wait_until("the upload counts no more", || {
        used(&guarded, "ada") == 20 && nothing_left(&guarded)
    });
    assert_eq!(put(&server, "ada", "/c", 80), 201);
}

#[test]
fn what_others_removed_or_a_killed_server_left_makes_room_when_it_is_needed() {
    let guarded = guarded("quota-removed");
    let mut server = guarded.start(&[]);
    assert_eq!(put(&server, "ada", "/a", 50), 201);
    let mut cut = Connection::open(&server);
    cut.send(head_as("ada", "PUT", "/b", &[], 50));
    cut.send("x");
    wait_until("one byte of it has come", || bytes_aside(&guarded) == 1);
    server.signal("KILL");
    server.wait();
    std::fs::remove_file(guarded.dir.join("site/a")).unwrap();
    assert_eq!(used(&guarded, "ada"), 100);
    let server = guarded.start(&[]);
    // The rest of the interrupted upload is removed at the start.
    assert!(nothing_left(&guarded));
    assert_eq!(
        (put(&server, "ada", "/c", 100), used(&guarded, "ada")),
        (201, 100)
    );
}

/// Four times, each under a name of its own; how often that was let through.
fn store_ten_bytes(mut connection: Connection, thread: usize) -> usize {
    let store = |number: &usize| {
        connection.send(head_as(
            "ada",
            "PUT",
            &format!("/{thread}-{number}"),
            &[],
            10,
        ));
        connection.send("0123456789");
        connection.receive().status == 201
    };
    (0..4).filter(store).count()
}

#[test]
fn many_uploads_through_two_servers_never_pass_the_quota() {
    let guarded = guarded("quota-many");
    let servers = [guarded.start(&[]), guarded.start(&["--model", "processes"])];
    let uploads = (0..8).map(|thread| {
        let connection = Connection::open(&servers[thread % 2]);
        std::thread::spawn(move || store_ten_bytes(connection, thread))
    });
    let uploads: Vec<_> = uploads.collect();
    let stored: usize = uploads
        .into_iter()
        .map(|upload| upload.join().unwrap())
        .sum();
    assert_eq!((stored, used(&guarded, "ada")), (10, 100));
}

#[test]
fn everybody_shares_the_quota_of_the_anonymous_user() {
    let guarded = Guarded::new("quota-anonymous", &[("anonymous", "lrw", "/")]);
    guarded.store.set_quota("anonymous", Some(10)).unwrap();
    let server = guarded.start(&[]);
    for (target, status) in [("/a", 201), ("/b", 507)] {
        let answer = crate::http::upload::put(&server, target, &[], "0123456");
        assert_eq!(answer.status, status);
    }
}

#[test]
fn the_list_of_users_shows_what_counts() {
    let guarded = guarded("quota-list");
    let server = guarded.start(&[]);
    assert_eq!(put(&server, "ada", "/a", 60), 201);
    let (_, list, _) = run(&[
        "users",
        "list",
        "--accounts",
        guarded.dir.join("accounts.db").to_str().unwrap(),
    ]);
    assert_eq!(
        list,
        "NAME  RIGHTS  HOME  USED  QUOTA\nada   lrwd:/  /     60    100\n\
         eve   lrwd:/  /     0     -\n"
    );
}
