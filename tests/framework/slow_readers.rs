//! Large answers to clients that are slow to take them: no thread and no memory is held.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

use socketserver::{Builder, Next, StreamRequest, ThreadingMixIn};

use crate::support::{Client, Running, TestDir, alone, eventually};

const SIZE: u64 = 32 << 20;
/// What this process may need more while eight clients wait for 32 MiB each.
const LITTLE: u64 = 8 << 20;

fn pool_of_one() -> Builder {
    Builder::new()
        .process(ThreadingMixIn::new().threads(1).max_threads(1))
        .min_rate(0)
}

/// The memory that this process has in use, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes << 10
}

/// Reads just `count` bytes, and checks that each is what `expected` says of its place.
#[track_caller]
fn assert_answer(client: &mut Client, count: u64, expected: impl Fn(u64) -> u8) {
    let mut buffer = vec![0; 1 << 20];
    let mut place = 0;
    while place < count {
        let wanted = buffer.len().min((count - place) as usize);
        let read = client.socket.read(&mut buffer[..wanted]).unwrap();
        assert!(read > 0, "the end comes after {place} bytes");
        assert!(
            buffer[..read]
                .iter()
                .zip(place..)
                .all(|(byte, place)| *byte == expected(place))
        );
        place += read as u64;
    }
}

/// Eight clients ask for the large answer and don't take it: the one thread serves others, and
/// memory stays as it is.
fn assert_nothing_is_held(server: &Running, expected: impl Fn(u64) -> u8) {
    server.connect().say(b"hello").hear(b"hello");
    let before = memory();
    let mut slow: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for client in &mut slow {
        client.say(b"give").hear(&[expected(0)]);
    }
    eventually("all are parked within their answers", || {
        server.handle.in_flight().len() == 8
    });
    server.connect().say(b"hello").hear(b"hello");
    let more = memory().saturating_sub(before);
    assert!(more < LITTLE, "{more} bytes more for eight slow readers");
    assert_eq!(server.stats().threads, 1);
    assert_answer(&mut slow[3], SIZE - 1, |place| expected(place + 1));
    slow[3].say(b"hello").hear(b"hello");
}

#[test]
fn a_file_waits_for_slow_readers_without_thread_or_memory() {
    alone(|| {
        let dir = TestDir::new();
        let mut file = File::create_new(dir.join("large")).unwrap();
        file.write_all(b"F").unwrap();
        file.set_len(SIZE).unwrap();
        let file = Arc::new(File::open(dir.join("large")).unwrap());
        let class = move |_: &_| {
            let file = Arc::clone(&file);
            move |request: &mut StreamRequest| {
                match request.rfile.take_all() {
                    b"give" => request.wfile.send_file(Arc::clone(&file), 0..SIZE)?,
                    other => request.wfile.write_all(other)?,
                }
                Ok(Next::Wait)
            }
        };
        let server = Running::start(pool_of_one().tcp("127.0.0.1:0", class).unwrap());
        assert_nothing_is_held(&server, |place| if place == 0 { b'F' } else { 0 });
    });
}

#[test]
fn shared_bytes_wait_for_slow_readers_without_thread_or_copy() {
    alone(|| {
        let bytes: Arc<[u8]> = (0..SIZE).map(|place| (place % 251) as u8).collect();
        let class = move |_: &_| {
            let bytes = Arc::clone(&bytes);
            move |request: &mut StreamRequest| {
                match request.rfile.take_all() {
                    b"give" => request
                        .wfile
                        .send_shared(Arc::clone(&bytes), 0..SIZE as usize)?,
                    other => request.wfile.write_all(other)?,
                }
                Ok(Next::Wait)
            }
        };
        let server = Running::start(pool_of_one().tcp("127.0.0.1:0", class).unwrap());
        assert_nothing_is_held(&server, |place| (place % 251) as u8);
    });
}

#[test]
fn an_answer_piece_by_piece_holds_no_thread_either() {
    alone(|| {
        let class = |_: &_| {
            let mut left = 0;
            move |request: &mut StreamRequest| {
                match request.rfile.take_all() {
                    b"" => {}
                    b"give" => left = SIZE,
                    other => request.wfile.write_all(other)?,
                }
                if left > 0 {
                    let piece = left.min(8192);
                    request.wfile.write_all(&vec![b'p'; piece as usize])?;
                    left -= piece;
                    return Ok(Next::Again);
                }
                Ok(Next::Wait)
            }
        };
        let server = Running::start(pool_of_one().tcp("127.0.0.1:0", class).unwrap());
        assert_nothing_is_held(&server, |_| b'p');
    });
}

#[test]
fn what_surrounds_a_file_keeps_its_place() {
    let dir = TestDir::new();
    std::fs::write(dir.join("file"), b"0123456789").unwrap();
    let file = Arc::new(File::open(dir.join("file")).unwrap());
    let class = move |_: &_| {
        let file = Arc::clone(&file);
        move |request: &mut StreamRequest| {
            request.rfile.take_all();
            request.wfile.write_all(b"<")?;
            request.wfile.send_file(Arc::clone(&file), 2..5)?;
            request.wfile.write_all(b"|")?;
            request.wfile.send_file(Arc::clone(&file), 4..4)?;
            request
                .wfile
                .send_shared(b"shared".as_slice().into(), 1..3)?;
            request.wfile.write_all(b">")?;
            Ok(Next::Close)
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    assert_eq!(server.connect().say(b"give").hear_end(), b"<234|ha>");
}

#[test]
fn a_file_that_is_shorter_than_promised_ends_the_connection() {
    let dir = TestDir::new();
    std::fs::write(dir.join("file"), b"short").unwrap();
    let file = Arc::new(File::open(dir.join("file")).unwrap());
    let class = move |_: &_| {
        let file = Arc::clone(&file);
        move |request: &mut StreamRequest| {
            request.rfile.take_all();
            request.wfile.send_file(Arc::clone(&file), 0..100)?;
            Ok(Next::Wait)
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    assert_eq!(server.connect().say(b"give").hear_end(), b"short");
}
