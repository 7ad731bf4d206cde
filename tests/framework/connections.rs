//! Many connections, few threads: parking, waking, and taking turns.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use socketserver::testing::TestConnection;
use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, Synchronous, ThreadPerRequest,
    ThreadingMixIn,
};

use crate::subjects::Obedient;
use crate::support::{Client, Running, alone, eventually, threads};

/// Takes one line in each call, although more may be there.
#[derive(Clone, Copy)]
struct OneLineEach;

impl StreamRequestHandler for OneLineEach {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if let Some(line) = request.rfile.take_line(80)? {
            request.wfile.write_all(line)?;
        }
        Ok(Next::Wait)
    }
}

fn pool(threads: usize) -> Builder {
    Builder::new().process(ThreadingMixIn::new().threads(threads).max_threads(threads))
}

#[test]
fn a_thousand_idle_connections_hold_no_thread_and_are_served_when_bytes_come() {
    alone(|| {
        let server = Running::start(pool(2).tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
        server.connect().say(b"warm\n").hear(b"warm\n");
        let before = threads();
        let mut clients: Vec<Client> = (0..1000).map(|_| server.connect()).collect();
        eventually("all are parked before their first byte", || {
            server.stats().parked == 1000
        });
        for client in &mut clients {
            client.say(b"hello\n");
        }
        for client in &mut clients {
            client.hear(b"hello\n");
        }
        eventually("all are parked again", || server.stats().parked == 1000);
        assert_eq!(threads(), before);
        assert_eq!(server.stats().threads, 2);
        for client in clients.iter_mut().rev().step_by(7) {
            client
                .say(b"in another order\n")
                .hear(b"in another order\n");
        }
        clients.truncate(10);
        eventually("those that have gone are forgotten", || {
            server.stats().open == 10
        });
    });
}

#[test]
fn no_wake_up_is_lost_wherever_two_messages_are_cut() {
    let both = b"hello\nworld\n";
    for settings in [
        pool(2),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ] {
        let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| OneLineEach).unwrap());
        for cut in 0..=both.len() {
            let (first, second) = both.split_at(cut);
            let mut hasty = server.connect();
            hasty.say(first).say(second).hear(both);
            drop(hasty);
            let mut slow = server.connect();
            let handled = server.stats().handled;
            slow.say(first);
            eventually("the first part was handled", || {
                cut == 0 || server.stats().handled > handled
            });
            slow.say(second).hear(both);
        }
    }
}

#[test]
fn messages_that_come_byte_by_byte_or_glued_are_handled_alike() {
    let text: Vec<u8> = (0..100)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    let mut glued = TestConnection::new(Builder::new(), |_: &_| OneLineEach);
    assert_eq!(glued.send(&text).received(), text);
    let mut bytewise = TestConnection::new(Builder::new(), |_: &_| OneLineEach);
    assert_eq!(bytewise.send_bytewise(&text).received(), text);
    let server = Running::start(pool(1).tcp("127.0.0.1:0", |_: &_| OneLineEach).unwrap());
    server.connect().say(&text).hear(&text);
    let mut client = server.connect();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        client.say(line).hear(line);
    }
}

#[test]
fn what_comes_together_with_the_end_is_served() {
    for settings in [pool(1), Builder::new().process(ThreadPerRequest::new())] {
        let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
        for _ in 0..50 {
            let mut client = server.connect();
            client.say(b"last\nwords");
            client.socket.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(client.hear_end(), b"last\nwords");
        }
    }
}

#[test]
fn an_event_that_comes_while_the_handler_runs_is_not_lost() {
    let server = Running::start(pool(3).tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
    std::thread::scope(|scope| {
        for client in 0..4 {
            let mut connection = server.connect();
            scope.spawn(move || {
                for round in 0..500 {
                    // Two segments: the second often comes while the first is handled.
                    let (first, second) = (format!("client {client} "), format!("round {round}\n"));
                    connection
                        .say(first.as_bytes())
                        .say(second.as_bytes())
                        .hear((first + &second).as_bytes());
                }
            });
        }
    });
    assert_eq!(server.stats().failed, 0);
}

#[test]
fn a_client_that_never_pauses_does_not_starve_the_others() {
    let server = Running::start(pool(1).tcp("127.0.0.1:0", |_: &_| OneLineEach).unwrap());
    let greedy = server.connect();
    let (stop, echoed) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lines = b"more\n".repeat(10_000);
            let mut sent = Ok(());
            while sent.is_ok() && !stop.load(Ordering::SeqCst) {
                sent = (&greedy.socket).write_all(&lines);
            }
        });
        scope.spawn(|| {
            greedy
                .socket
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            let mut buffer = [0; 65_536];
            loop {
                match (&greedy.socket).read(&mut buffer) {
                    Ok(count) if count > 0 => drop(echoed.fetch_add(count, Ordering::SeqCst)),
                    Err(error)
                        if error.kind() == ErrorKind::WouldBlock
                            && !stop.load(Ordering::SeqCst) => {}
                    _ => return,
                }
            }
        });
        for _ in 0..10 {
            let before = echoed.load(Ordering::SeqCst);
            eventually("the greedy client is served", || {
                echoed.load(Ordering::SeqCst) > before
            });
            server.connect().say(b"me too\n").hear(b"me too\n");
        }
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn the_last_words_come_whole_with_the_end_behind_them() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            let words: Arc<[u8]> = match request.rfile.take_all() {
                b"short" => (*b"bye").into(),
                _ => vec![b'x'; 3 << 20].into(),
            };
            let range = 0..words.len();
            request.wfile.write_all(b"> ")?;
            request.wfile.send_shared(words, range)?;
            request.wfile.close_follows();
            Ok(Next::Close)
        }
    };
    let server = Running::start(pool(1).tcp("127.0.0.1:0", class).unwrap());
    for (word, length) in [("short", 5), ("long", 2 + (3 << 20))] {
        let mut client = server.connect();
        let mut heard = Vec::new();
        client
            .say(word.as_bytes())
            .socket
            .read_to_end(&mut heard)
            .unwrap();
        assert_eq!((&heard[..2], heard.len()), (&b"> "[..], length));
    }
}
