//! `serve http --upload`: forms, as browsers and curl send them.

use std::io::Write;
use std::net::Shutdown;

use crate::http::raw::{Answer, Connection, request};
use crate::http::upload::{no_partials, put, read, site};
use crate::support::{TestDir, TestServer, wait_until};

pub(crate) const FORM: &str = "Content-Type: multipart/form-data; boundary=XyZ";

/// A form of these files.
pub(crate) fn form(files: &[(&str, &str)]) -> String {
    let part = |(name, content): &(&str, &str)| {
        format!(
            "--XyZ\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n\
             {content}\r\n"
        )
    };
    format!("{}--XyZ--\r\n", files.iter().map(part).collect::<String>())
}

/// Sends a form to a folder, on a connection of its own.
pub(crate) fn post(
    server: &TestServer,
    folder: &str,
    fields: &[&str],
    form: impl AsRef<[u8]>,
) -> Answer {
    let length = format!("Content-Length: {}", form.as_ref().len());
    let mut connection = Connection::open(server);
    connection.send(
        [
            &request("POST", folder, &[fields, &[FORM, &length]].concat()),
            form.as_ref(),
        ]
        .concat(),
    );
    connection.receive()
}

#[test]
fn several_files_and_fields_in_one_form() {
    let (dir, server) = site("form", &[]);
    dir.write("sub/x", "");
    let field = "--XyZ\r\nContent-Disposition: form-data; name=\"comment\"\r\n\r\nhello\r\n";
    let unchosen = "--XyZ\r\nContent-Disposition: form-data; name=\"g\"; filename=\"\"\r\n\
                    Content-Type: application/octet-stream\r\n\r\n\r\n";
    let body = format!(
        "{field}{unchosen}{}",
        form(&[
            ("a.txt", "one"),
            ("empty", ""),
            ("naïve file.txt", "two\r\n")
        ])
    );
    let answer = post(&server, "/sub/", &[], body);
    assert_eq!((answer.status, answer.find("Location")), (201, None));
    assert_eq!(
        answer.text(),
        "Stored a.txt, 3 bytes: /sub/a.txt\nStored empty, 0 bytes: /sub/empty\n\
         Stored naïve file.txt, 5 bytes: /sub/na%C3%AFve%20file.txt\n"
    );
    assert_eq!(read(&dir, "sub/a.txt").as_deref(), Some("one"));
    assert_eq!(read(&dir, "sub/empty").as_deref(), Some(""));
    assert_eq!(read(&dir, "sub/naïve file.txt").as_deref(), Some("two\r\n"));
    assert!(no_partials(&dir));
}

#[test]
fn the_answer_suits_who_asks() {
    let (_dir, server) = site("form-answers", &[]);
    let answer = post(&server, "/", &[], form(&[("a", "x")]));
    assert_eq!(
        (answer.status, answer.field("Location"), answer.text()),
        (201, "/a", "Stored a, 1 bytes: /a\n")
    );
    let answer = post(
        &server,
        "/",
        &["Accept: application/json"],
        form(&[("b c", "x"), ("d", "")]),
    );
    let list = serde_json::json!([
        {"name": "b c", "size": 1, "location": "/b%20c"},
        {"name": "d", "size": 0, "location": "/d"},
    ]);
    assert_eq!(
        (
            answer.status,
            serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()
        ),
        (201, list)
    );
    let browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let answer = post(&server, "/", &[browser], form(&[("e", "x")]));
    assert_eq!(
        (answer.status, answer.field("Location"), answer.text()),
        (303, "/", "")
    );
    let answer = post(&server, "/", &[browser], form(&[("<f>", "x"), ("a", "y")]));
    assert_eq!(
        (answer.status, answer.field("Content-Type")),
        (409, "text/html; charset=utf-8")
    );
    for words in [
        "a: a file of this name exists.",
        "<a href=\"/%3Cf%3E\">&lt;f&gt;</a>, 1 bytes",
        "<a href=\"/\">",
    ] {
        assert!(
            answer.text().contains(words),
            "no `{words}` in {}",
            answer.text()
        );
    }
    let answer = post(&server, "/", &[browser], form(&[("", "")]));
    assert!(
        answer.status == 400 && answer.text().contains("No file was chosen."),
        "{answer:?}"
    );
}

