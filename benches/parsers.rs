//! What every HTTP request is parsed by: `make bench-parsers`.

use std::hint::black_box;
use std::time::{Duration, UNIX_EPOCH};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use socketserver_handlers::http::protocol::conditional::{self, Conditions, Validators};
use socketserver_handlers::http::protocol::head::{self, Scanner};
use socketserver_handlers::http::protocol::{chunked, date, range, target};

const BY_WRK: &[u8] = b"GET /1KiB.txt HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";
const BY_A_BROWSER: &[u8] = b"GET /style.css?v=3 HTTP/1.1\r\n\
    Host: www.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/css,*/*;q=0.1\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.org/\r\n\
    Connection: keep-alive\r\n\
    If-Modified-Since: Sat, 21 Nov 2026 07:28:00 GMT\r\n\
    If-None-Match: \"18a3f1c2d4e5f607-400\"\r\n\
    Sec-Fetch-Dest: style\r\n\
    Sec-Fetch-Mode: no-cors\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Priority: u=2\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    for (name, bytes) in [("wrk", BY_WRK), ("browser", BY_A_BROWSER)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| head::parse(black_box(bytes), &mut Scanner::default()).is_ok());
        });
    }
    group.bench_function("browser, byte by byte", |bencher| {
        bencher.iter(|| {
            let mut scanner = Scanner::default();
            (1..=BY_A_BROWSER.len())
                .filter(|&end| head::parse(black_box(&BY_A_BROWSER[..end]), &mut scanner).is_ok())
                .count()
        });
    });
}

fn targets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("target");
    for (name, bytes) in [
        ("plain", &b"/docs/guide/index.html"[..]),
        ("encoded", b"/a%20folder/%E2%82%AC.txt?q=1"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| target::parse(black_box(bytes)).is_ok())
        });
    }
}

fn fields(criterion: &mut Criterion) {
    criterion.bench_function("range", |bencher| {
        bencher.iter(|| range::parse(black_box(b"bytes=0-99,200-299,-50"), 10_000))
    });
    criterion.bench_function("conditions", |bencher| {
        let conditions = Conditions {
            if_match: None,
            if_none_match: Some(b"\"a\", W/\"b\", \"18a3f1c2d4e5f607-400\""),
            if_modified_since: Some(b"Sat, 21 Nov 2026 07:28:00 GMT"),
            if_unmodified_since: None,
            if_range: None,
        };
        let modified = UNIX_EPOCH + Duration::from_secs(1_795_246_080);
        let current = Validators {
            etag: Some(b"\"18a3f1c2d4e5f607-400\""),
            last_modified: Some(modified),
        };
        bencher.iter(|| conditional::evaluate(black_box(&conditions), Some(&current), true));
    });
    criterion.bench_function("date", |bencher| bencher.iter(date::now));
}

fn bodies(criterion: &mut Criterion) {
    let body = [&b"1000\r\n"[..], &[b'x'; 4096], b"\r\n0\r\n\r\n"].concat();
    let mut group = criterion.benchmark_group("chunked");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("4 KiB", |bencher| {
        bencher.iter(|| {
            let (mut decoder, mut rest) = (chunked::Decoder::default(), black_box(&body[..]));
            while let Ok(chunked::ChunkedPart::Data(count) | chunked::ChunkedPart::Framing(count)) =
                decoder.next(rest)
            {
                rest = &rest[count..];
            }
            rest.len()
        });
    });
}

criterion_group!(benches, heads, targets, fields, bodies);
criterion_main!(benches);
