//! Stores files. Each arrives as a frame of JSON, followed by its bytes: `cargo run --bin
//! lesson-upload [HOST:PORT]`.

use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

/// The file that is arriving, its path, and the number of bytes that are missing.
struct Upload(Option<(File, PathBuf, u64)>);

impl Upload {
    /// Takes one header or some bytes of the file. False if more bytes must arrive first.
    fn step(&mut self, request: &mut StreamRequest) -> Result<bool> {
        let bytes = request.rfile.buffer();
        let Some((file, path, left)) = &mut self.0 else {
            // Four bytes hold the length of the header. Nothing is taken until it is complete.
            let Some((prefix, rest)) = bytes.split_first_chunk() else {
                return Ok(false);
            };
            let length = u32::from_le_bytes(*prefix) as usize;
            let Some(json) = rest.get(..length) else {
                return Ok(false);
            };
            let header: serde_json::Value =
                serde_json::from_slice(json).map_err(io::Error::from)?;
            let name = Path::new(header["file_name"].as_str().unwrap_or(""))
                .file_name()
                .unwrap_or("unnamed".as_ref());
            let (path, size) = (
                Path::new("uploads").join(name),
                header["file_size"].as_u64().unwrap_or(0),
            );
            fs::create_dir_all("uploads")?;
            self.0 = Some((File::create(path.with_extension("part"))?, path, size));
            request.rfile.consume(4 + length);
            return Ok(true);
        };
        let count = bytes.len().min(*left as usize);
        file.write_all(&bytes[..count])?;
        request.rfile.consume(count);
        *left -= count as u64;
        let whole = *left == 0;
        if whole {
            // Only now does the file get its name, so that no reader sees half of it.
            fs::rename(path.with_extension("part"), &*path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let answer = serde_json::json!({"status": "ok", "file_name": name}).to_string();
            request
                .wfile
                .write_all(&(answer.len() as u32).to_le_bytes())?;
            request.wfile.write_all(answer.as_bytes())?;
            self.0 = None;
        }
        Ok(whole)
    }
}

impl StreamRequestHandler for Upload {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while self.step(request)? {}
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else if self.0.is_some() {
            Next::in_message() // a client that pauses within a file is not idle
        } else {
            Next::Wait
        })
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let mut server = Builder::new().tcp(&address, |_| Upload(None))?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        io::stdout(),
        "upload listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
