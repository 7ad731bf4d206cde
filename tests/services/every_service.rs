//! What every service of the list must stand.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{BoundedCommand, PATIENCE, TestDir, TestServer, run};

/// The grace time of a server that is ended while messages are in flight.
const A_MOMENT: &str = "500ms";
/// The grace time of a server that must not wait for its end.
const AN_HOUR: &str = "1h";
/// How long a client waits for an answer that need not come.
const NO_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

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

/// The modes of a service: without an option, and with each option that makes it serve datagrams
/// according to its help.
fn modes(name: &str) -> Vec<Option<String>> {
    let (code, help, _) = run(&["serve", name, "--help"]);
    assert_eq!(code, Some(0), "{name}");
    let lines: Vec<&str> = help.lines().map(str::trim).collect();
    let options = lines.windows(2).filter(|lines| {
        lines[0] == "--udp" || lines[0].starts_with("--") && lines[1].contains("implies --udp")
    });
    let options = options.map(|lines| Some(lines[0].to_owned()));
    [None].into_iter().chain(options).collect()
}

/// Each service of the list, started on a folder of its own in each of its modes that serves
/// connections, or datagrams.
///
/// Each has two threads, so that 50 clients that held one each would keep out all others.
fn for_each(test: &str, grace: &str, datagrams: bool, check: impl Fn(&str, TestServer)) {
    let names = run(&["services"]).1;
    let mut checked = Vec::new();
    for name in names.lines() {
        for mode in modes(name) {
            let is_for_datagrams = mode.is_some();
            let title: String = [name, mode.as_deref().unwrap_or_default()].concat();
            let dir = TestDir::new(&format!("{test}-{title}"));
            let line = [
                name,
                "--grace",
                grace,
                "--threads",
                "2",
                "--max-threads",
                "2",
            ];
            let mut line = line.map(str::to_owned).to_vec();
            line.extend(arguments(name, &dir));
            line.extend(mode);
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            let server = TestServer::start(&line);
            let serves_datagrams = server.ready[0].contains(" on udp://");
            assert!(serves_datagrams || !is_for_datagrams, "{title}");
            if serves_datagrams == datagrams {
                check(&title, server);
                checked.push(title);
            }
        }
    }
    // A service that serves nothing but datagrams, and a mode of a service for connections.
    let expected = if datagrams {
        &["ping", "echo--udp"][..]
    } else {
        &["echo"]
    };
    for title in expected {
        assert!(checked.iter().any(|name| name == title), "{checked:?}");
    }
}

fn for_each_stream(test: &str, grace: &str, check: impl Fn(&str, TestServer)) {
    for_each(test, grace, false, check);
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
    for_each_stream("garbage", A_MOMENT, |name, server| {
        exchange_garbage(&server);
        assert_alive(name, &server);
    });
}

#[test]
fn half_a_line_and_silence_hold_no_thread_and_no_shutdown() {
    for_each_stream("silence", A_MOMENT, |name, mut server| {
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
    for_each_stream("shutdown", AN_HOUR, |name, mut server| {
        let mut idle = server.connect();
        assert_alive(name, &server);
        server.signal("INT");
        assert_eq!(server.wait().0, Some(0), "{name}");
        // A server that speaks first has said something by now.
        let end = idle.read_to_end(&mut Vec::new());
        assert!(
            !matches!(end, Err(error) if error.kind() == ErrorKind::WouldBlock),
            "{name}: it is still open"
        );
    });
}

/// Sends a datagram from a socket of its own, which then receives the answers to that datagram.
fn send_from_new_socket(server: &TestServer, datagram: &[u8]) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address()).unwrap();
    socket.send(datagram).unwrap();
    socket
}

/// The lengths of the answers that a client has received.
fn answers(socket: &UdpSocket) -> Vec<usize> {
    socket.set_nonblocking(true).unwrap();
    let mut answer = [0; 65536];
    std::iter::from_fn(|| socket.recv(&mut answer).ok()).collect()
}

