//! The end of a connection: no reset destroys what the server has written.

use std::io::{BufRead, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use socketserver::{
    Builder, ClientAddress, Error, Next, Refusal, Result, ServerHooks, StreamRequest, Synchronous,
    ThreadPerRequest, ThreadingMixIn,
};

use crate::support::{Client, Gate, Running, TestDir, eventually};

const ROUNDS: usize = 10;
const LONG_ANSWER: usize = 4 << 20;

/// Every concurrency model that runs in a process with threads.
fn models() -> [Builder; 3] {
    [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ]
}

/// Reads to the end; a reset fails the test.
#[track_caller]
fn read_to_clean_end(client: &mut Client) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = client.socket.read_to_end(&mut bytes) {
        panic!("{error} after {} bytes", bytes.len());
    }
    bytes
}

/// Answers and closes.
fn answer(length: usize) -> impl Fn(&ClientAddress) -> AnswerOnce + Send + Sync + 'static {
    move |_: &ClientAddress| AnswerOnce(length, None)
}

/// Works until the gate is opened, without reading, then answers and closes.
fn answer_late(
    length: usize,
    gate: &Gate,
) -> impl Fn(&ClientAddress) -> AnswerOnce + Send + Sync + 'static {
    let gate = gate.clone();
    move |_: &ClientAddress| AnswerOnce(length, Some(gate.clone()))
}

struct AnswerOnce(usize, Option<Gate>);

impl socketserver::StreamRequestHandler for AnswerOnce {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.rfile.take_all();
        self.1.iter().for_each(Gate::pass);
        let bytes: Arc<[u8]> = vec![b'a'; self.0].into();
        request.wfile.send_shared(bytes, 0..self.0)?;
        Ok(Next::Close)
    }
}

#[test]
fn an_answer_survives_what_the_client_sends_while_it_is_made() {
    for settings in models() {
        let gate = Gate::default();
        let class = answer_late(LONG_ANSWER, &gate);
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        for round in 1..=ROUNDS {
            let mut client = server.connect();
            client.say(b"question");
            gate.wait_entered(round);
            client.say(&[b'm'; 1000]);
            gate.open(1);
            assert_eq!(read_to_clean_end(&mut client).len(), LONG_ANSWER);
        }
    }
}

#[test]
fn an_answer_over_a_unix_socket_survives_it_too() {
    for settings in models() {
        let dir = TestDir::new();
        let gate = Gate::default();
        let class = answer_late(100_000, &gate);
        let server = settings.unix_stream(dir.join("socket"), class);
        let server = Running::start(server.unwrap());
        for round in 1..=ROUNDS {
            let mut client = server.connect();
            client.say(b"question");
            gate.wait_entered(round);
            client.say(&[b'm'; 1000]);
            gate.open(1);
            assert_eq!(read_to_clean_end(&mut client).len(), 100_000);
        }
    }
}

#[test]
fn a_request_that_comes_while_an_answer_is_streamed_truncates_nothing() {
    const PIECE: usize = 1000;
    const PIECES: usize = 21;
    let class = |_: &_| {
        let mut sent = 0;
        move |request: &mut StreamRequest| {
            if sent == 0 {
                request.rfile.consume(b"first".len());
            }
            sent += 1;
            std::thread::sleep(Duration::from_micros(50));
            request.wfile.write_all(&[b'a'; PIECE])?;
            if sent < PIECES {
                return Ok(Next::Again);
            }
            request.wfile.close_follows();
            Ok(Next::Close)
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    for _ in 0..10 * ROUNDS {
        let mut client = server.connect();
        client.say(b"first");
        std::thread::sleep(Duration::from_micros(500));
        client.say(&[b's'; 2000]);
        assert_eq!(read_to_clean_end(&mut client).len(), PIECE * PIECES);
    }
}

#[test]
fn the_words_of_an_error_a_panic_and_a_deadline_arrive() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            let fails = request.rfile.buffer().starts_with(b"e");
            request.rfile.consume(1);
            request.wfile.write_all(b"last words")?;
            // What the client sent behind the first byte stays unread.
            assert!(fails, "told to panic");
            Err(Error::Protocol("told to fail".to_owned()))
        }
    };
    for settings in models() {
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        for first in *b"ep" {
            let mut client = server.connect();
            client.say(&[&[first], &[b'x'; 50_000][..]].concat());
            assert_eq!(read_to_clean_end(&mut client), b"last words");
        }
    }
    let late = Builder::new().head_timeout(Some(Duration::from_millis(30)));
    let server = Running::start(late.tcp("127.0.0.1:0", |_: &_| LastWords).unwrap());
    let mut client = server.connect();
    client.say(b"half a message");
    assert_eq!(read_to_clean_end(&mut client), b"too late");
}

struct LastWords;

impl socketserver::StreamRequestHandler for LastWords {
    fn handle(&mut self, _: &mut StreamRequest) -> Result<Next> {
        Ok(Next::Wait)
    }

    fn on_timeout(&mut self, request: &mut StreamRequest, _: socketserver::Timeout) {
        request.wfile.write_all(b"too late").unwrap();
    }
}

struct Busy;

impl ServerHooks for Busy {
    fn handle_refusal(&self, _: &ClientAddress, _: Refusal) -> Option<&[u8]> {
        Some(b"busy\n")
    }
}

#[test]
fn the_words_of_a_refusal_arrive_although_the_client_has_sent_a_request() {
    for settings in [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
    ] {
        let settings = settings.max_connections(1).hooks(Busy);
        let server = Running::start(settings.tcp("127.0.0.1:0", answer(1)).unwrap());
        let _only = server.connect();
        eventually("it is open", || server.stats().open == 1);
        for _ in 0..ROUNDS {
            let mut client = server.connect();
            let _ = client.socket.write_all(&[b'r'; 3000]);
            assert_eq!(read_to_clean_end(&mut client), b"busy\n");
        }
    }
}

#[test]
fn an_answer_that_is_on_its_way_at_the_shutdown_arrives() {
    for settings in models() {
        let mut server = Running::start(settings.tcp("127.0.0.1:0", answer(LONG_ANSWER)).unwrap());
        let mut client = server.connect();
        client.say(b"question");
        let mut first = [0; 1];
        client.socket.read_exact(&mut first).unwrap();
        client.say(b"more");
        server.handle.shutdown();
        assert_eq!(read_to_clean_end(&mut client).len(), LONG_ANSWER - 1);
        server.join();
    }
}

#[test]
fn a_client_that_reads_slowly_is_waited_for_after_the_close() {
    let linger = Duration::from_millis(50);
    let mut timeouts = socketserver::Timeouts::default();
    timeouts.linger = Some(linger);
    let settings = Builder::new().timeouts(timeouts);
    let server = Running::start(settings.tcp("127.0.0.1:0", answer(1 << 20)).unwrap());
    let mut client = server.connect();
    client.say(b"question").hear(b"a");
    let _ = client.socket.write_all(b"more");
    // Longer than the linger time: the answer is still in the server's send buffer.
    std::thread::sleep(8 * linger);
    assert_eq!(read_to_clean_end(&mut client).len(), (1 << 20) - 1);
}

#[test]
fn a_client_that_never_closes_holds_its_place_for_the_linger_time_only() {
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", answer(10)).unwrap());
    let mut client = server.connect();
    client.say(b"question").hear(b"aaaaaaaaaa");
    eventually("its place is free", || server.stats().open == 0);
    client.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_clean_end(&mut client), b"");
}
