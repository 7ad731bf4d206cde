//! Sends the number of seconds since the connection began, once a second, and takes new intervals
//! in milliseconds from its client: `cargo run --example ticker [HOST:PORT]`, `nc 127.0.0.1 7009`.
//!
//! The time between two ticks is `Next::after`: it holds no thread, and no timer thread exists.

use std::io::Write;
use std::time::{Duration, Instant};

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

struct Ticker {
    begun: Instant,
    interval: Duration,
}

impl StreamRequestHandler for Ticker {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(32)? {
            match String::from_utf8_lossy(line).trim().parse() {
                Ok(millis) => self.interval = Duration::from_millis(millis),
                Err(_) => request.wfile.write_all(b"send milliseconds\n")?,
            }
        }
        if request.rfile.is_eof() {
            return Ok(Next::Close);
        }
        if request.cause().is_due() {
            let now = request.server.clock().now();
            let seconds = now.duration_since(self.begun).as_secs_f64();
            writeln!(request.wfile, "{seconds:.1}")?;
        }
        Ok(Next::after(self.interval))
    }

    /// The first tick needs no byte of the client.
    fn speaks_first(&self) -> bool {
        true
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7009".to_owned());
    let class = |_: &_| Ticker {
        begun: Instant::now(),
        interval: Duration::from_secs(1),
    };
    let mut server = Builder::new().tcp(&address, class)?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "ticker listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
