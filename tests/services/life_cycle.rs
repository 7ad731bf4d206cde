//! Signals, drains and reloads of the process.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::{TestDir, TestServer, wait_until};

const HALF_A_HEAD: &[u8] = b"GET / HTTP/1.1\r\nHo";

#[test]
fn with_nothing_in_flight_the_process_is_gone_in_under_100_ms() {
    let dir = TestDir::new("gone");
    for (signal, model) in [
        ("INT", "pool"),
        ("TERM", "pool"),
        ("TERM", "threads"),
        ("TERM", "sequential"),
        ("INT", "processes"),
    ] {
        // A busy machine may take a process's turn away for longer than that. Where a whole start
        // takes longer, the machine is slow, and an end may take as long as a start.
        wait_until(&format!("{model}: gone in under 100 ms"), || {
            let begun = Instant::now();
            let mut server = TestServer::start(&["http", dir.as_str(), "--model", model]);
            let start = begun.elapsed();
            assert!(
                server
                    .exchange(b"GET / HTTP/1.0\r\n\r\n")
                    .starts_with(b"HTTP/1.1 200"),
                "{model}"
            );
            server.signal(signal);
            let (code, took) = server.wait();
            assert_eq!(code, Some(0), "{model}");
            took < Duration::from_millis(100).max(start)
        });
    }
}

#[test]
fn what_is_in_flight_at_the_end_of_the_grace_is_aborted_and_logged() {
    let dir = TestDir::new("aborted");
    for model in ["pool", "threads", "processes"] {
        let arguments = ["http", dir.as_str(), "--grace", "300ms", "--model", model];
        let mut server = TestServer::start(&arguments);
        let mut slow = server.connect();
        slow.write_all(HALF_A_HEAD).unwrap();
        // Another request after it has been answered: the first bytes have been seen by then.
        server.exchange(b"GET / HTTP/1.0\r\n\r\n");
        server.signal("TERM");
        server.wait_for_log("waiting for");
        server.wait_for_log("aborting");
        let (code, _) = server.wait();
        assert_eq!(code, Some(1), "{model}");
    }
}

#[test]
fn many_requests_in_flight_are_logged_as_a_number() {
    let dir = TestDir::new("many-aborted");
    let mut server = TestServer::start(&["http", dir.as_str(), "--grace", "100ms"]);
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let mut connection = server.connect();
            connection.write_all(HALF_A_HEAD).unwrap();
            connection
        })
        .collect();
    server.exchange(b"GET / HTTP/1.0\r\n\r\n");
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(1));
    let lines = server.stderr_so_far();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    for what in ["waiting for", "aborting"] {
        assert_eq!(count(what), 21, "{lines:#?}");
    }
    assert_eq!(count(" more"), 2, "{lines:#?}");
    drop(slow);
}

#[test]
fn a_request_in_flight_may_end_within_the_grace() {
    let dir = TestDir::new("grace");
    dir.write("index.html", "<p>hello");
    let mut server = TestServer::start(&["http", dir.as_str()]);
    let mut slow = server.connect();
    slow.write_all(HALF_A_HEAD).unwrap();
    server.exchange(b"GET / HTTP/1.0\r\n\r\n");
    server.signal("TERM");
    server.wait_for_log("waiting for");
    slow.write_all(b"st: h\r\n\r\n").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200")
            && answer.contains("Connection: close")
            && answer.ends_with("<p>hello"),
        "{answer}"
    );
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn a_second_signal_half_a_second_later_is_130_at_once() {
    let dir = TestDir::new("second");
    let mut server = TestServer::start(&["http", dir.as_str(), "--grace", "1h"]);
    let mut slow = server.connect();
    slow.write_all(HALF_A_HEAD).unwrap();
    server.exchange(b"GET / HTTP/1.0\r\n\r\n");
    server.signal("INT");
    server.wait_for_log("waiting for");
    assert_eq!(server.force_end("INT"), Some(130));
}

