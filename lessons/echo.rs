//! Returns every line in upper case: `cargo run --bin lesson-echo [HOST:PORT]`.

use std::io::Write;

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

/// Maximum length of a line, so that a client that never ends its line cannot fill the memory.
const MAX_LINE: usize = 4096;

struct Upper {
    lines: u32,
}

impl StreamRequestHandler for Upper {
    /// Called when bytes have arrived: a part of a line, or several lines.
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(MAX_LINE)? {
            request.wfile.write_all(&line.to_ascii_uppercase())?;
            self.lines += 1;
        }
        // `Wait` gives the thread back: a silent client holds none.
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        writeln!(
            std::io::stdout(),
            "{} sent {} lines",
            request.client_address,
            self.lines
        )?;
        Ok(())
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let mut server = Builder::new().tcp(&address, |_| Upper { lines: 0 })?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "echo listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
