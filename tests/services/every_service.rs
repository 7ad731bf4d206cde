//! What every service of the list must stand.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{PATIENCE, TestDir, TestServer, run};

/// What a service can't start without.
fn arguments(name: &str, dir: &TestDir) -> Vec<String> {
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    match name {
        "http" | "upload" | "ftp" => vec![path(dir.join(""))],
        "transfer" => {
            dir.write("file", "content");
            vec![path(dir.join("file"))]
        }
        "exec" => vec!["--no-auth".to_owned()],
        "auth" => {
            dir.write("key", "secret");
            vec!["--key-file".to_owned(), path(dir.join("key"))]
        }
        _ => Vec::new(),
    }
}

/// Each service of the list for connections, or for datagrams, started on a folder of its own.
fn for_each(test: &str, datagrams: bool, check: impl Fn(&str, TestServer)) {
    let names = run(&["services"]).1;
    let mut checked = 0;
    for name in names.lines() {
        let dir = TestDir::new(&format!("{test}-{name}"));
        let mut line = [name, "--grace", "500ms"].map(str::to_owned).to_vec();
        line.extend(arguments(name, &dir));
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let server = TestServer::start(&line);
        if server.ready[0].contains(" on udp://") == datagrams {
            check(name, server);
            checked += 1;
        }
    }
    assert!(checked > 0 || datagrams, "no service was checked");
}

fn for_each_stream(test: &str, check: impl Fn(&str, TestServer)) {
    for_each(test, false, check);
}

fn assert_alive(name: &str, server: &TestServer) {
    drop(server.connect());
    assert!(server.threads() > 0, "{name}");
}

/// Bytes as random as they must be, and always the same.
fn garbage(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Writes garbage and half-closes, reading at the same time: a service may answer as much as it
/// gets.
fn exchange_garbage(server: &TestServer) {
    let mut writer = server.connect();
    let mut reader = writer.try_clone().unwrap();
    let drained = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    // The service may have seen enough before all is sent.
    let _ = writer.write_all(&garbage(64 * 1024));
    let _ = writer.shutdown(std::net::Shutdown::Write);
    let _ = drained.join().unwrap();
}

#[test]
fn garbage_and_an_end_close_a_connection_and_nothing_else() {
    for_each_stream("garbage", |name, server| {
        exchange_garbage(&server);
        assert_alive(name, &server);
    });
}

#[test]
fn half_a_line_and_silence_hold_no_thread_and_no_shutdown() {
    for_each_stream("silence", |name, mut server| {
        let connections: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
        for mut connection in &connections[..25] {
            connection.write_all(b"G").unwrap();
        }
        assert_alive(name, &server);
        // The pool's own, and a few more: not one for each connection.
        assert!(
            server.threads() < 20,
            "{name}: {} threads",
            server.threads()
        );
        server.signal("TERM");
        let (code, _) = server.wait();
        // Half a message is in flight: the grace time is theirs.
        assert!(code == Some(0) || code == Some(1), "{name}: {code:?}");
    });
}

#[test]
fn a_shutdown_closes_idle_connections_at_once() {
    for_each_stream("shutdown", |name, mut server| {
        let mut idle = server.connect();
        assert_alive(name, &server);
        server.signal("INT");
        let (code, took) = server.wait();
        assert_eq!(code, Some(0), "{name}");
        assert!(took < PATIENCE / 10, "{name}: {took:?}");
        // A server that speaks first has said something by now.
        let end = idle.read_to_end(&mut Vec::new());
        assert!(
            !matches!(end, Err(error) if error.kind() == ErrorKind::WouldBlock),
            "{name}: it is still open"
        );
    });
}

#[test]
fn garbage_in_datagrams_harms_nobody_and_is_never_amplified() {
    for_each("datagrams", true, |name, mut server| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE / 100)).unwrap();
        let mut answer = [0; 65536];
        for length in [0, 1, 47, 48, 1000, 65_507] {
            socket.send(&garbage(length)).unwrap();
            let got = socket.recv(&mut answer).unwrap_or(0);
            assert!(got <= length, "{name}: {got} bytes to {length}");
        }
        server.signal("TERM");
        assert_eq!(server.wait().0, Some(0), "{name}");
    });
}

#[test]
fn a_client_whose_output_nobody_reads_any_more_ends_quietly() {
    for (service, options, arguments) in [
        ("echo", &[][..], &[][..]),
        ("echo", &["--udp"], &[]),
        ("time", &[], &[]),
        ("exec", &["--no-auth"], &["echo", "hello"]),
    ] {
        let server = TestServer::start(&[&[service], options].concat());
        let mut client = Command::new(env!("CARGO_BIN_EXE_socketserver"));
        client
            .args(["client", service])
            .args(options.iter().filter(|option| **option == "--udp"));
        client.arg(server.address().to_string()).args(arguments);
        let mut client = client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(client.stdout.take());
        client.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), &*said),
            (Some(0), ""),
            "{service} {options:?}"
        );
    }
}