#[test]
fn a_form_follows_the_policy_for_names_that_are_taken() {
    let twice = form(&[("new", "1"), ("a", "2"), ("never", "3")]);
    let (dir, server) = site("form-error", &[]);
    dir.write("a", "old");
    let answer = post(&server, "/", &["Accept: application/json"], &twice);
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (answer.status, &told["file"], &told["stored"][0]["name"]),
        (409, &"a".into(), &"new".into())
    );
    assert_eq!(told["error"], "a: a file of this name exists.");
    let stored = ["new", "a", "never"].map(|name| read(&dir, name));
    assert_eq!(stored, [Some("1".into()), Some("old".into()), None]);

    let (dir, server) = site("form-overwrite", &["--on-duplicate", "overwrite"]);
    dir.write("a", "old");
    assert_eq!(post(&server, "/", &[], &twice).status, 201);
    assert_eq!(read(&dir, "a").as_deref(), Some("2"));

    let (dir, server) = site("form-rename", &["--on-duplicate", "rename"]);
    dir.write("a", "old");
    let answer = post(&server, "/", &[], &twice);
    assert!(
        answer
            .text()
            .contains("Stored a (1), 1 bytes: /a%20%281%29\n"),
        "{answer:?}"
    );
    assert_eq!(
        (read(&dir, "a").as_deref(), read(&dir, "a (1)").as_deref()),
        (Some("old"), Some("2"))
    );
}

#[test]
fn names_never_lead_out_and_folders_are_kept() {
    let (dir, server) = site("form-names", &[]);
    let names = [
        "../../up",
        "/abs/path",
        "C:\\\\dir\\\\win.txt",
        "tree/leaf/x",
        "a/../y",
        "quo%22te",
    ];
    let answer = post(&server, "/", &[], form(&names.map(|name| (name, "x"))));
    assert_eq!(answer.status, 201, "{answer:?}");
    for name in ["up", "path", "win.txt", "tree/leaf/x", "y", "quo\"te"] {
        assert_eq!(read(&dir, name).as_deref(), Some("x"), "{name}");
    }
    for name in [
        "..",
        ".",
        "a/",
        "new%0Aline",
        "\u{7f}",
        ".socketserver-partial/x",
        ".SOCKETSERVER-partial",
    ] {
        let answer = post(&server, "/", &[], form(&[(name, "x")]));
        assert!(matches!(answer.status, 400 | 403), "{name:?}: {answer:?}");
    }
    let long = "x".repeat(256);
    assert_eq!(post(&server, "/", &[], form(&[(&long, "x")])).status, 403);
    assert!(no_partials(&dir));
}

#[test]
fn links_lead_no_form_astray() {
    let (dir, server) = site("form-links", &["--symlinks", "off"]);
    let outside = TestDir::new("form-links-outside");
    std::os::unix::fs::symlink(outside.as_str(), dir.join("out")).unwrap();
    dir.write("in/x", "");
    std::os::unix::fs::symlink("in", dir.join("link")).unwrap();
    for (folder, name) in [
        ("/", "out/a"),
        ("/", "link/a"),
        ("/link/", "a"),
        ("/out/", "a"),
    ] {
        let answer = post(&server, folder, &[], form(&[(name, "x")]));
        assert!(
            matches!(answer.status, 403 | 404),
            "{folder} {name}: {answer:?}"
        );
    }
    assert_eq!(std::fs::read_dir(outside.as_str()).unwrap().count(), 0);
    assert_eq!(read(&dir, "in/a"), None);
}

