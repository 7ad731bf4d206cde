//! A web server in one handler: `cargo run --bin lesson-http [HOST:PORT]`. It serves the folder
//! `www`.

use std::io::Write;

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

struct WebServer;

impl StreamRequestHandler for WebServer {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        // The head ends with an empty line. `handle` is called again until it has arrived.
        let head = String::from_utf8_lossy(request.rfile.buffer()).into_owned();
        if !head.contains("\r\n\r\n") {
            return Ok(if request.rfile.is_eof() {
                Next::Close
            } else {
                Next::Wait
            });
        }
        request.rfile.take_all();
        let mut words = head.split_whitespace();
        let (status, page) = match (words.next(), words.next()) {
            (Some("GET"), Some(path)) => match page(path) {
                Some(page) => ("200 OK", page),
                None => ("404 Not Found", b"<h1>404 Not Found</h1>".to_vec()),
            },
            _ => (
                "501 Not Implemented",
                b"<h1>501 Not Implemented</h1>".to_vec(),
            ),
        };
        let length = page.len();
        write!(
            request.wfile,
            "HTTP/1.0 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n"
        )?;
        request.wfile.write_all(&page)?;
        // HTTP/1.0: one request for each connection.
        Ok(Next::Close)
    }
}

/// The file that a path names. A name without slashes cannot lead out of the folder. A name that
/// begins with a dot is hidden.
fn page(path: &str) -> Option<Vec<u8>> {
    let name = path.strip_prefix('/')?;
    let name = if name.is_empty() { "index.html" } else { name };
    if name.contains('/') || name.starts_with('.') {
        None
    } else {
        std::fs::read(format!("www/{name}")).ok()
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let mut server = Builder::new().tcp(&address, |_| WebServer)?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "http listening on {}",
        server.server_address().url("http")
    )?;
    server.serve_forever()
}
