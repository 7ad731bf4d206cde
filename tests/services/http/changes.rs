//! `serve http --upload`: DELETE, MKCOL and MOVE.

use std::os::unix::fs::symlink;

use crate::http::raw::{Connection, ask, get};
use crate::http::upload::{put, read, site};
use crate::support::TestDir;

#[test]
fn files_and_empty_folders_are_removed() {
    let (dir, server) = site("delete", &[]);
    dir.write("folder/a", "1");
    dir.write("target", "1");
    symlink("target", dir.join("link")).unwrap();
    assert_eq!(get(&server, "/folder/a").text(), "1");
    for (target, fields, status) in [
        ("/folder", &[][..], 409),
        ("/folder/a/", &[], 404),
        ("/folder/a", &["If-Match: \"x\""], 412),
        ("/folder/a", &["If-None-Match: *"], 412),
        ("/folder/a", &[], 204),
        ("/folder/a", &[], 404),
        ("/folder/a/b", &[], 404),
        ("/folder/", &[], 204),
        ("/link", &[], 204),
        ("/", &[], 403),
    ] {
        let answer = ask(&server, "DELETE", target, fields);
        assert_eq!(
            answer.status,
            status,
            "{target} {fields:?}: {:?}",
            answer.text()
        );
    }
    assert_eq!(get(&server, "/folder/a").status, 404);
    assert_eq!(read(&dir, "target").as_deref(), Some("1"));
    assert!(!dir.join("folder").exists() && dir.join("link").symlink_metadata().is_err());
}

#[test]
fn folders_are_made() {
    let (dir, server) = site("mkcol", &[]);
    dir.write("file", "");
    for (target, fields, status) in [
        ("/a/b", &[][..], 409),
        ("/a/", &[], 201),
        ("/a", &[], 405),
        ("/a/b", &[], 201),
        ("/file", &[], 405),
        ("/file/a", &[], 409),
        ("/", &[], 405),
        ("/c", &["Content-Length: 0", "Expect: 100-continue"], 415),
    ] {
        let answer = ask(&server, "MKCOL", target, fields);
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
    }
    assert!(dir.join("a/b").is_dir());
    assert_eq!(
        ask(&server, "MKCOL", "/d%20e", &[]).field("Location"),
        "/d%20e/"
    );
}

#[test]
fn files_and_folders_are_moved() {
    let (dir, server) = site("move", &[]);
    for name in ["a", "b", "folder/x", "full/y"] {
        dir.write(name, name);
    }
    std::fs::create_dir(dir.join("empty")).unwrap();
    assert_eq!(get(&server, "/a").text(), "a");
    let host = format!("Destination: http://{}/g", server.address());
    for (source, fields, status) in [
        ("/a", &["Destination: /b", "Overwrite: F"][..], 412),
        ("/a", &["Destination: /c", "If-Match: \"x\""], 412),
        ("/a", &["Destination: /none/c"], 409),
        ("/a", &["Destination: /b/c"], 409),
        ("/a", &["Destination: /empty"], 409),
        ("/a", &["Destination: /c/"], 409),
        ("/a", &["Destination: /a"], 403),
        ("/a", &["Destination: /"], 403),
        ("/", &["Destination: /c"], 403),
        ("/a", &["Destination: /../c"], 400),
        ("/a", &["Destination: c"], 400),
        ("/a", &["Destination: http://elsewhere/c"], 502),
        ("/a", &["Destination: /c", "Overwrite: x"], 400),
        ("/a", &[], 400),
        ("/folder", &["Destination: /folder/x/z"], 403),
        ("/folder", &["Destination: /full"], 409),
        ("/none", &["Destination: /c"], 404),
        ("/a", &["Destination: /c%20d", "Overwrite: F"], 201),
        ("/c%20d", &["Destination: /b"], 204),
        ("/b", &["Destination: /folder/b"], 201),
        ("/folder", &["Destination: /empty/"], 204),
        ("/empty", &["Destination: /full/folder"], 201),
    ] {
        let answer = ask(&server, "MOVE", source, fields);
        assert_eq!(
            answer.status,
            status,
            "{source} {fields:?}: {:?}",
            answer.text()
        );
    }
    assert_eq!(get(&server, "/a").status, 404);
    assert_eq!(get(&server, "/full/folder/b").text(), "a");
    assert_eq!(read(&dir, "full/folder/x").as_deref(), Some("folder/x"));
    let address = format!("Host: {}", server.address());
    let mut connection = Connection::open(&server);
    connection.send(format!(
        "MOVE /full/y HTTP/1.1\r\n{address}\r\n{host}\r\n\r\n"
    ));
    assert_eq!(connection.receive().status, 201);
    assert_eq!(read(&dir, "g").as_deref(), Some("full/y"));
}

#[test]
fn no_way_leads_out_of_the_root() {
    let outside = TestDir::new("put-outside");
    outside.write("secret", "1");
    let (dir, server) = site("put-inside", &[]);
    symlink(outside.as_str(), dir.join("out")).unwrap();
    symlink(outside.join("secret"), dir.join("link")).unwrap();
    dir.write("a", "2");
    assert_eq!(put(&server, "/out/new", &[], "x").status, 403);
    // The link itself is replaced.
    assert_eq!(put(&server, "/link", &[], "3").status, 204);
    for (method, target, fields) in [
        ("DELETE", "/out/secret", &[][..]),
        ("MKCOL", "/out/new", &[]),
        ("MOVE", "/a", &["Destination: /out/new"]),
        ("MOVE", "/out/secret", &["Destination: /b"]),
    ] {
        assert!(
            ask(&server, method, target, fields).status >= 400,
            "{method} {target}"
        );
    }
    let left: Vec<_> = std::fs::read_dir(outside.join(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["secret"]);
    assert_eq!(
        std::fs::read_to_string(outside.join("secret")).unwrap(),
        "1"
    );
}