#[test]
fn a_download_that_nobody_reads_is_cut_after_the_grace() {
    let dir = TestDir::new("download");
    dir.write("large", vec![7; 32 << 20]);
    let threads = ["--threads", "1", "--max-threads", "1"];
    let arguments = [&["http", dir.as_str(), "--grace", "200ms"][..], &threads].concat();
    let mut server = TestServer::start(&arguments);
    let mut reader = server.connect();
    reader
        .write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    reader.read_exact(&mut [0; 1000]).unwrap();
    // A slow download holds no thread, not even the only one.
    let answer = server.exchange(b"HEAD / HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(1));
}

#[test]
fn sighup_reopens_the_logs_and_keeps_serving() {
    let dir = TestDir::new("hup");
    let (log, moved) = (dir.join("access.log"), dir.join("access.log.1"));
    let server = TestServer::start(&["http", dir.as_str(), "--access-log", log.to_str().unwrap()]);
    server.exchange(b"GET /before HTTP/1.0\r\n\r\n");
    std::fs::rename(&log, &moved).unwrap();
    server.signal("HUP");
    server.wait_for_log("reloaded");
    server.exchange(b"GET /after HTTP/1.0\r\nUser-Agent: a\"b\r\n\r\n");
    let mut server = server;
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    let (old, new) = (
        std::fs::read_to_string(&moved).unwrap(),
        std::fs::read_to_string(&log).unwrap(),
    );
    assert!(old.contains("\"GET /before HTTP/1.0\" 404"), "{old}");
    assert!(
        new.contains("\"GET /after HTTP/1.0\" 404")
            && new.contains("a\\x22b")
            && !new.contains("before"),
        "{new}"
    );
}

#[test]
fn a_bad_file_keeps_the_old_state_on_sighup() {
    let dir = TestDir::new("hup-bad");
    dir.write("deny", "192.0.2.0/24\n");
    let list = format!("@{}", dir.join("deny").display());
    let server = TestServer::start(&["http", dir.as_str(), "--deny", &list]);
    dir.write("deny", "nonsense\n");
    server.signal("HUP");
    let line = server.wait_for_log("nothing is reloaded");
    assert!(line.contains("line 1"), "{line}");
    assert!(
        server
            .exchange(b"GET / HTTP/1.0\r\n\r\n")
            .starts_with(b"HTTP/1.1 200")
    );
    dir.write("deny", "127.0.0.0/8\n");
    server.signal("HUP");
    server.wait_for_log("reloaded");
    assert_eq!(server.exchange(b"GET / HTTP/1.0\r\n\r\n"), b"");
}

#[test]
fn accepting_recovers_when_descriptors_run_out() {
    let dir = TestDir::new("emfile");
    let binary = env!("CARGO_BIN_EXE_socketserver");
    // Through a shell, which sets the hard limit too.
    let mut server = TestServer::start_with(&["http", dir.as_str()], 1, |command| {
        let arguments: Vec<_> = command.get_args().map(|a| a.to_os_string()).collect();
        *command = std::process::Command::new("sh");
        command
            .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", binary])
            .args(arguments)
    });
    let connections: Vec<_> = (0..100).map(|_| server.connect()).collect();
    server.wait_for_log("trying again");
    drop(connections);
    assert!(
        server
            .exchange(b"GET / HTTP/1.0\r\n\r\n")
            .starts_with(b"HTTP/1.1 200")
    );
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
}

/// An echo server with `count` clients, of whom as many are served as the options allow; then
/// SIGTERM. The exit code of a server that has not waited for the end of its grace time.
fn end_with_idle_clients(options: &[&str], count: usize) -> Option<i32> {
    let mut server = TestServer::start(&[&["echo", "--grace", "1h"], options].concat());
    let mut clients: Vec<_> = (0..count).map(|_| server.connect()).collect();
    clients[0].write_all(b"x").unwrap();
    clients[0].read_exact(&mut [0]).unwrap();
    server.signal("TERM");
    server.wait().0
}

#[test]
fn idle_clients_hold_up_no_shutdown_whatever_the_way_to_process() {
    for (options, count) in [
        (&["--model", "sequential"][..], 1),
        (&["--model", "sequential"], 3),
        (&["--model", "threads"], 3),
        (&["--model", "threads", "--max-threads", "1"], 3),
        (&["--model", "processes"], 3),
        (&["--model", "processes", "--max-threads", "1"], 3),
    ] {
        assert_eq!(
            end_with_idle_clients(options, count),
            Some(0),
            "{options:?}"
        );
    }
}

#[test]
fn a_sighup_changes_all_or_nothing() {
    let dir = TestDir::new("hup-nothing");
    dir.write("deny", "192.0.2.0/24\n");
    dir.write("logs/access", "");
    let (list, log) = (
        format!("@{}", dir.join("deny").display()),
        dir.join("logs/access"),
    );
    let server = TestServer::start(&[
        "http",
        dir.as_str(),
        "--deny",
        &list,
        "--access-log",
        log.to_str().unwrap(),
    ]);
    dir.write("deny", "127.0.0.0/8\n");
    std::fs::remove_dir_all(dir.join("logs")).unwrap();
    server.signal("HUP");
    let line = server.wait_for_log("nothing is reloaded");
    assert!(line.contains(log.to_str().unwrap()), "{line}");
    assert!(
        server
            .exchange(b"GET / HTTP/1.0\r\n\r\n")
            .starts_with(b"HTTP/1.1 200")
    );
}

#[test]
fn datagram_services_listen_at_several_addresses() {
    let arguments = [
        "echo",
        "--udp",
        "--bind",
        "127.0.0.1:0",
        "--bind",
        "127.0.0.2:0",
    ];
    let server = TestServer::start_with(&arguments, 2, |command| command);
    for line in &server.ready {
        let address = line.split("udp://").nth(1).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        socket.connect(address).unwrap();
        socket.send(b"hello").unwrap();
        assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 5, "{address}");
    }
}

