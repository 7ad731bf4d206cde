//! `upload`, when something breaks: nothing stands under a name that isn't whole, and nothing is
//! lost that came.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use serde_json::json;

use crate::support::{BoundedCommand, TestDir, TestServer, wait_until};
use crate::upload::{
    MIB, answer, content, frame, header, names_in, partial_bytes, resume_when_free, resuming, send,
    word,
};

#[test]
fn an_upload_goes_on_after_the_server_was_killed() {
    let dir = TestDir::new("upload-killed");
    let (body, half) = (content(4 * MIB), 2 * MIB + 5);
    let mut server = TestServer::start(&["upload", dir.as_str()]);
    let mut connection = server.connect();
    connection.write_all(&frame(&header("a", &body))).unwrap();
    connection.write_all(&body[..half]).unwrap();
    wait_until("half of it is there", || partial_bytes(&dir) == half as u64);
    server.signal("KILL");
    server.wait();
    assert_eq!(names_in(&dir), [""; 0]);

    let server = TestServer::start(&["upload", dir.as_str()]);
    let mut connection = server.connect();
    connection
        .write_all(&frame(&resuming(header("a", &body))))
        .unwrap();
    assert_eq!(
        answer(&connection),
        json!({"status": "continue", "offset": half})
    );
    connection.write_all(&body[half..]).unwrap();
    assert_eq!(word(&answer(&connection)), "ok");
    assert!(fs::read(dir.join("a")).unwrap() == body);
    assert_eq!(partial_bytes(&dir), 0);
}

#[test]
fn a_part_that_was_damaged_is_noticed_and_forgotten() {
    let dir = TestDir::new("upload-damaged");
    let server = TestServer::start(&["upload", dir.as_str()]);
    let body = content(MIB);
    let mut cut = server.connect();
    cut.write_all(&frame(&header("a", &body))).unwrap();
    cut.write_all(&body[..1000]).unwrap();
    wait_until("a part is there", || partial_bytes(&dir) == 1000);
    drop(cut);
    let mut parts = fs::read_dir(dir.join(".socketserver-partial"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    fs::write(
        parts
            .find(|path| path.extension().unwrap() == "part")
            .unwrap(),
        vec![0; 1000],
    )
    .unwrap();
    for expected in ["checksum_mismatch", "ok"] {
        let (mut connection, found) = resume_when_free(&server, &header("a", &body));
        let offset = found["offset"].as_u64().unwrap() as usize;
        connection.write_all(&body[offset..]).unwrap();
        assert_eq!(word(&answer(&connection)), expected, "from {offset}");
    }
    assert!(fs::read(dir.join("a")).unwrap() == body);
}

#[test]
fn a_cut_anywhere_leaves_no_file() {
    let dir = TestDir::new("upload-cuts");
    let server = TestServer::start(&["upload", dir.as_str()]);
    let body = content(100_000);
    let whole = [frame(&header("a", &body)), body].concat();
    let mut place = 1;
    while place < whole.len() {
        let mut connection = server.connect();
        connection.write_all(&whole[..place]).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        let expected = if place < whole.len() - 100_000 {
            "bad_header"
        } else {
            "truncated"
        };
        assert_eq!(word(&answer(&connection)), expected, "cut at {place}");
        assert_eq!(connection.read(&mut [0]).unwrap(), 0, "cut at {place}");
        assert_eq!(names_in(&dir), [""; 0], "cut at {place}");
        place = place * 3 / 2 + 1;
    }
    assert!(partial_bytes(&dir) <= 100_000);
}

#[test]
fn refusals_leave_no_file_and_no_descriptor() {
    let dir = TestDir::new("upload-refusals");
    let server = TestServer::start(&["upload", dir.as_str(), "--max-size", "1MiB"]);
    drop(send(&server, &header("there", b""), b""));
    wait_until("the first connection is gone", || server.descriptors() > 0);
    let before = server.descriptors();
    for (header, body, expected) in [
        (header("there", b"x"), &b"x"[..], "exists"),
        (header("..", b"x"), b"x", "forbidden_name"),
        (header("a", b"x"), b"y", "checksum_mismatch"),
        (
            json!({"file_name": "a", "file_size": 2 * MIB}),
            b"",
            "too_large",
        ),
        (
            json!({"file_name": "a", "file_size": u64::MAX}),
            b"",
            "too_large",
        ),
        (json!({"file_name": "a"}), b"", "bad_header"),
        (
            json!({"file_name": ["a"], "file_size": 1}),
            b"",
            "bad_header",
        ),
    ] {
        assert_eq!(word(&send(&server, &header, body)), expected);
    }
    assert_eq!(names_in(&dir), ["there"]);
    assert_eq!(partial_bytes(&dir), 0);
    wait_until("all descriptors are given back", || {
        server.descriptors() <= before
    });
}

#[test]
fn silent_and_slow_senders_hold_no_thread() {
    let dir = TestDir::new("upload-slow");
    let server = TestServer::start(&["upload", dir.as_str(), "--threads", "4"]);
    let body = content(300_000);
    let mut slow: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for (number, connection) in slow.iter_mut().enumerate() {
        let whole = [frame(&header(&number.to_string(), &body)), body.clone()].concat();
        connection.write_all(&whole[..number * 2000]).unwrap();
    }
    assert_eq!(word(&send(&server, &header("fast", &body), &body)), "ok");
    wait_until("the slow ones hold no thread", || server.threads() < 16);
    for (number, mut connection) in slow.into_iter().enumerate() {
        let whole = [frame(&header(&number.to_string(), &body)), body.clone()].concat();
        connection.write_all(&whole[number * 2000..]).unwrap();
        assert_eq!(word(&answer(&connection)), "ok", "{number}");
    }
    assert_eq!(names_in(&dir).len(), 101);
}

#[test]
fn the_end_of_the_server_keeps_what_has_come() {
    let dir = TestDir::new("upload-ends");
    let mut server = TestServer::start(&["upload", dir.as_str(), "--grace", "200ms"]);
    let body = content(MIB);
    let mut connection = server.connect();
    connection.write_all(&frame(&header("a", &body))).unwrap();
    connection.write_all(&body[..70_000]).unwrap();
    wait_until("a part is there", || partial_bytes(&dir) == 70_000);
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(1));
    let server = TestServer::start(&["upload", dir.as_str(), "--model", "processes"]);
    let mut connection = server.connect();
    connection
        .write_all(&frame(&resuming(header("a", &body))))
        .unwrap();
    assert_eq!(answer(&connection)["offset"], 70_000);
    connection.write_all(&body[70_000..]).unwrap();
    assert_eq!(word(&answer(&connection)), "ok");
}

/// A small file system in memory, unmounted at the end of the test.
pub(crate) struct SmallDisk(pub(crate) TestDir);

impl SmallDisk {
    /// `None`, and a visible word, where mounting isn't allowed.
    pub(crate) fn mount(test: &str) -> Option<SmallDisk> {
        let dir = TestDir::new(test);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs", dir.as_str()])
            .succeeds();
        if mounted {
            return Some(SmallDisk(dir));
        }
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: mounting a small disk is not allowed here"
        );
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0.as_str()).succeeds();
    }
}