/// The number of bytes with which a service may answer even the shortest datagram: 0 unless
/// SECURITY.md documents another number for `serve NAME OPTION`.
fn documented_bound(title: &str) -> usize {
    let security = concat!(env!("CARGO_MANIFEST_DIR"), "/../SECURITY.md");
    let security = std::fs::read_to_string(security).unwrap();
    let command = format!("`serve {}` answers with ", title.replace("--", " --"));
    let bound = security.split_once(&command).map(|(_, rest)| {
        let digits = rest.split_whitespace().next().unwrap_or_default();
        digits.parse().unwrap()
    });
    bound.unwrap_or(0)
}

#[test]
fn garbage_in_datagrams_harms_nobody() {
    for_each("datagrams", A_MOMENT, true, |name, mut server| {
        let lengths = [0, 1, 47, 48, 1000, 8192, 8193, 65_507];
        assert!(lengths.iter().sum::<usize>() >= 64 * 1024);
        let clients = lengths.map(|length| send_from_new_socket(&server, &garbage(length)));
        assert!(server.threads() > 0, "{name}");
        server.signal("TERM");
        assert_eq!(server.wait().0, Some(0), "{name}");
        drop(clients);
        let said = server.stderr_so_far();
        assert!(!said.iter().any(|line| line.contains("panic")), "{said:?}");
    });
}

#[test]
fn no_datagram_is_answered_with_more_bytes_than_it_has_unless_documented() {
    for_each("amplification", A_MOMENT, true, |name, mut server| {
        let lengths = [0, 1, 8, 16, 47, 48, 49, 68, 1000, 8192, 65_507];
        let datagrams = lengths.into_iter().flat_map(|length| {
            // Garbage, a request of SNTP (RFC 4330: version 4, a client), a line of text.
            let (mut sntp, mut line) = (vec![0; length], vec![b'a'; length]);
            sntp.splice(..length.min(1), [0x23].into_iter().take(length));
            line.splice(length.saturating_sub(1).., [b'\n'].into_iter().take(length));
            [garbage(length), sntp, line]
        });
        let clients: Vec<(usize, UdpSocket)> = datagrams
            .map(|datagram| (datagram.len(), send_from_new_socket(&server, &datagram)))
            .collect();
        let bound = documented_bound(name);
        // The server receives datagrams in order: when the last one is answered, it has received
        // all. Only a service with a documented bound must answer the last one, a line of text.
        let patience = if bound > 0 {
            PATIENCE
        } else {
            NO_ANSWER_TIMEOUT
        };
        let (_, last) = &clients[clients.len() - 1];
        last.set_read_timeout(Some(patience)).unwrap();
        let _ = last.peek(&mut [0; 65536]);
        server.signal("TERM");
        assert_eq!(server.wait().0, Some(0), "{name}");
        let mut is_reached = bound == 0;
        for (length, client) in &clients {
            let answers = answers(client);
            let sum: usize = answers.iter().sum();
            assert!(sum <= bound.max(*length), "{name}: {answers:?} to {length}");
            is_reached |= sum > *length;
        }
        assert!(
            is_reached,
            "{name}: SECURITY.md documents an exception that is not needed"
        );
    });
}

#[test]
fn silent_senders_of_datagrams_hold_no_thread_and_no_shutdown() {
    for_each("silent-datagrams", AN_HOUR, true, |name, mut server| {
        let clients: Vec<_> = (0..50)
            .map(|_| send_from_new_socket(&server, b"G"))
            .collect();
        assert!(
            server.threads() < 20,
            "{name}: {} threads",
            server.threads()
        );
        server.signal("TERM");
        assert_eq!(server.wait().0, Some(0), "{name}");
        drop(clients);
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
            .start();
        drop(client.stdout());
        client.stdin().write_all(b"hello\n").unwrap();
        let output = client.finish();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), &*said),
            (Some(0), ""),
            "{service} {options:?}"
        );
    }
}
