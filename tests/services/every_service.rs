//! What every service of the list must stand.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{PATIENCE, TestDir, TestServer, run};

/// Each service of the list, started on a folder of its own.
fn for_each(test: &str, check: impl Fn(&str, TestServer)) {
    let names = run(&["services"]).1;
    for name in names.lines() {
        let dir = TestDir::new(&format!("{test}-{name}"));
        check(name, TestServer::start(&[name, dir.as_str()]));
    }
}

fn assert_alive(name: &str, server: &TestServer) {
    drop(server.connect());
    assert!(server.threads() > 0, "{name}");
}

#[test]
fn garbage_ends_a_connection_and_nothing_else() {
    for_each("garbage", |name, server| {
        let mut state = 1u32;
        let garbage: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(64 * 1024)
        .collect();
        server.exchange(&garbage);
        assert_alive(name, &server);
    });
}

#[test]
fn half_a_line_and_silence_hold_no_thread_and_no_shutdown() {
    for_each("silence", |name, mut server| {
        let before = server.threads();
        let connections: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
        for mut connection in &connections[..25] {
            connection.write_all(b"G").unwrap();
        }
        assert_alive(name, &server);
        assert!(server.threads() <= before, "{name}: {} threads, then {}", before, server.threads());
        server.signal("TERM");
        let (code, _) = server.wait();
        // Half a message is in flight: the grace time is theirs.
        assert!(code == Some(0) || code == Some(1), "{name}: {code:?}");
    });
}

#[test]
fn a_shutdown_closes_idle_connections_at_once() {
    for_each("shutdown", |name, mut server| {
        let mut idle = server.connect();
        assert_alive(name, &server);
        server.signal("INT");
        let (code, took) = server.wait();
        assert_eq!(code, Some(0), "{name}");
        assert!(took < PATIENCE / 10, "{name}: {took:?}");
        assert!(matches!(idle.read(&mut [0]), Ok(0) | Err(_)), "{name}");
    });
}
