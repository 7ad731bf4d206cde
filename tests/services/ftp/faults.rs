//! `serve ftp` when something goes wrong around it: full disks, kills, shortages, many clients,
//! folders that become links.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::http::races::{SECRET, site, swap};
use crate::http::raw::Connection;
use crate::http::upload::put_request;
use crate::http::users::authorization;
use crate::store_faults::{names_in, without_descriptors};
use crate::support::ftp::{Ftp, accounts, server_of_ada, server_with};
use crate::support::{PATIENCE, TestDir, TestServer, wait_until};
use crate::upload_faults::SmallDisk;

/// How long folders become links and back.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// Sends bytes until the server refuses them, and closes the data connection.
fn send_all(mut data: TcpStream, bytes: &[u8]) {
    let _ = data.write_all(bytes);
}

#[test]
fn a_full_disk_is_452_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount("ftp-full") else {
        return;
    };
    let dir = TestDir::new("ftp-full-accounts");
    let accounts = accounts(&dir, &[("ada", "lrwd", &[])]);
    let server = TestServer::start(&["ftp", disk.0.as_str(), "--accounts", &accounts]);
    let mut ftp = Ftp::ada(&server);
    assert!(ftp.store("STOR old", b"the old content").starts_with("226"));
    let too_much = vec![7; 6 << 20];
    for command in ["STOR new", "STOR old", "APPE old"] {
        let data = ftp.data();
        ftp.expect(command, 150);
        send_all(data, &too_much);
        ftp.expect_reply(452);
        assert_eq!(names_in(&disk.0.join("")), ["old"], "{command}");
        assert_eq!(ftp.receive("RETR old"), b"the old content");
        let reply = ftp.store("STOR small", b"x");
        assert!(reply.starts_with("226"), "{command}: {reply}");
        ftp.expect("DELE small", 250);
    }
    ftp.expect("ALLO 6000000", 452);
}

#[test]
fn an_upload_goes_on_after_the_server_was_killed_in_the_middle() {
    let dir = TestDir::new("ftp-killed");
    dir.write("root/old", "the old content");
    let mut server = server_of_ada(&dir, &[]);
    let content: Vec<u8> = (0..500_000_u32).map(|n| (n % 253) as u8).collect();
    let begin = |name: &str| {
        let mut ftp = Ftp::ada(&server);
        let mut data = ftp.data();
        ftp.expect(format!("STOR {name}"), 150);
        data.write_all(&content[..200_000]).unwrap();
        wait_until("it has arrived", || {
            ftp.command("STAT").contains(" 200000 bytes")
        });
        (ftp, data)
    };
    let sessions = ["new", "old"].map(begin);
    server.signal("KILL");
    server.wait();
    drop(sessions);
    assert_eq!(
        std::fs::read(dir.join("root/old")).unwrap(),
        b"the old content"
    );
    let server = server_with(&dir, dir.join("accounts.db").to_str().unwrap(), &[]);
    let mut ftp = Ftp::ada(&server);
    assert_eq!(ftp.receive("NLST"), b"old\r\n");
    assert_eq!(ftp.expect("SIZE new", 213), "213 200000\r\n");
    for name in ["new", "old"] {
        ftp.expect("REST 200000", 350);
        let stored = ftp.store(format!("STOR {name}"), &content[200_000..]);
        assert!(stored.starts_with("226"), "{stored}");
        assert!(std::fs::read(dir.join("root").join(name)).unwrap() == content);
    }
}

#[test]
fn a_lack_of_descriptors_is_451_and_leaves_no_file() {
    let dir = TestDir::new("ftp-descriptors");
    dir.write("root/folder/old", "the old content");
    let server = server_of_ada(&dir, &["--no-fsync"]);
    let mut ftp = Ftp::ada(&server);
    for name in ["folder/new", "folder/old"] {
        let mut data = ftp.data();
        ftp.expect(format!("STOR {name}"), 150);
        data.write_all(b"xy").unwrap();
        wait_until("it has arrived", || {
            ftp.command("STAT").contains(" 2 bytes")
        });
        let reply = without_descriptors(&server, || {
            drop(data);
            ftp.reply()
        });
        assert!(
            reply.starts_with("45") && !reply.starts_with("452"),
            "{name}: {reply}"
        );
        let names = std::fs::read_dir(dir.join("root/folder")).unwrap().count();
        let old = std::fs::read(dir.join("root/folder/old")).unwrap();
        assert_eq!((names, &old[..]), (1, &b"the old content"[..]), "{name}");
    }
    assert!(ftp.store("STOR folder/new", b"xy").starts_with("226"));
}

