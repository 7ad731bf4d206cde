//! Restarts of the binary under load, in every concurrency model: no hang, no lost byte, a clean
//! exit. `STRESS=1` runs 100 of each (`make stress`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::TestServer;

/// Sends and reads back until the server ends. An answer that ends in the middle fails.
fn talk_until_the_end(mut stream: TcpStream, answered: &AtomicU64) {
    let mut back = [0; 6];
    while stream.write_all(b"hello\n").is_ok() {
        let mut come = 0;
        while come < back.len() {
            match stream.read(&mut back[come..]) {
                Ok(0) | Err(_) if come == 0 => return,
                Ok(count) if count > 0 => come += count,
                other => panic!("{other:?} after {come} bytes of an answer"),
            }
        }
        assert_eq!(&back, b"HELLO\n");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn restarts_under_load_lose_nothing_and_exit_cleanly() {
    let rounds = if std::env::var_os("STRESS").is_some() {
        100
    } else {
        4
    };
    for (model, clients) in [
        ("pool", 16),
        ("threads", 16),
        ("processes", 16),
        ("sequential", 1),
    ] {
        let answered = AtomicU64::new(0);
        for round in 0..rounds {
            let mut server = TestServer::start(&["echo", "--upper", "--model", model]);
            std::thread::scope(|scope| {
                for _ in 0..clients {
                    let stream = server.connect();
                    let answered = &answered;
                    scope.spawn(move || talk_until_the_end(stream, answered));
                }
                std::thread::sleep(Duration::from_millis(round % 20));
                server.signal("TERM");
            });
            let (code, _) = server.wait();
            assert_eq!(code, Some(0), "{model}, round {round}");
        }
        assert!(answered.load(Ordering::Relaxed) > 0, "{model}");
    }
}
