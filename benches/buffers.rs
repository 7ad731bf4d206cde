//! `rfile` and `wfile`, and what a connection costs without its socket: `make bench-parsers`.

use std::hint::black_box;
use std::io::Write;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use socketserver::testing::TestConnection;
use socketserver::{Builder, Next, Result, StreamRequest};

fn echo_lines(request: &mut StreamRequest) -> Result<Next> {
    while let Some(line) = request.rfile.take_line(4096)? {
        request.wfile.write_all(line)?;
    }
    Ok(Next::Wait)
}

fn count_bytes(request: &mut StreamRequest) -> Result<Next> {
    let count = request.rfile.take_all().len();
    request.wfile.write_all(&count.to_le_bytes())?;
    Ok(Next::Wait)
}

fn small_writes(request: &mut StreamRequest) -> Result<Next> {
    request.rfile.take_all();
    for _ in 0..64 {
        request.wfile.write_all(black_box(b"sixteen bytes...\n"))?;
    }
    Ok(Next::Wait)
}

type Handler = fn(&mut StreamRequest) -> Result<Next>;

fn messages(criterion: &mut Criterion) {
    let lines = b"a line of some thirty characters\n".repeat(32);
    let rows: [(&str, Handler, &[u8]); 4] = [
        ("one line", echo_lines, b"hello, world\n"),
        ("32 lines", echo_lines, &lines),
        ("64 bytes, no lines", count_bytes, &[b'x'; 64]),
        ("64 small writes", small_writes, b"x"),
    ];
    let mut group = criterion.benchmark_group("message in memory");
    for (name, handler, message) in rows {
        let mut client = TestConnection::new(Builder::new(), move |_| handler);
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                client.send(black_box(message));
                client.received().len()
            });
        });
    }
}

fn proxy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("PROXY header");
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[192, 0, 2, 1, 127, 0, 0, 1, 0x1f, 0x90, 0, 80],
    ]
    .concat();
    for (name, bytes) in [
        ("v1", &b"PROXY TCP4 192.0.2.1 127.0.0.1 8080 80\r\n"[..]),
        ("v2", &v2),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| socketserver::fuzzing::proxy(black_box(bytes)))
        });
    }
}

criterion_group!(benches, messages, proxy);
criterion_main!(benches);
