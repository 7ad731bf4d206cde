//! `serve ftp`: lines, names, and what is said of a file.

use crate::support::TestDir;
use crate::support::ftp::{Ftp, server_of_ada};

#[test]
fn files_are_described_renamed_and_removed() {
    let dir = TestDir::new("ftp-files");
    dir.write("root/a.txt", "hello");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    assert_eq!(ftp.expect("SIZE a.txt", 213), "213 5\r\n");
    ftp.expect("SIZE /", 550);
    let modified = ftp.expect("MFMT 20170921013410 a.txt", 213);
    assert_eq!(modified, "213 Modify=20170921013410; /a.txt\r\n");
    assert_eq!(ftp.expect("MDTM a.txt", 213), "213 20170921013410\r\n");
    ftp.expect("MDTM nothing", 550);
    let facts = ftp.expect("MLST a.txt", 250);
    let line = facts.lines().nth(1).unwrap();
    assert!(
        line.starts_with(" type=file;perm=radfw;size=5;modify=20170921013410;"),
        "{line}"
    );
    assert!(line.ends_with("; /a.txt"), "{line}");
    ftp.expect("OPTS MLST size;", 200);
    assert!(
        ftp.expect("FEAT", 211)
            .contains(" MLST type;perm;size*;modify;")
    );
    assert_eq!(
        ftp.expect("MLST a.txt", 250).lines().nth(1).unwrap(),
        " size=5; /a.txt"
    );
    ftp.expect("SITE CHMOD 600 a.txt", 200);
    ftp.expect("RNFR nothing", 550);
    ftp.expect("RNFR a.txt", 350);
    ftp.expect("RNTO b.txt", 250);
    ftp.expect("RNTO c.txt", 503);
    assert_eq!(std::fs::read(dir.join("root/b.txt")).unwrap(), b"hello");
    ftp.expect("DELE /", 550);
    ftp.expect("DELE b.txt", 250);
    ftp.expect("DELE b.txt", 550);
    ftp.expect("TYPE A", 200);
    ftp.expect("SIZE a.txt", 550);
    ftp.expect("REST 1", 501);
}

#[test]
fn digests_are_those_of_the_file() {
    let dir = TestDir::new("ftp-digests");
    dir.write("root/a b", "abc");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        ftp.expect("HASH a b", 213),
        format!("213 SHA-256 0-2 {sha256} /a b\r\n")
    );
    assert_eq!(ftp.expect("XSHA256 a b", 250), format!("250 {sha256}\r\n"));
    assert_eq!(
        ftp.expect("XMD5 \"a b\"", 250),
        "250 900150983cd24fb0d6963f7d28e17f72\r\n"
    );
    ftp.expect("OPTS HASH MD5", 200);
    assert!(
        ftp.expect("FEAT", 211)
            .contains(" HASH SHA-256;SHA-1;MD5*;BLAKE3")
    );
    // That of `b`.
    let md5 = "92eb5ffee6ae2fec3ad71c777531578f";
    assert_eq!(ftp.expect("XMD5 a b 1 2", 250), format!("250 {md5}\r\n"));
    ftp.expect("HASH nothing", 550);
}

#[test]
fn lines_come_in_any_pieces_and_long_ones_are_refused() {
    let dir = TestDir::new("ftp-lines");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    for byte in b"\xff\xf4PW\xff\xf1D\r\n" {
        ftp.send(&[*byte]);
    }
    ftp.expect_reply(257);
    ftp.expect("x".repeat(5000), 500);
    ftp.expect(format!("CWD {}", "x".repeat(100_000)), 500);
    ftp.expect("NOOP", 200);
    // Pipelined, with and without carriage returns.
    ftp.send(b"NOOP\nPWD\r\nSYST\nNOSUCH\r\nTYPE I\r\n");
    for code in [200, 257, 215, 500, 200] {
        ftp.expect_reply(code);
    }
}

#[test]
fn names_of_any_bytes_survive_and_forge_no_reply() {
    let dir = TestDir::new("ftp-names");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    for name in [
        &b"caf\xc3\xa9"[..],
        b"caf\xe9",
        b"\xff\xfe",
        b" x ",
        b"a\tb\x01",
        b"-la",
        b"%",
    ] {
        assert!(
            ftp.store([b"STOR ", name].concat(), name)
                .starts_with("226")
        );
        let listed = ftp.receive("NLST");
        assert_eq!(listed, [name, b"\r\n"].concat());
        assert_eq!(ftp.receive([b"RETR ", name].concat()), name);
        ftp.expect([b"DELE ", name].concat(), 250);
    }
    let evil = dir.join("root/evil\n226 done\r\n-rw");
    std::fs::write(evil, "x").unwrap();
    let status = ftp.expect("STAT /", 213);
    assert_eq!(status.lines().count(), 3, "{status}");
    ftp.expect("NOOP", 200);
    for command in ["LIST", "NLST", "MLSD"] {
        let listed = ftp.text(command);
        assert_eq!(listed.matches('\n').count(), 1, "{command}: {listed}");
    }
}
