//! Reminds its clients: a line `SECONDS TEXT` has the text sent back after that time.
//! `cargo run --example timer [HOST:PORT]`, then `nc 127.0.0.1 7010` and `2.5 tea is ready`.
//!
//! A connection sleeps until its next reminder is due (`Next::after`). It holds no thread, and no
//! timer thread exists.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::time::{Duration, Instant};

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

const MAX_LINE: usize = 256;
const MAX_REMINDERS: usize = 100;
const MAX_SECONDS: f64 = 24.0 * 3600.0;

/// The reminders of one client; the next one is on top.
#[derive(Default)]
struct Reminders(BinaryHeap<Reverse<(Instant, String)>>);

/// A line of the client: when, and what.
fn parse(line: &[u8]) -> Option<(Duration, String)> {
    let line = std::str::from_utf8(line).ok()?;
    let (seconds, text) = line.trim().split_once(' ')?;
    let seconds: f64 = seconds.parse().ok()?;
    let is_in_range = (0.0..=MAX_SECONDS).contains(&seconds);
    is_in_range.then(|| (Duration::from_secs_f64(seconds), text.to_owned()))
}

impl StreamRequestHandler for Reminders {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let now = request.server.clock().now();
        while let Some(line) = request.rfile.take_line(MAX_LINE)? {
            match parse(line) {
                Some(_) if self.0.len() >= MAX_REMINDERS => {
                    request.wfile.write_all(b"too many reminders\n")?;
                }
                Some((after, text)) => self.0.push(Reverse((now + after, text))),
                None => request.wfile.write_all(b"send SECONDS TEXT\n")?,
            }
        }
        while self.0.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            if let Some(Reverse((_, text))) = self.0.pop() {
                writeln!(request.wfile, "{text}")?;
            }
        }
        if request.rfile.is_eof() {
            return Ok(Next::Close);
        }
        Ok(match self.0.peek() {
            Some(Reverse((at, _))) => Next::after(at.duration_since(now)),
            None => Next::Wait,
        })
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7010".to_owned());
    let mut server = Builder::new().tcp(&address, |_| Reminders::default())?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "timer listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
