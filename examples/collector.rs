//! Counts what its clients report by UDP, as a collector of statistics does, with state for each
//! client: `cargo run --example collector [HOST:PORT]`, then `echo 5 | nc -u -w1 127.0.0.1 8125`.
//!
//! A datagram is a number; the answer is the client's sum so far. A client that is silent for ten
//! minutes is forgotten, and so is the one that was silent for the longest time when there are too
//! many.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use socketserver::{
    Builder, DatagramRequest, DatagramRequestHandler, Peers, Result, shutdown_on_ctrl_c,
};

const MAX_CLIENTS: usize = 10_000;
const EXPIRY: Duration = Duration::from_secs(600);

struct Collector(Arc<Peers<i64>>);

impl DatagramRequestHandler for Collector {
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        let text = String::from_utf8_lossy(request.packet());
        let answer = match text.trim().parse::<i64>() {
            Ok(number) => self.0.with(&request.client_address, |sum| {
                *sum = sum.saturating_add(number);
                format!("{sum}\n")
            }),
            Err(_) => "send a number\n".to_owned(),
        };
        request.reply(answer.as_bytes())
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8125".to_owned());
    let sums = Peers::new(|_: &_| 0)
        .max_peers(MAX_CLIENTS)
        .expiry(Some(EXPIRY));
    let sums = Arc::new(sums);
    let class = move |_: &_| Collector(Arc::clone(&sums));
    // Two datagrams of one client must not overtake each other.
    let mut server = Builder::new()
        .ordered_datagrams(true)
        .udp(&address, class)?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "collector listening on {}",
        server.server_address().url("udp")
    )?;
    server.serve_forever()
}