#[test]
fn what_is_no_form_for_a_folder_is_refused() {
    let (dir, server) = site("form-refused", &[]);
    dir.write("a", "x");
    let body = form(&[("b", "x")]);
    let answer = post(&server, "/a", &[], &body);
    assert_eq!(
        (answer.status, answer.field("Allow")),
        (405, "GET, HEAD, OPTIONS, PUT, DELETE, MOVE")
    );
    assert_eq!(post(&server, "/a/", &[], &body).status, 404);
    assert_eq!(post(&server, "/nowhere/", &[], &body).status, 404);
    assert_eq!(post(&server, "/a/b/", &[], &body).status, 404);
    assert_eq!(
        post(&server, "/", &["Content-Encoding: gzip"], &body).status,
        415
    );
    assert_eq!(
        post(&server, "/", &["Origin: http://elsewhere"], &body).status,
        403
    );
    assert_eq!(
        post(&server, "/", &["Sec-Fetch-Site: cross-site"], &body).status,
        403
    );
    let too_long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    for (content_type, status) in [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/mixed; boundary=XyZ", 415),
        ("multipart/form-data; boundary=\"XyZ", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=\"a \"", 400),
        ("multipart/form-data; boundary=a@b", 400),
        (&too_long, 400),
    ] {
        let mut connection = Connection::open(&server);
        let fields = [
            &*format!("Content-Type: {content_type}"),
            "Content-Length: 4",
        ];
        connection.send([&request("POST", "/", &fields), &b"XyZ!"[..]].concat());
        assert_eq!(connection.receive().status, status, "{content_type}");
    }
    let mut connection = Connection::open(&server);
    assert_eq!(connection.ask("POST", "/", &[FORM]).status, 400);
    assert_eq!(connection.ask("POST", "/", &[]).status, 415);
    assert_eq!(read(&dir, "b"), None);
}

#[test]
fn a_form_that_is_cut_leaves_nothing_of_the_file_under_way() {
    let (dir, server) = site("form-cut", &[]);
    let body = form(&[("a", "one"), ("b", "two")]);
    let cut = body.find("two").unwrap() + 2;
    let (head, body) = (
        request("POST", "/", &[FORM, "Content-Length: 9999"]),
        body.as_bytes(),
    );
    // The client goes within the second file, and ends its side there, and waits there until the
    // server is told to end.
    let mut connection = Connection::open(&server);
    connection.send([&head, &body[..cut]].concat());
    wait_until("the first file is stored", || read(&dir, "a").is_some());
    drop(connection);
    wait_until("the second is given up", || no_partials(&dir));
    std::fs::remove_file(dir.join("a")).unwrap();
    let mut connection = Connection::open(&server);
    connection.send([&head, &body[..cut]].concat());
    connection.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(connection.receive().status, 400);
    wait_until("the second is given up", || no_partials(&dir));
    // All that was announced has come, but the last delimiter isn't in it.
    std::fs::remove_file(dir.join("a")).unwrap();
    let answer = post(&server, "/", &[], &body[..cut]);
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.text(),
        "The form can't be taken: it was cut before its end.\nStored a, 3 bytes: /a\n"
    );
    assert_eq!(
        (
            read(&dir, "a").as_deref(),
            read(&dir, "b"),
            no_partials(&dir)
        ),
        (Some("one"), None, true)
    );
}

#[test]
fn a_form_may_come_byte_by_byte_and_in_chunks() {
    let (dir, server) = site("form-slow", &[]);
    let body = form(&[("a", "\r\n--XyZ-\r\n--X\r\n"), ("b", "")]);
    let mut connection = Connection::open(&server);
    connection.send(request("POST", "/", &[FORM, "Transfer-Encoding: chunked"]));
    for byte in body.bytes() {
        connection.send([b"1\r\n", &[byte][..], b"\r\n"].concat());
    }
    connection.send("0\r\n\r\n");
    assert_eq!(connection.receive().status, 201);
    assert_eq!(read(&dir, "a").as_deref(), Some("\r\n--XyZ-\r\n--X\r\n"));
    // The connection goes on.
    assert_eq!(connection.ask("GET", "/a", &[]).status, 200);
}

