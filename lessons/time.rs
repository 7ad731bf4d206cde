//! Sends the time and closes: `cargo run --bin lesson-time [HOST:PORT]`.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

const DAY: u64 = 24 * 60 * 60;

struct Time;

impl StreamRequestHandler for Time {
    /// The client says nothing, so `handle` must not wait for a first byte.
    fn speaks_first(&self) -> bool {
        true
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        // A clock before 1970 was never set. This shows midnight for it.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let second = now.as_secs() % DAY;
        let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
        let text = format!(
            "{hours:02}:{minutes:02}:{seconds:02}.{:06} UTC\n",
            now.subsec_micros()
        );
        request.wfile.write_all(text.as_bytes())?;
        // The text is sent, then the connection ends: so the client knows that it has all of it.
        Ok(Next::Close)
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    let mut server = Builder::new().tcp(&address, |_| Time)?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "time listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
