//! `serve ftp`: data connections and transfers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::ftp::{Ftp, accounts, connect, server_of_ada};
use crate::support::{PATIENCE, TestDir, TestServer, wait_until};

/// More than the buffers of the systems hold.
const LARGE: usize = 40 << 20;

fn from(ip: &str, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let address: SocketAddr = format!("{ip}:0").parse().unwrap();
    socket.bind(&address.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(&to.into()).unwrap();
    socket
}

#[test]
fn files_go_both_ways_passive_and_active_and_over_ipv6() {
    let dir = TestDir::new("ftp-both-ways");
    std::fs::create_dir_all(dir.join("root")).unwrap();
    let accounts = accounts(&dir, &[("ada", "lrwd", &[])]);
    let root = dir.join("root").to_str().unwrap().to_owned();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let server = TestServer::start(&["ftp", &root, "--accounts", &accounts, "--bind", bind]);
        let mut ftp = Ftp::ada(&server);
        assert!(ftp.store("STOR a", &content).starts_with("226"));
        assert!(ftp.receive("RETR a") == content);
        let ours = TcpListener::bind((ftp.stream.local_addr().unwrap().ip(), 0)).unwrap();
        let own = ours.local_addr().unwrap();
        let family = if own.is_ipv4() { 1 } else { 2 };
        ftp.expect(format!("EPRT |{family}|{}|{}|", own.ip(), own.port()), 200);
        ftp.send(b"RETR a\r\n");
        let (mut data, _) = ours.accept().unwrap();
        ftp.expect_reply(150);
        let mut received = Vec::new();
        data.read_to_end(&mut received).unwrap();
        ftp.expect_reply(226);
        assert!(received == content);
        ftp.expect(format!("EPRT |{}|::1|2000|", 3 - family), 522);
        ftp.expect(format!("EPSV {}", 3 - family), 522);
        ftp.expect("EPSV ALL", 200);
        ftp.expect("PASV", 501);
        ftp.expect("PORT 127,0,0,1,8,8", 501);
    }
}

#[test]
fn a_transfer_needs_a_data_connection_that_is_the_client_s() {
    let dir = TestDir::new("ftp-data");
    dir.write("root/a", "hello");
    let server = server_of_ada(&dir, &["--read-timeout", "1s"]);
    let mut ftp = Ftp::ada(&server);
    ftp.expect("RETR a", 425);
    // Bounces.
    ftp.expect("PORT 127,0,0,2,100,1", 501);
    ftp.expect("PORT 127,0,0,1,0,80", 501);
    // A stranger is closed, and the client is served.
    let address = ftp.listen();
    let mut stranger = from("127.0.0.2", address);
    assert_eq!(stranger.read(&mut [0; 10]).unwrap_or(0), 0);
    let mut data = connect(address);
    ftp.expect("RETR a", 150);
    let mut received = Vec::new();
    data.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"hello");
    ftp.expect_reply(226);
    // Nobody listens.
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let [high, low] = closed.port().to_be_bytes();
    ftp.expect(format!("PORT 127,0,0,1,{high},{low}"), 200);
    ftp.expect("RETR a", 425);
    // The client never connects.
    ftp.listen();
    ftp.expect("RETR a", 150);
    ftp.expect_reply(425);
    ftp.expect("NOOP", 200);
}

#[test]
fn an_exhausted_range_of_ports_is_425_until_a_port_is_free() {
    let dir = TestDir::new("ftp-range");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let range = format!("{free}-{free}");
    let server = server_of_ada(&dir, &["--passive-ports", &range, "--active", "off"]);
    let (mut first, mut second) = (Ftp::ada(&server), Ftp::ada(&server));
    assert_eq!(first.listen().port(), free);
    // The same session may have it again.
    assert_eq!(first.listen().port(), free);
    second.expect("EPSV", 425);
    second.expect("PORT 127,0,0,1,100,1", 502);
    first.expect("ABOR", 225);
    wait_until("the port is free", || {
        second.command("EPSV").starts_with("229")
    });
    assert_eq!(second.receive("NLST"), b"");
}