#[test]
fn of_two_hundred_sessions_half_transfer_and_half_are_idle() {
    const HALF: usize = 100;
    let dir = TestDir::new("ftp-two-hundred");
    // If each session held a thread, four would be too few.
    let options = ["--no-fsync", "--threads", "4", "--max-threads", "4"];
    let server = server_of_ada(&dir, &options);
    let mut sessions: Vec<Ftp> = (0..2 * HALF).map(|_| Ftp::ada(&server)).collect();
    let (busy, idle) = sessions.split_at_mut(HALF);
    let content = |number: usize| vec![number as u8; 20_000 + number];
    let mut uploads = Vec::new();
    for (number, ftp) in busy.iter_mut().enumerate() {
        let mut data = ftp.data();
        ftp.expect(format!("STOR {number}"), 150);
        data.write_all(&content(number)[..10_000]).unwrap();
        uploads.push(data);
    }
    for ftp in idle.iter_mut() {
        ftp.expect("NOOP", 200);
    }
    for (number, mut data) in uploads.into_iter().enumerate() {
        data.write_all(&content(number)[10_000..]).unwrap();
    }
    for (number, ftp) in busy.iter_mut().enumerate() {
        ftp.expect_reply(226);
        let stored = std::fs::read(dir.join("root").join(number.to_string()));
        assert!(stored.unwrap() == content(number), "{number}");
    }
    // Those that were idle fetch what the others have stored.
    let mut downloads = Vec::new();
    for (number, ftp) in idle.iter_mut().enumerate() {
        let data = ftp.data();
        ftp.expect(format!("RETR {number}"), 150);
        downloads.push(data);
    }
    for (number, (ftp, mut data)) in idle.iter_mut().zip(downloads).enumerate() {
        let mut received = Vec::new();
        std::io::Read::read_to_end(&mut data, &mut received).unwrap();
        assert!(received == content(number), "{number}");
        ftp.expect_reply(226);
    }
}

/// Stores five files of ten bytes; how many of them fit.
fn store_by_ftp(mut ftp: Ftp, writer: usize) -> usize {
    let store = |number: &usize| {
        let mut data = ftp.data();
        let mut reply = ftp.command(format!("STOR f{writer}-{number}"));
        if reply.starts_with("150") {
            data.write_all(b"0123456789").unwrap();
            drop(data);
            reply = ftp.reply();
        }
        assert!(
            reply.starts_with("226") || reply.starts_with("552"),
            "{reply}"
        );
        reply.starts_with("226")
    };
    (0..5).filter(store).count()
}

/// The same by HTTP.
fn store_by_http(mut connection: Connection, writer: usize) -> usize {
    let login = authorization("ada", "secret");
    let store = |number: &usize| {
        let target = format!("/h{writer}-{number}");
        connection.send(put_request(&target, &[&login], "0123456789"));
        let status = connection.receive().status;
        assert!(matches!(status, 201 | 507), "{status}");
        status == 201
    };
    (0..5).filter(store).count()
}

#[test]
fn uploads_by_ftp_and_http_at_once_never_pass_the_quota() {
    let dir = TestDir::new("ftp-quota-race");
    let accounts = accounts(&dir, &[("ada", "lrwd", &["--quota", "100"])]);
    let by_ftp = server_with(&dir, &accounts, &[]);
    let root = dir.join("root").to_str().unwrap().to_owned();
    let by_http = TestServer::start(&["http", &root, "--upload", "--accounts", &accounts]);
    let sessions: Vec<Ftp> = (0..4).map(|_| Ftp::ada(&by_ftp)).collect();
    let mut writers = Vec::new();
    for (writer, ftp) in sessions.into_iter().enumerate() {
        let connection = Connection::open(&by_http);
        writers.push(std::thread::spawn(move || store_by_ftp(ftp, writer)));
        writers.push(std::thread::spawn(move || {
            store_by_http(connection, writer)
        }));
    }
    let stored = writers.into_iter().map(|writer| writer.join().unwrap());
    let stored: usize = stored.sum();
    assert_eq!((stored, names_in(&dir.join("root")).len()), (10, 10));
    let quota = Ftp::ada(&by_ftp).expect("SITE QUOTA", 200);
    assert!(quota.contains("100 of 100 bytes used"), "{quota}");
}

/// Stores a file until it was stored and refused, for some time at least.
fn store_while_swapped(mut ftp: Ftp, command: &str) {
    let (mut stored, mut refused) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < LONG_ENOUGH || stored == 0 || refused == 0 {
        assert!(
            begun.elapsed() < PATIENCE,
            "{command}: {stored} successes, {refused} failures"
        );
        let mut data = ftp.data();
        let mut reply = ftp.command(command);
        if reply.starts_with("150") {
            data.write_all(b"uploaded").unwrap();
            drop(data);
            reply = ftp.reply();
        }
        match reply.as_bytes()[0] {
            b'2' => stored += 1,
            b'4' | b'5' => refused += 1,
            _ => panic!("{command}: {reply}"),
        }
    }
}

#[test]
fn nothing_is_written_outside_while_folders_become_links() {
    let dir = site("ftp-races");
    let accounts = accounts(&dir, &[("ada", "lrwd", &[])]);
    let root = dir.join("site");
    let line = ["ftp", root.to_str().unwrap(), "--accounts", &accounts];
    let server = TestServer::start(&[&line[..], &["--no-fsync"]].concat());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| swap(&root, &stop));
        let commands = ["STOR dir/file.txt", "STOR dir/new", "APPE deep/er/dir/new"];
        let sessions = commands.map(|command| (Ftp::ada(&server), command));
        let writers =
            sessions.map(|(ftp, command)| scope.spawn(move || store_while_swapped(ftp, command)));
        let ended = writers.map(|writer| writer.join());
        stop.store(true, Ordering::Relaxed);
        swapper.join().unwrap();
        for writer in ended {
            writer.unwrap();
        }
    });
    let secret = format!("{SECRET}.txt");
    assert_eq!(names_in(&dir.join("outside")), [&secret, "file.txt"]);
    let untouched = std::fs::read_to_string(dir.join("outside/file.txt"));
    assert_eq!(untouched.unwrap(), SECRET);
}