#[test]
fn a_full_disk_is_told_and_room_is_given_back() {
    let Some(disk) = SmallDisk::mount("upload-full") else {
        return;
    };
    let server = TestServer::start(&["upload", disk.0.as_str()]);
    let body = content(2 * MIB);
    assert_eq!(
        word(&send(&server, &header("too-much", &body), &body)),
        "no_space"
    );
    let mut connection = server.connect();
    let (one, two) = (content(700_000), content(600_000));
    // Both seem to fit when they begin; the second finds out on its way that they don't.
    connection.write_all(&frame(&header("one", &one))).unwrap();
    connection.write_all(&one[..10]).unwrap();
    wait_until("the first has begun", || partial_bytes(&disk.0) == 10);
    let mut second = server.connect();
    second.write_all(&frame(&header("two", &two))).unwrap();
    second.write_all(&two[..10]).unwrap();
    wait_until("the second has begun", || partial_bytes(&disk.0) == 20);
    connection.write_all(&one[10..]).unwrap();
    assert_eq!(word(&answer(&connection)), "ok");
    second.write_all(&two[10..]).unwrap();
    assert_eq!(word(&answer(&second)), "no_space");
    assert_eq!(
        (names_in(&disk.0), partial_bytes(&disk.0)),
        (vec!["one".to_owned()], 0)
    );
    second.write_all(&frame(&header("small", b"x"))).unwrap();
    second.write_all(b"x").unwrap();
    assert_eq!(word(&answer(&second)), "ok");
}

#[test]
fn a_folder_that_can_not_be_written_is_told() {
    let Some(disk) = SmallDisk::mount("upload-read-only") else {
        return;
    };
    let remount = ["-o", "remount,ro", disk.0.as_str()];
    assert!(Command::new("mount").args(remount).succeeds());
    let server = TestServer::start(&["upload", disk.0.as_str()]);
    let answer = send(&server, &header("a", b"x"), b"x");
    assert_eq!(answer["status"], "error");
    assert!(
        answer["message"].as_str().unwrap().contains("Read-only"),
        "{answer}"
    );
    assert_eq!(names_in(&disk.0), [""; 0]);
}

#[test]
fn a_partial_upload_is_removed_when_it_expires_though_nobody_uploads() {
    let dir = TestDir::new("expiry");
    let server = TestServer::start(&["upload", dir.as_str(), "--partial-expiry", "400ms"]);
    let header = br#"{"file_name":"a","file_size":1000000}"#;
    let mut client = server.connect();
    client
        .write_all(&(header.len() as u32).to_le_bytes())
        .unwrap();
    client.write_all(header).unwrap();
    client.write_all(&[7; 300_000]).unwrap();
    let partials = || {
        let entries = std::fs::read_dir(dir.join(".socketserver-partial"));
        entries.map_or(0, Iterator::count)
    };
    wait_until("a part is there", || partials() > 0);
    drop(client);
    wait_until("the part is removed", || partials() == 0);
    let has_thread = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let mut names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.any(|name| name.starts_with("partial-expiry"))
    };
    wait_until("the thread has ended", || !has_thread());
}