#[test]
fn a_form_that_waits_holds_no_thread() {
    let (dir, server) = site("form-waits", &["--threads", "2", "--max-threads", "2"]);
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            let mut connection = Connection::open(&server);
            let body = form(&[(&format!("f{number}"), "content")]);
            let length = format!("Content-Length: {}", body.len());
            connection.send(
                [
                    &request("POST", "/", &[FORM, &length]),
                    &body.as_bytes()[..body.len() - 12],
                ]
                .concat(),
            );
            (connection, body.into_bytes())
        })
        .collect();
    assert_eq!(put(&server, "/meanwhile", &[], "x").status, 201);
    for (mut connection, body) in waiting {
        connection.send(&body[body.len() - 12..]);
        assert_eq!(connection.receive().status, 201);
    }
    assert_eq!(read(&dir, "f19").as_deref(), Some("content"));
}

#[test]
fn limits_end_a_form_when_they_are_crossed() {
    let (dir, server) = site("form-limits", &["--max-size", "10", "--quota", "25"]);
    let answer = post(
        &server,
        "/",
        &[],
        form(&[("a", "0123456789"), ("b", "0123456789x"), ("c", "")]),
    );
    assert_eq!(answer.status, 413);
    assert_eq!(
        answer.text(),
        "b: the file is larger than 10 bytes.\nStored a, 10 bytes: /a\n"
    );
    assert_eq!(
        post(
            &server,
            "/",
            &[],
            form(&[("d", "0123456789"), ("e", "0123456789")])
        )
        .status,
        507
    );
    let stored = ["a", "b", "c", "d", "e"].map(|name| read(&dir, name).is_some());
    assert_eq!(
        (stored, no_partials(&dir)),
        ([true, false, false, true, false], true)
    );
    // What can't fit in any case is refused before it is sent.
    let mut connection = Connection::open(&server);
    connection.send(request(
        "POST",
        "/",
        &[FORM, "Content-Length: 5000000", "Expect: 100-continue"],
    ));
    assert_eq!(connection.receive().status, 507);
    let mut connection = Connection::open(&server);
    let body = form(&[("f", "x")]);
    let length = format!("Content-Length: {}", body.len());
    connection.send(request(
        "POST",
        "/",
        &[FORM, &length, "Expect: 100-continue"],
    ));
    assert_eq!(connection.receive_head().status, 100);
    connection.send(body);
    assert_eq!(connection.receive().status, 201);
}

#[test]
fn a_large_form_takes_little_memory() {
    const SIZE: usize = 100 << 20;
    let (dir, server) = site("form-large", &[]);
    let [begin, end] = form(&[("large", "|")])
        .split('|')
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let mut connection = Connection::open(&server);
    let length = format!("Content-Length: {}", begin.len() + SIZE + end.len());
    connection.send([&request("POST", "/", &[FORM, &length]), begin.as_bytes()].concat());
    let piece: Vec<u8> = b"\r\n--Xy--XyZ\r"
        .iter()
        .copied()
        .cycle()
        .take(1 << 20)
        .collect();
    for _ in 0..SIZE >> 20 {
        connection.stream().write_all(&piece).unwrap();
    }
    connection.send(end);
    assert_eq!(connection.receive().status, 201);
    let stored = std::fs::read(dir.join("large")).unwrap();
    assert!(
        stored.len() == SIZE && stored.chunks(1 << 20).all(|stored| stored == piece),
        "another content was stored"
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB");
    assert!(
        peak.parse::<u64>().unwrap() < 64 * 1024,
        "the server took {peak} KiB"
    );
}