#[test]
fn files_are_found_again_when_descriptors_are_short() {
    let dir = TestDir::new("short");
    dir.write("index.html", "<p>hello");
    let binary = env!("CARGO_BIN_EXE_socketserver");
    let server = TestServer::start_with(&["http", dir.as_str()], 1, |command| {
        let arguments: Vec<_> = command.get_args().map(|a| a.to_os_string()).collect();
        *command = std::process::Command::new("sh");
        command
            .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", binary])
            .args(arguments)
    });
    let mut first = server.connect();
    let mut status = || {
        first
            .write_all(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
        let mut answer = [0; 4096];
        let count = first.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[9..12.min(count)]).into_owned()
    };
    assert_eq!(status(), "200");
    let _silent: Vec<_> = (0..80).map(|_| server.connect()).collect();
    server.wait_for_log("trying again");
    // Longer than the cache trusts what it knows.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(status(), "200");
    assert_eq!(status(), "200");
}

#[test]
fn after_a_signal_the_port_refuses_at_once_though_a_request_is_in_flight() {
    let dir = TestDir::new("refuses");
    for model in ["pool", "threads", "processes"] {
        let arguments = ["http", dir.as_str(), "--grace", "1h", "--model", model];
        let server = TestServer::start(&arguments);
        let mut slow = server.connect();
        slow.write_all(HALF_A_HEAD).unwrap();
        // Another request after it has been answered: the first bytes have been seen by then.
        server.exchange(b"GET / HTTP/1.0\r\n\r\n");
        server.signal("TERM");
        server.wait_for_log("waiting for");
        wait_until(&format!("{model}: the port refuses"), || {
            std::net::TcpStream::connect(server.address()).is_err()
        });
        slow.write_all(b"st: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{model}: {answer}");
    }
}