#[test]
fn a_client_is_told_the_address_of_the_option() {
    let options = [
        "--passive-address",
        "203.0.113.7",
        "--passive-address",
        "127.0.0.0/8=auto",
    ];
    for (options, told) in [
        (&options[..2], "203,0,113,7"),
        (&options[..], "127,0,0,1"),
        (&[], "127,0,0,1"),
    ] {
        let dir = TestDir::new("ftp-told");
        let server = server_of_ada(&dir, options);
        let mut ftp = Ftp::ada(&server);
        let reply = ftp.expect("PASV", 227);
        assert!(reply.contains(&format!("({told},")), "{reply}");
    }
}

#[test]
fn listings_have_the_forms_that_clients_know() {
    let dir = TestDir::new("ftp-listings");
    dir.write("root/d/a.txt", "hello");
    dir.write("root/d/b.log", "");
    dir.write("root/d/-la", "");
    std::fs::create_dir(dir.join("root/d/empty")).unwrap();
    std::os::unix::fs::symlink("a.txt", dir.join("root/d/link")).unwrap();
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    let mut text = |command: &str| ftp.text(command);
    let long = text("LIST d");
    let line = long.lines().find(|line| line.ends_with("a.txt")).unwrap();
    assert!(
        line.starts_with("-rw") && line.contains("        5 "),
        "{line}"
    );
    assert!(
        long.contains(" link -> a.txt\r\n") && long.lines().count() == 5,
        "{long}"
    );
    assert_eq!(text("LIST -la d"), long);
    assert_eq!(text("LIST d/a.txt").lines().count(), 1);
    assert_eq!(text("LIST d/-la").lines().count(), 1);
    assert_eq!(
        text("NLST d"),
        "d/-la\r\nd/a.txt\r\nd/b.log\r\nd/empty\r\nd/link\r\n"
    );
    assert_eq!(text("NLST d/*.txt"), "d/a.txt\r\n");
    assert_eq!(text("LIST d/empty"), "");
    let facts = text("MLSD d");
    assert!(
        facts.contains("type=dir;") && facts.contains("; empty\r\n"),
        "{facts}"
    );
    assert_eq!(facts.matches("type=file;").count(), 4, "{facts}");
    ftp.listen();
    ftp.expect("LIST nothing", 550);
    ftp.expect("NLST d/*.none", 550);
    ftp.expect("MLSD d/a.txt", 501);
    ftp.expect("STAT d/*", 550);
    let status = ftp.expect("STAT d", 213);
    assert!(
        status.contains("a.txt") && status.lines().count() == 7,
        "{status}"
    );
}

#[test]
fn abor_and_stat_work_during_a_transfer() {
    let dir = TestDir::new("ftp-abor");
    dir.write("root/large", vec![7; LARGE]);
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    ftp.expect("ABOR", 225);
    // The client has not connected yet.
    let address = ftp.listen();
    ftp.expect("RETR large", 150);
    assert!(
        ftp.expect("STAT", 211)
            .contains("waiting for the data connection")
    );
    ftp.send(b"\xff\xf4\xff\xf2ABOR\r\n");
    ftp.expect_reply(426);
    ftp.expect_reply(226);
    wait_until("nobody listens", || {
        std::net::TcpStream::connect(address).is_err()
    });
    // In the middle, with commands that wait behind the transfer.
    let mut data = ftp.data();
    ftp.send(b"RETR large\r\nPWD\r\n");
    ftp.expect_reply(150);
    data.read_exact(&mut [0; 1000]).unwrap();
    assert!(ftp.expect("STAT", 211).contains("RETR /large"));
    // As urgent data.
    let socket = Socket::from(ftp.stream.try_clone().unwrap());
    socket.send_out_of_band(b"ABOR\r\n").unwrap();
    ftp.expect_reply(426);
    ftp.expect_reply(226);
    ftp.expect_reply(257);
    let mut rest = Vec::new();
    let _ = data.read_to_end(&mut rest);
    assert!(rest.len() < LARGE - 1000, "{}", rest.len());
    ftp.expect("NOOP", 200);
}

#[test]
fn replies_come_in_the_order_of_pipelined_commands() {
    let dir = TestDir::new("ftp-pipelined");
    dir.write("root/a", "hello");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    let mut data = ftp.data();
    ftp.send(b"RETR a\r\nNOOP\r\nPWD\r\nSIZE a\r\nQUIT\r\n");
    for code in [150, 226, 200, 257, 213, 221] {
        ftp.expect_reply(code);
    }
    assert!(ftp.is_at_end());
    let mut received = Vec::new();
    data.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"hello");
}

