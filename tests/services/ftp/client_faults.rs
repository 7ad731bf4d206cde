//! `client ftp` when a transfer is cut, and when a server or a disk fails.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use crate::ftp::client::{client, command, get, paths_in};
use crate::ftp::fake::{Fake, Running};
use crate::support::{BoundedCommand, PATIENCE, TestDir, wait_until};
use crate::upload::{MIB, content};
use crate::upload_faults::SmallDisk;

#[test]
fn a_cut_download_leaves_no_file_and_is_resumed() {
    let home = TestDir::new("ftp-cut");
    let body = content(3 * MIB);
    let mut fake = Fake::with(&[("f", &body)]);
    fake.cut = Some(MIB);
    let server = fake.start();
    let to = home.join("f");
    let (code, stdout, stderr) = get(&home, &server, &[]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let parts = paths_in(Path::new(home.as_str()));
    assert!(
        parts.len() == 1 && parts[0].ends_with(".ftp-part"),
        "{parts:?}"
    );
    let came = fs::metadata(home.join(&parts[0])).unwrap().len();
    assert!(came > 0 && came <= MIB as u64);

    server.fake.lock().unwrap().cut = None;
    let (code, stdout, stderr) = get(&home, &server, &["--resume"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(
        stdout,
        format!("received 1 file, {} bytes, verified by digest\n", 3 * MIB)
    );
    assert_eq!(server.commands("REST"), [format!("REST {came}")]);
    assert!(fs::read(&to).unwrap() == body);
    assert_eq!(paths_in(Path::new(home.as_str())), ["f"]);
}

#[test]
fn a_refused_offset_begins_anew_and_a_refused_file_keeps_what_was_received() {
    let home = TestDir::new("ftp-no-rest");
    let body = content(2000);
    let mut fake = Fake::with(&[("f", &body)]);
    fake.cut = Some(1000);
    let server = fake.start();
    let to = home.join("f");
    assert_eq!(get(&home, &server, &["--resume"]).0, Some(1));
    let parts = paths_in(Path::new(home.as_str()));
    server.fake.lock().unwrap().cut = None;
    server.fake.lock().unwrap().replies = vec![("RETR", "550 not now")];
    assert_eq!(get(&home, &server, &["--resume"]).0, Some(1));
    assert_eq!(paths_in(Path::new(home.as_str())), parts);
    server.fake.lock().unwrap().replies = vec![("REST", "502 what?")];
    assert_eq!(get(&home, &server, &["--resume"]).0, Some(0));
    assert!(fs::read(&to).unwrap() == body);
    assert_eq!(paths_in(Path::new(home.as_str())), ["f"]);
}

#[test]
fn a_file_that_has_changed_is_not_resumed() {
    let home = TestDir::new("ftp-changed");
    let mut fake = Fake::with(&[("f", &content(MIB))]);
    fake.cut = Some(1000);
    let server = fake.start();
    let to = home.join("f");
    assert_eq!(get(&home, &server, &["--resume"]).0, Some(1));
    // Another file of another size has taken its place.
    let mut other = content(MIB + 1);
    other.reverse();
    server
        .fake
        .lock()
        .unwrap()
        .tree
        .insert(b"f".to_vec(), other.clone());
    server.fake.lock().unwrap().cut = None;
    assert_eq!(get(&home, &server, &["--resume"]).0, Some(0));
    assert!(fs::read(&to).unwrap() == other);
    assert_eq!(server.commands("REST"), [""; 0]);
}

#[test]
fn an_interrupted_download_leaves_no_file() {
    let home = TestDir::new("ftp-interrupt-get");
    let body = content(2 * MIB);
    let mut fake = Fake::with(&[("f", &body)]);
    fake.stall = Some(MIB);
    let server = fake.start();
    let to = home.join("f");
    let get = ["get", &server.url("f"), to.to_str().unwrap()];
    let mut running = command(&home, &get).start();
    wait_until("half of it has come", || {
        let names = paths_in(Path::new(home.as_str()));
        let lengths = names
            .iter()
            .filter_map(|name| fs::metadata(home.join(name)).ok());
        lengths.into_iter().any(|file| file.len() == MIB as u64)
    });
    running.signal(Signal::INT);
    running.wait();
    assert!(!to.exists());
    server.fake.lock().unwrap().stall = None;
    let (code, _, stderr) = client(&home, &[&get[..], &["--resume"]].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(server.commands("REST"), [format!("REST {MIB}")]);
    assert!(fs::read(&to).unwrap() == body);
    assert_eq!(paths_in(Path::new(home.as_str())), ["f"]);
}

#[test]
fn an_interrupted_upload_is_not_taken_for_a_whole_file() {
    let home = TestDir::new("ftp-interrupt-put");
    let body = content(64 * MIB);
    home.write("f", &body);
    let from = home.join("f");
    for signal in [Signal::INT, Signal::KILL] {
        let server = Fake::default().start();
        let put = [
            "put",
            &server.url("f"),
            from.to_str().unwrap(),
            "--no-digest",
        ];
        let mut running = command(&home, &put).start();
        wait_until("some of it has come", || {
            server.seen.lock().unwrap().uploaded > 0
        });
        // The server is held, so that not everything can have been sent.
        let held = server.seen.lock().unwrap();
        running.signal(signal);
        running.wait();
        let uploaded = held.uploaded;
        drop(held);
        wait_until("the server sees the end", || {
            !server.seen.lock().unwrap().ends.is_empty()
        });
        let ends = server.seen.lock().unwrap().ends.clone();
        assert!(uploaded < body.len(), "all of it has come");
        assert_eq!(ends, [Err(io::ErrorKind::ConnectionReset)], "{signal:?}");

        let (code, stdout, stderr) = client(&home, &[&put[..], &["--resume"]].concat());
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        assert!(server.content("f").unwrap() == body);
        assert_eq!(server.commands("REST").len(), 1);
    }
}

#[test]
fn a_complete_upload_is_not_sent_again_and_another_file_is() {
    let home = TestDir::new("ftp-resume-put");
    home.write("f", "hello");
    let from = home.join("f");
    let server = Fake::with(&[
        ("f", b"hello"),
        ("g", b"other"),
        ("h", b"longer than it"),
        ("i", b"he"),
    ]);
    let server = server.start();
    let put = |name: &str| {
        let ended = client(
            &home,
            &["put", &server.url(name), from.to_str().unwrap(), "--resume"],
        );
        assert_eq!(ended.0, Some(0), "{name}: {}", ended.2);
        assert_eq!(server.content(name).unwrap(), b"hello", "{name}");
        server.commands("STOR").len()
    };
    assert_eq!((put("f"), put("g"), put("h"), put("i")), (0, 1, 2, 3));
    assert_eq!(server.commands("REST"), ["REST 2"]);
    // A server without REST for uploads can append.
    server.fake.lock().unwrap().features = vec!["SIZE"];
    server
        .fake
        .lock()
        .unwrap()
        .tree
        .insert(b"i".to_vec(), b"he".to_vec());
    assert_eq!((put("i"), server.commands("APPE").len()), (3, 1));
}

#[test]
fn a_silent_server_is_given_up() {
    let home = TestDir::new("ftp-silent");
    for silent in ["USER", "MLST", "EPSV", "RETR", "HASH"] {
        let mut fake = Fake::with(&[("f", b"1")]);
        fake.silent = Some(silent);
        let server = fake.start();
        let begun = Instant::now();
        let to = home.join("f");
        let (code, _, stderr) = get(&home, &server, &["--timeout", "1s"]);
        assert_eq!(code, Some(1), "{silent}: {stderr}");
        assert!(
            stderr.contains("answer") && stderr.lines().count() == 1,
            "{silent}: {stderr}"
        );
        assert!(begun.elapsed() < PATIENCE, "{silent}");
        assert!(!to.exists(), "{silent}");
    }
}

#[test]
fn replies_that_are_not_ftp_are_reported() {
    let home = TestDir::new("ftp-rubbish");
    for (reply, why) in [
        ("HTTP/1.1 400 Bad Request", "not FTP"),
        ("421 too many", "421 too many"),
        ("530 go away", "530 go away"),
    ] {
        let mut fake = Fake::with(&[("f", b"1")]);
        fake.replies = vec![("USER", reply)];
        let server = fake.start();
        let (code, _, stderr) = client(&home, &["ls", &server.url("f")]);
        assert!(code == Some(1) && stderr.contains(why), "{reply}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (code, _, stderr) = client(&home, &["ls", &format!("ftp://{free}/")]);
    assert!(
        code == Some(1) && stderr.contains("cannot connect"),
        "{stderr}"
    );
}

#[test]
fn a_full_disk_is_reported_and_leaves_nothing() {
    let home = TestDir::new("ftp-full");
    let Some(disk) = SmallDisk::mount("a_full_disk_is_reported_and_leaves_nothing") else {
        return;
    };
    let server = Fake::with(&[("f", &content(6 * MIB)), ("g", b"small")]).start();
    let (code, stdout, stderr) = client(&home, &["mirror", &server.url(""), disk.0.as_str()]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("f: No space left") && stderr.lines().count() == 1,
        "{stderr}"
    );
    assert!(stdout.starts_with("received 1 file, 5 bytes"), "{stdout}");
    let paths = paths_in(Path::new(disk.0.as_str()));
    assert!(
        paths
            .iter()
            .all(|path| path == "g" || path.starts_with("lost+found")),
        "{paths:?}"
    );
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_not_stored_as_whole() {
    let home = TestDir::new("ftp-shrinks");
    home.write("f", content(64 * MIB));
    let from = home.join("f");
    let server = Fake::default().start();
    let put = ["put", &server.url("f"), from.to_str().unwrap()];
    let running = command(&home, &put).start();
    wait_until("some of it has come", || {
        server.seen.lock().unwrap().uploaded > 0
    });
    let held = server.seen.lock().unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&from)
        .unwrap()
        .set_len(1)
        .unwrap();
    drop(held);
    let output = running.finish();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("shorter"), "{stderr}");
    wait_until("the server sees the end", || {
        !server.seen.lock().unwrap().ends.is_empty()
    });
    let ends = &server.seen.lock().unwrap().ends;
    assert_eq!(ends[..], [Err(io::ErrorKind::ConnectionReset)]);
}

#[test]
fn a_server_that_allows_fewer_sessions_gets_fewer() {
    let home = TestDir::new("ftp-fewer");
    for number in 0..12 {
        home.write(&format!("here/f{number}"), "x");
    }
    let here = home.join("here");
    let mirror = |server: &Running, options: &[&str]| {
        let url = server.url("copy");
        let mirror = ["mirror", &url, here.to_str().unwrap(), "--reverse"];
        client(&home, &[&mirror[..], options].concat())
    };
    let all = "sent 12 files, 12 bytes, verified by digest; 1 removed\n";
    let fake = |tickets, max_sessions| Fake {
        tickets,
        max_sessions: Some(max_sessions),
        ..Fake::with(&[("copy/", b""), ("copy/old", b"")])
    };
    let server = fake(None, 1).start();
    let (code, stdout, stderr) = mirror(&server, &["--delete", "--jobs", "4"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), all, ""));
    // Without new tickets, a session ends after two data connections. Of two sessions only one can
    // be replaced, and it transfers what is left.
    let server = fake(Some(0), 3).start();
    let tls = ["--tls-insecure", "--delete", "--jobs", "2"];
    let (code, stdout, stderr) = mirror(&server, &tls);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), all, ""));
    // The only session is gone after the listing and one file.
    let server = fake(Some(0), 1).start();
    let (code, stdout, stderr) = mirror(&server, &["--tls-insecure", "--delete"]);
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("sent 1 file, "), "{stdout}");
    assert!(
        stderr.contains("421 too many sessions; not begun: 10 files"),
        "{stderr}"
    );
    assert!(server.content("copy/old").is_some());
}
