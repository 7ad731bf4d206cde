//! Answers datagrams in upper case, and drops every third one: `cargo run --bin lesson-ping
//! [HOST:PORT]`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use socketserver::{Builder, DatagramRequest, DatagramRequestHandler, Result, shutdown_on_ctrl_c};

/// Each datagram gets its own handler. The handlers share this counter.
struct Ping {
    arrived: Arc<AtomicU64>,
}

impl DatagramRequestHandler for Ping {
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        let number = self.arrived.fetch_add(1, Ordering::Relaxed) + 1;
        if number.is_multiple_of(3) {
            return writeln!(std::io::stdout(), "datagram {number} gets lost").map_err(Into::into);
        }
        request.reply(&request.packet().to_ascii_uppercase())
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:12000".to_owned());
    let arrived = Arc::new(AtomicU64::new(0));
    let mut server = Builder::new().udp(&address, move |_| Ping {
        arrived: Arc::clone(&arrived),
    })?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "ping listening on {}",
        server.server_address().url("udp")
    )?;
    server.serve_forever()
}
