//! Random messages and restarts under load: no hang, no leak, no lost byte.
//!
//! `make test` runs a short round. `make stress` runs 100,000 messages for each transport and 100
//! restarts of each concurrency model; `STRESS_SEED` repeats a round.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, Synchronous, ThreadPerRequest,
    ThreadingMixIn,
};

use crate::subjects::Obedient;
use crate::support::{Client, Running, alone, descriptors, eventually, threads};
use crate::tls::{encrypt, serve};

const CLIENTS: u64 = 8;
const MAX_LENGTH: u64 = 40_000;

/// The number of rounds: `usual` in a test run, `full` under `make stress`.
fn rounds(usual: u64, full: u64) -> u64 {
    match std::env::var_os("STRESS") {
        Some(_) => full,
        None => usual,
    }
}

/// A xorshift generator: a failing round can be repeated by its seed.
struct Random(u64);

impl Random {
    fn new(stream: u64) -> Random {
        let seed = std::env::var("STRESS_SEED").ok();
        let seed: u64 = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
        Random((seed << 8 | stream).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    /// A frame of 4 bytes of length and the payload; most are short.
    fn frame(&mut self) -> Vec<u8> {
        let longest = [10, 300, 3000, MAX_LENGTH][self.below(4) as usize];
        let length = self.below(longest) as u32;
        let mut frame = length.to_le_bytes().to_vec();
        let first = self.below(256) as u8;
        frame.extend((0..length).map(|at| first.wrapping_add(at as u8)));
        frame
    }
}

/// Sends every frame back once it is complete.
#[derive(Clone, Copy)]
struct Frames;

impl StreamRequestHandler for Frames {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        loop {
            let come = request.rfile.buffer();
            let Some(length) = come.first_chunk().map(|&length| u32::from_le_bytes(length)) else {
                break;
            };
            let whole = length as usize + 4;
            if come.len() < whole {
                break;
            }
            request.wfile.write_all(&come[..whole])?;
            std::io::BufRead::consume(&mut request.rfile, whole);
        }
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

/// Sends `count` frames over connections that `connect` makes, in pieces, several at a time, and
/// compares what comes back. `end` ends the client's side.
fn exchange<S: Read + Write>(
    stream: u64,
    count: u64,
    connect: impl Fn() -> S,
    end: impl Fn(&mut S),
) {
    let mut random = Random::new(stream);
    let mut left = count;
    while left > 0 {
        let mut connection = connect();
        for _ in 0..random.below(20) + 1 {
            let batch = (random.below(4) + 1).min(left);
            let bytes: Vec<u8> = (0..batch).flat_map(|_| random.frame()).collect();
            let mut sent = 0;
            while sent < bytes.len() {
                let piece = (random.below(20_000) as usize + 1).min(bytes.len() - sent);
                connection.write_all(&bytes[sent..sent + piece]).unwrap();
                connection.flush().unwrap();
                sent += piece;
                if random.below(8) == 0 {
                    std::thread::sleep(Duration::from_micros(random.below(300)));
                }
            }
            left -= batch;
            if left == 0 || random.below(10) == 0 {
                end(&mut connection);
                let mut back = Vec::new();
                connection.read_to_end(&mut back).unwrap();
                assert!(back == bytes, "stream {stream}: the last answer differs");
                break;
            }
            let mut back = vec![0; bytes.len()];
            connection.read_exact(&mut back).unwrap();
            assert!(back == bytes, "stream {stream}: an answer differs");
        }
    }
}

#[test]
fn random_messages_come_back_whole_in_every_concurrency_model() {
    let each = rounds(2_000, 100_000) / CLIENTS;
    for settings in [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
    ] {
        let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Frames).unwrap());
        std::thread::scope(|scope| {
            for stream in 0..CLIENTS {
                let address = server.address().clone();
                let connect = move || Client::connect(&address).socket;
                scope.spawn(move || {
                    exchange(stream, each, connect, |socket| {
                        socket.shutdown(Shutdown::Write).unwrap();
                    });
                });
            }
        });
        eventually("all are closed", || server.stats().open == 0);
        let stats = server.stop();
        assert_eq!(
            (stats.failed, stats.panics, stats.timeouts_total()),
            (0, 0, 0)
        );
    }
}

#[test]
fn random_messages_come_back_whole_over_tls() {
    let each = rounds(1_000, 100_000) / CLIENTS;
    let (server, certificate) = serve(Builder::new(), Frames);
    std::thread::scope(|scope| {
        for stream in 0..CLIENTS {
            let (address, certificate) = (server.address().clone(), certificate.clone());
            let connect = move || {
                let socket = Client::connect(&address).socket;
                encrypt(socket, &certificate, &[]).unwrap()
            };
            scope.spawn(move || {
                exchange(stream, each, connect, |client| {
                    client.conn.send_close_notify();
                    client.flush().unwrap();
                    client.sock.shutdown(Shutdown::Write).unwrap();
                });
            });
        }
    });
    eventually("all are closed", || server.stats().open == 0);
    let stats = server.stop();
    assert_eq!(
        (stats.failed, stats.panics, stats.timeouts_total()),
        (0, 0, 0)
    );
}

/// Sends lines and reads them back until the server ends. An answer that ends in the middle fails.
fn talk_until_the_end(mut client: Client, answered: &AtomicU64) {
    let mut back = [0; 6];
    while client.socket.write_all(b"hello\n").is_ok() {
        let mut come = 0;
        while come < back.len() {
            match client.socket.read(&mut back[come..]) {
                Ok(0) | Err(_) if come == 0 => return,
                Ok(count) if count > 0 => come += count,
                other => panic!("{other:?} after {come} bytes of an answer"),
            }
        }
        assert_eq!(&back, b"hello\n");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn restart_under_load(settings: impl Fn() -> Builder, clients: usize) {
    let mut random = Random::new(99);
    let answered = AtomicU64::new(0);
    for _ in 0..rounds(8, 100) {
        let settings = settings().grace(Duration::from_secs(10));
        let mut server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..clients {
                let (client, answered) = (server.connect(), &answered);
                scope.spawn(move || talk_until_the_end(client, answered));
            }
            std::thread::sleep(Duration::from_millis(random.below(20)));
            server.handle.shutdown();
            server.join();
        });
        assert_eq!((server.stats().open, server.stats().aborted), (0, 0));
    }
    assert!(answered.load(Ordering::Relaxed) > 0);
}

#[test]
fn restarts_under_load_lose_and_leak_nothing() {
    alone(|| {
        let before = (descriptors(), threads());
        restart_under_load(|| Builder::new().process(ThreadingMixIn::new()), 16);
        restart_under_load(|| Builder::new().process(ThreadPerRequest::new()), 16);
        restart_under_load(|| Builder::new().process(Synchronous), 1);
        eventually("nothing is left", || (descriptors(), threads()) == before);
    });
}
