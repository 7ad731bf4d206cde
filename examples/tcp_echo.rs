//! Sends every byte back as it came: `cargo run --release --example tcp_echo [HOST:PORT]`.

use std::io::Write;

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

struct Echo;

impl StreamRequestHandler for Echo {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.wfile.write_all(request.rfile.take_all())?;
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let mut server = Builder::new().tcp(&address, |_| Echo)?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "echo listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
