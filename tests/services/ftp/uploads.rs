//! `serve ftp`: uploads, resumption, translations and limits.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::Socket;

use crate::support::ftp::{Ftp, accounts, server_of_ada};
use crate::support::{TestDir, TestServer, wait_until};

#[test]
fn text_is_translated_exactly_and_not_resumed() {
    let dir = TestDir::new("ftp-text");
    dir.write("root/a", "one\ntwo\r\n\nend\r");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    ftp.expect("TYPE A", 200);
    assert_eq!(ftp.receive("RETR a"), b"one\r\ntwo\r\n\r\nend\r");
    let sent = b"one\r\n\r\ntwo\rthree\n\r\r\n\r".repeat(10_000);
    assert!(ftp.store("STOR b", &sent).starts_with("226"));
    let stored = b"one\n\ntwo\rthree\n\r\n\r".repeat(10_000);
    assert!(std::fs::read(dir.join("root/b")).unwrap() == stored);
    ftp.expect("REST 1", 501);
    ftp.expect("TYPE I", 200);
    ftp.expect("REST 1", 350);
    ftp.expect("TYPE A", 200);
    ftp.listen();
    ftp.expect("RETR a", 554);
    // The offset was for that command only.
    ftp.expect("TYPE I", 200);
    assert_eq!(ftp.receive("RETR a").len(), 14);
}

#[test]
fn transfers_start_at_an_offset() {
    let dir = TestDir::new("ftp-offsets");
    dir.write("root/a", "0123456789");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    ftp.expect("REST 4", 350);
    assert_eq!(ftp.receive("RETR a"), b"456789");
    ftp.expect("REST 10", 350);
    assert_eq!(ftp.receive("RETR a"), b"");
    ftp.expect("REST 11", 350);
    ftp.listen();
    ftp.expect("RETR a", 554);
    ftp.expect("REST 11", 350);
    ftp.expect("STOR a", 554);
    ftp.expect("REST 4", 350);
    assert!(ftp.store("STOR a", b"xyz").starts_with("226"));
    assert_eq!(std::fs::read(dir.join("root/a")).unwrap(), b"0123xyz");
    assert!(ftp.store("APPE a", b"!").starts_with("226"));
    assert_eq!(std::fs::read(dir.join("root/a")).unwrap(), b"0123xyz!");
    assert!(ftp.store("APPE new", b"n").starts_with("226"));
    ftp.expect("REST 4", 350);
    ftp.expect("APPE a", 450);
    ftp.expect("REST 4", 350);
    ftp.expect("STOU", 450);
    ftp.expect("REST 4", 350);
    ftp.expect("STOR nothing", 550);
    // The offset was for that command only, although its path is reserved.
    ftp.expect("REST 4", 350);
    ftp.expect("STOR .socketserver-partial/a", 550);
    assert!(ftp.store("STOR a", b"new").starts_with("226"));
    assert_eq!(std::fs::read(dir.join("root/a")).unwrap(), b"new");
}

#[test]
fn stou_takes_a_name_that_nobody_has() {
    let dir = TestDir::new("ftp-stou");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    let mut data = ftp.data();
    let reply = ftp.expect("STOU", 150);
    let name = reply
        .trim_end()
        .strip_prefix("150 FILE: ")
        .unwrap()
        .to_owned();
    data.write_all(b"unique").unwrap();
    drop(data);
    ftp.expect_reply(226);
    assert_eq!(
        std::fs::read(dir.join("root").join(name)).unwrap(),
        b"unique"
    );
}

