//! Answers `FRAMING TEXT` with the text, framed: `cargo run --bin lesson-sticky [HOST:PORT]`.

use std::io::Write;

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

const MAX_LINE: usize = 4096;
const READY: &[u8] = b"recv_ready";

struct Sticky {
    /// Text that is sent when the client has said that it is ready.
    held_back: Option<String>,
}

impl StreamRequestHandler for Sticky {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        loop {
            if let Some(text) = &self.held_back {
                if !request.rfile.buffer().starts_with(READY) {
                    break;
                }
                request.rfile.take_exact(READY.len());
                request.wfile.write_all(text.as_bytes())?;
                self.held_back = None;
            }
            let Some(line) = request.rfile.take_line(MAX_LINE)? else {
                break;
            };
            let line = String::from_utf8_lossy(line).trim_end().to_owned();
            let (framing, text) = line.split_once(' ').unwrap_or((&line, ""));
            let length = text.len();
            match framing {
                "raw" => request.wfile.write_all(text.as_bytes())?,
                "struct" => {
                    request.wfile.write_all(&(length as u32).to_le_bytes())?;
                    request.wfile.write_all(text.as_bytes())?;
                }
                "ack" => {
                    write!(request.wfile, "{length}")?;
                    self.held_back = Some(text.to_owned());
                }
                "json" => {
                    let head = format!("{{\"data_size\": {length}}}");
                    request
                        .wfile
                        .write_all(&(head.len() as u32).to_le_bytes())?;
                    write!(request.wfile, "{head}{text}")?;
                }
                _ => writeln!(request.wfile, "say raw, struct, ack or json, then a text")?,
            }
        }
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
        .unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let mut server = Builder::new().tcp(&address, |_| Sticky { held_back: None })?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "sticky listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
