//! Sends every datagram back as it came: `cargo run --release --example udp_echo [HOST:PORT]`.

use std::io::Write;

use socketserver::{Builder, DatagramRequest, DatagramRequestHandler, Result, shutdown_on_ctrl_c};

struct Echo;

impl DatagramRequestHandler for Echo {
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        request.reply(request.packet())
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let mut server = Builder::new().udp(&address, |_| Echo)?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "echo listening on {}",
        server.server_address().url("udp")
    )?;
    server.serve_forever()
}