#[test]
fn a_cut_upload_is_hidden_and_goes_on() {
    let dir = TestDir::new("ftp-cut");
    dir.write("root/old", "the old content");
    let mut server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    let content: Vec<u8> = (0..500_000_u32).map(|n| (n % 253) as u8).collect();
    let cut = |ftp: &mut Ftp, name: &str| {
        let mut data = ftp.data();
        ftp.expect(format!("STOR {name}"), 150);
        data.write_all(&content[..200_000]).unwrap();
        let data = Socket::from(data);
        wait_until("it has arrived", || {
            ftp.command("STAT").contains(" 200000 bytes")
        });
        data.set_linger(Some(Duration::ZERO)).unwrap();
        drop(data);
        ftp.expect_reply(426);
    };
    cut(&mut ftp, "new");
    cut(&mut ftp, "old");
    assert_eq!(ftp.receive("NLST"), b"old\r\n");
    assert_eq!(ftp.receive("RETR old"), b"the old content");
    // It outlives the server.
    drop(ftp);
    server.signal("KILL");
    server.wait();
    let root = dir.join("root").to_str().unwrap().to_owned();
    let accounts = dir.join("accounts.db").to_str().unwrap().to_owned();
    let server = TestServer::start(&["ftp", &root, "--accounts", &accounts]);
    let mut ftp = Ftp::ada(&server);
    for name in ["new", "old"] {
        if name == "new" {
            assert_eq!(ftp.expect("SIZE new", 213), "213 200000\r\n");
        }
        ftp.expect("REST 200000", 350);
        let stored = ftp.store(format!("STOR {name}"), &content[200_000..]);
        assert!(stored.starts_with("226"), "{stored}");
        assert!(std::fs::read(dir.join("root").join(name)).unwrap() == content);
    }
}

#[test]
fn an_upload_goes_on_by_another_protocol_and_back() {
    let dir = TestDir::new("ftp-protocols");
    std::fs::create_dir_all(dir.join("root")).unwrap();
    let root = dir.join("root").to_str().unwrap().to_owned();
    let ftp_server = TestServer::start(&["ftp", &root, "--anonymous-write"]);
    let uploads = TestServer::start(&["upload", &root]);
    let mut ftp = Ftp::connect(&ftp_server);
    ftp.expect("USER anonymous", 331);
    ftp.expect("PASS", 230);
    ftp.expect("TYPE I", 200);
    let frame = |json: &str| [&(json.len() as u32).to_le_bytes()[..], json.as_bytes()].concat();
    let answer = |stream: &mut std::net::TcpStream| {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut json = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut json).unwrap();
        String::from_utf8(json).unwrap()
    };
    // Begun by FTP.
    let mut data = ftp.data();
    ftp.expect("STOR a", 150);
    data.write_all(b"hello ").unwrap();
    wait_until("it has arrived", || {
        ftp.command("STAT").contains(" 6 bytes")
    });
    ftp.send(b"ABOR\r\n");
    ftp.expect_reply(426);
    ftp.expect_reply(226);
    // The data connection may end after the reply to ABOR, and holds a lock until then.
    wait_until("nobody writes it any more", || {
        let staged = std::fs::read_dir(dir.join("root/.socketserver-partial"));
        let mut paths = staged.unwrap().map(|entry| entry.unwrap().path());
        let part = paths.find(|path| path.extension().is_some_and(|name| name == "part"));
        let file = std::fs::File::open(part.unwrap()).unwrap();
        file.try_lock_shared().is_ok()
    });
    let mut upload = uploads.connect();
    let header = r#"{"file_name": "a", "file_size": 11, "resume": true}"#;
    upload.write_all(&frame(header)).unwrap();
    let said = answer(&mut upload);
    assert!(
        said.contains("\"continue\"") && said.contains("\"offset\":6"),
        "{said}"
    );
    upload.write_all(b"world").unwrap();
    assert!(answer(&mut upload).contains("\"ok\""));
    assert_eq!(std::fs::read(dir.join("root/a")).unwrap(), b"hello world");
    // Begun by the other one.
    let header = r#"{"file_name": "b", "file_size": 11}"#;
    upload.write_all(&frame(header)).unwrap();
    upload.write_all(b"hello ").unwrap();
    upload.shutdown(Shutdown::Write).unwrap();
    answer(&mut upload);
    drop(upload);
    wait_until("it is kept", || ftp.command("SIZE b").starts_with("213 6"));
    ftp.expect("REST 6", 350);
    assert!(ftp.store("STOR b", b"world").starts_with("226"));
    assert_eq!(std::fs::read(dir.join("root/b")).unwrap(), b"hello world");
}