#[test]
fn quit_and_rein_let_the_transfer_end() {
    let dir = TestDir::new("ftp-quit");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    let mut data = ftp.data();
    ftp.expect("STOR a", 150);
    data.write_all(b"one").unwrap();
    ftp.expect("REIN", 220);
    ftp.expect("PWD", 530);
    ftp.expect("QUIT", 221);
    data.write_all(b"two").unwrap();
    drop(data);
    ftp.expect_reply(226);
    assert!(ftp.is_at_end());
    assert_eq!(std::fs::read(dir.join("root/a")).unwrap(), b"onetwo");
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    let dir = TestDir::new("ftp-vanished");
    dir.write("root/large", vec![7; LARGE]);
    // If each transfer held a thread, two would be too few.
    let server = server_of_ada(&dir, &["--threads", "2", "--max-threads", "2"]);
    // What the server opens once is open after the first session.
    let mut first = Ftp::ada(&server);
    assert!(first.store("STOR first", b"x").starts_with("226"));
    first.expect("QUIT", 221);
    assert!(first.is_at_end());
    wait_until("the first session is over", || server.descriptors() < 30);
    let before = server.descriptors();
    for command in ["RETR large", "STOR new"] {
        let mut sessions = Vec::new();
        for _ in 0..20 {
            let mut ftp = Ftp::ada(&server);
            let data = ftp.data();
            ftp.expect(command, 150);
            sessions.push((ftp, data));
        }
        for (ftp, data) in sessions {
            // A plain end of the data connection would be the end of the file.
            Socket::from(data).set_linger(Some(Duration::ZERO)).unwrap();
            drop(ftp);
        }
    }
    wait_until("its descriptors are closed", || {
        server.descriptors() <= before
    });
    assert!(!dir.join("root/new").exists());
}

#[test]
fn a_slow_reader_and_an_idle_session_hold_no_thread() {
    let dir = TestDir::new("ftp-threads");
    dir.write("root/large", vec![7; LARGE]);
    let server = server_of_ada(&dir, &["--threads", "2", "--max-threads", "2"]);
    let mut sessions = Vec::new();
    for _ in 0..10 {
        let mut ftp = Ftp::ada(&server);
        let mut data = ftp.data();
        ftp.expect("RETR large", 150);
        data.read_exact(&mut [0; 10]).unwrap();
        sessions.push((ftp, data));
    }
    let mut ftp = Ftp::ada(&server);
    assert_eq!(ftp.receive("NLST"), b"large\r\n");
    // A slow one still gets all of it.
    let (mut ftp, mut data) = sessions.pop().unwrap();
    let mut rest = Vec::new();
    data.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), LARGE - 10);
    ftp.expect_reply(226);
}

#[test]
fn a_file_that_becomes_shorter_is_not_sent_completely() {
    let dir = TestDir::new("ftp-shortened");
    let server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    for kind in ["A", "I"] {
        dir.write("root/large", vec![7; LARGE]);
        ftp.expect(format!("TYPE {kind}"), 200);
        let mut data = ftp.data();
        ftp.expect("RETR large", 150);
        data.read_exact(&mut [0; 10]).unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(dir.join("root/large"));
        file.unwrap().set_len(1000).unwrap();
        let _ = std::io::copy(&mut data, &mut std::io::sink());
        let reply = ftp.reply();
        assert!(reply.starts_with('4'), "TYPE {kind}: {reply}");
    }
}

#[test]
fn a_shutdown_waits_for_a_transfer() {
    let dir = TestDir::new("ftp-drain");
    let mut server = server_of_ada(&dir, &[]);
    let mut ftp = Ftp::ada(&server);
    let mut data = ftp.data();
    ftp.expect("STOR a", 150);
    data.write_all(b"one").unwrap();
    server.signal("TERM");
    wait_until("it accepts nobody", || {
        std::net::TcpStream::connect(server.address()).is_err()
    });
    data.write_all(b"two").unwrap();
    data.shutdown(Shutdown::Write).unwrap();
    ftp.expect_reply(226);
    ftp.expect_reply(421);
    assert_eq!(server.wait().0, Some(0));
    assert_eq!(std::fs::read(dir.join("root/a")).unwrap(), b"onetwo");
}
