//! `serve ftp` behind NAT: the addresses that clients are told.

use std::net::SocketAddr;

use crate::support::ftp::{Ftp, server_of_ada};
use crate::support::{TestDir, TestServer};

/// Not a name: a lookup fails at once, also without a name service.
const NO_NAME: &str = "no..name";

/// A session of ada behind a proxy, which says who she is and where she has connected to.
fn ada_from(server: &TestServer, client: &str, local: &str) -> Ftp {
    let mut ftp = Ftp::silent(server.address());
    ftp.send(format!("PROXY TCP4 {client} {local} 5000 21\r\n").as_bytes());
    ftp.expect_reply(220);
    ftp.expect("USER ada", 331);
    ftp.expect("PASS secret", 230);
    ftp
}

/// How often the log says that a client can't reach the address that it was told.
fn warnings(server: &TestServer) -> usize {
    let lines = server.stderr_so_far();
    let of_address = |line: &&String| line.contains("--passive-address ADDRESS");
    lines.iter().filter(of_address).count()
}

#[test]
fn each_network_is_told_its_address() {
    let dir = TestDir::new("ftp-networks");
    let options = [
        "--proxy-protocol",
        "127.0.0.0/8",
        "--passive-address",
        "203.0.113.7",
        "--passive-address",
        "10.0.0.0/8=auto,192.168.0.0/16=localhost",
    ];
    let server = server_of_ada(&dir, &options);
    for (client, told) in [
        ("198.51.100.1", "203,0,113,7"),
        ("10.1.2.3", "10,0,0,5"),
        ("192.168.7.7", "127,0,0,1"),
    ] {
        let mut ftp = ada_from(&server, client, "10.0.0.5");
        let reply = ftp.expect("PASV", 227);
        assert!(reply.contains(&format!("({told},")), "{client}: {reply}");
    }
    assert_eq!(warnings(&server), 0, "everybody reaches the server");
}

#[test]
fn a_client_from_outside_that_is_told_a_private_address_is_logged_once() {
    let dir = TestDir::new("ftp-private");
    let server = server_of_ada(&dir, &["--proxy-protocol", "127.0.0.0/8"]);
    let told = |client: &str, local: &str| {
        let mut ftp = ada_from(&server, client, local);
        ftp.expect("PASV", 227);
    };
    told("10.1.2.3", "10.0.0.5");
    told("198.51.100.1", "203.0.113.7");
    assert_eq!(warnings(&server), 0, "these clients reach the server");
    told("198.51.100.1", "10.0.0.5");
    let line = server.wait_for_log("--passive-address ADDRESS");
    assert!(
        line.contains("198.51.100.1") && line.contains("10.0.0.5"),
        "{line}"
    );
    told("198.51.100.2", "10.0.0.5");
    told("198.51.100.1", "127.0.0.1");
    server.signal("HUP");
    server.wait_for_log("reloaded");
    assert_eq!(warnings(&server), 0, "one line is enough");
}

#[test]
fn epsv_needs_no_address() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let dir = TestDir::new("ftp-no-address");
        let options = ["--passive-address", NO_NAME, "--bind", bind];
        let server = server_of_ada(&dir, &options);
        let mut ftp = Ftp::ada(&server);
        let reply = ftp.expect("PASV", 425);
        assert!(reply.contains("EPSV"), "{reply}");
        assert!(ftp.store("STOR a", b"content").starts_with("226"));
        assert_eq!(ftp.receive("RETR a"), b"content");
    }
}

/// On all interfaces and both families, with an address for PASV: it is told over IPv4 only.
#[test]
fn pasv_over_ipv6_is_refused_whatever_address_is_told() {
    let dir = TestDir::new("ftp-dual");
    let options = ["--bind", ":0", "--passive-address", "203.0.113.7"];
    let server = server_of_ada(&dir, &options);
    let port = server.address().port();
    for (ip, code) in [("127.0.0.1", 227), ("::1", 425)] {
        let mut ftp = Ftp::silent(SocketAddr::new(ip.parse().unwrap(), port));
        ftp.expect_reply(220);
        ftp.expect("USER ada", 331);
        ftp.expect("PASS secret", 230);
        let reply = ftp.expect("PASV", code);
        assert_eq!(reply.contains("203,0,113,7"), code == 227, "{ip}: {reply}");
        let list = ftp.receive("NLST");
        assert!(list.is_empty(), "{ip}");
    }
}

#[test]
fn a_name_that_has_no_address_is_logged_at_the_start_and_tried_again_after_a_reload() {
    let dir = TestDir::new("ftp-no-name");
    let server = server_of_ada(&dir, &["--passive-address", NO_NAME]);
    let line = server.wait_for_log("has no IPv4 address");
    assert!(line.contains(NO_NAME), "{line}");
    server.signal("HUP");
    server.wait_for_log("reloaded");
    let mut ftp = Ftp::ada(&server);
    ftp.expect("PASV", 425);
    server.wait_for_log("has no IPv4 address");
}