#[test]
fn limits_of_size_quota_and_rate_hold() {
    let dir = TestDir::new("ftp-limits");
    std::fs::create_dir_all(dir.join("root")).unwrap();
    let accounts = accounts(&dir, &[("ada", "lrwd", &["--quota", "100000"])]);
    let root = dir.join("root").to_str().unwrap().to_owned();
    let line = ["ftp", &root, "--accounts", &accounts, "--max-size", "80000"];
    let server = TestServer::start(&[&line[..], &["--rate-limit", "200000"]].concat());
    let mut ftp = Ftp::ada(&server);
    ftp.expect("ALLO 1000", 202);
    ftp.expect("ALLO 100001", 552);
    let begun = std::time::Instant::now();
    assert!(ftp.store("STOR a", &[0; 70_000]).starts_with("226"));
    // A quarter of a second's worth may pass at once.
    assert!(
        begun.elapsed() >= Duration::from_millis(90),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        ftp.expect("SITE QUOTA", 200)
            .contains("70000 of 100000 bytes used")
    );
    for (name, size) in [("b", 40_000), ("c", 80_001)] {
        let mut data = ftp.data();
        ftp.expect(format!("STOR {name}"), 150);
        // The server may have seen enough before all is sent.
        let _ = data.write_all(&vec![0; size]);
        drop(data);
        ftp.expect_reply(552);
        assert!(!dir.join("root").join(name).exists());
    }
}

#[test]
fn transfers_are_logged() {
    let dir = TestDir::new("ftp-log");
    let (json, xferlog) = (dir.join("transfers.json"), dir.join("xferlog"));
    let options = [
        "--transfer-log",
        json.to_str().unwrap(),
        "--xferlog",
        xferlog.to_str().unwrap(),
    ];
    let mut server = server_of_ada(&dir, &options);
    let mut ftp = Ftp::ada(&server);
    assert!(ftp.store("STOR a", b"abc").starts_with("226"));
    assert_eq!(ftp.receive("RETR a"), b"abc");
    // Rotated: the next transfer is in a new file.
    let old = dir.join("xferlog.1");
    wait_until("it is written", || {
        std::fs::read(&xferlog).is_ok_and(|log| !log.is_empty())
    });
    std::fs::rename(&xferlog, &old).unwrap();
    server.signal("HUP");
    server.wait_for_log("reloaded");
    ftp.expect("SIZE a", 213);
    assert_eq!(ftp.receive("RETR a"), b"abc");
    ftp.expect("QUIT", 221);
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    let json = std::fs::read_to_string(json).unwrap();
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (lines.len(), &lines[0]["direction"], &lines[0]["bytes"]),
        (3, &"upload".into(), &3.into())
    );
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(lines[0]["sha256"], sha256);
    assert_eq!(
        (&lines[1]["user"], &lines[1]["complete"]),
        (&"ada".into(), &true.into())
    );
    assert_eq!(std::fs::read_to_string(xferlog).unwrap().lines().count(), 1);
    let xferlog = std::fs::read_to_string(old).unwrap();
    assert!(
        xferlog
            .lines()
            .next()
            .unwrap()
            .ends_with(" 3 /a b _ i r ada ftp 0 * c"),
        "{xferlog}"
    );
}

#[test]
fn compressed_transfers_are_the_same_files() {
    let script = r#"
import ftplib, io, sys, zlib
ftp = ftplib.FTP()
ftp.connect('127.0.0.1', int(sys.argv[1]), timeout=20)
ftp.login('ada', 'secret')
ftp.voidcmd('TYPE I')
ftp.voidcmd('MODE Z')
content = bytes(range(256)) * 5000
data = ftp.transfercmd('STOR a')
data.sendall(zlib.compress(content)); data.close()
ftp.voidresp()
data = ftp.transfercmd('RETR a')
received = data.makefile('rb').read()
ftp.voidresp()
assert zlib.decompress(received) == content
data = ftp.transfercmd('STOR a')
data.sendall(zlib.compress(content)[:-9]); data.close()
try:
    ftp.voidresp()
except ftplib.error_temp as error:
    print(str(error)[:3])
"#;
    let dir = TestDir::new("ftp-mode-z");
    let server = server_of_ada(&dir, &[]);
    let port = server.address().port().to_string();
    if let Some(said) = crate::support::python("compressed_transfers", script, &[&port]) {
        assert_eq!(said, "426\n");
        let content: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(5000);
        assert!(std::fs::read(dir.join("root/a")).unwrap() == content);
    }
}
