//! Sends one file as JSON with base64 to every client: `cargo run --bin lesson-transfer
//! [FILE [HOST:PORT]]`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64_simd::STANDARD;
use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

/// A multiple of 3: base64 turns three bytes into four letters, and only the last piece may need
/// `=` as padding.
const PIECE: u64 = 48 * 1024;

struct SendFile(Arc<Path>);

impl StreamRequestHandler for SendFile {
    /// The client sends nothing: `handle` is called as soon as it has connected.
    fn speaks_first(&self) -> bool {
        true
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let file = File::open(&self.0)?;
        // Rust's `{:?}` of a plain name is JSON too; the exercise is about the other names.
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        write!(request.wfile, "{{\"filename\": {name:?}, \"filedata\": \"")?;
        let mut piece = Vec::new();
        while (&file).take(PIECE).read_to_end(&mut piece)? > 0 {
            // Waits while the client is slower than the disk, so that the whole file is never in
            // memory.
            request
                .wfile
                .write_all(STANDARD.encode_to_string(&piece).as_bytes())?;
            piece.clear();
        }
        request.wfile.write_all(b"\"}")?;
        Ok(Next::Close)
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let file: Arc<Path> = arguments
        .next()
        .map_or_else(|| "Cargo.toml".into(), PathBuf::from)
        .into();
    let address = arguments.next().map_or_else(
        || "127.0.0.1:5566".into(),
        |address| address.to_string_lossy().into_owned(),
    );
    let mut server = Builder::new().tcp(&address, move |_| SendFile(Arc::clone(&file)))?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "transfer listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
