//! Serves clients that hold the key "open sesame": `cargo run --bin lesson-auth [HOST:PORT]`.

use std::io::{self, Write};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use socketserver::{
    Builder, Error, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

const KEY: &[u8] = b"open sesame";
const SIZE: usize = 32;

struct Guarded {
    challenge: [u8; SIZE],
    open: bool,
}

impl StreamRequestHandler for Guarded {
    /// The server speaks first. An eavesdropper learns nothing useful: no challenge comes twice.
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        getrandom::fill(&mut self.challenge).map_err(io::Error::from)?;
        request.wfile.write_all(&self.challenge)?;
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if !self.open {
            let Some(answer) = request.rfile.take_exact(SIZE) else {
                return Ok(if request.rfile.is_eof() {
                    Next::Close
                } else {
                    Next::Wait
                });
            };
            let mac = Hmac::<Sha256>::new_from_slice(KEY).map_err(Error::handler)?;
            // `verify_slice` compares every byte even if the first is wrong, so that the time it
            // takes reveals nothing.
            if mac
                .chain_update(self.challenge)
                .verify_slice(answer)
                .is_err()
            {
                return Ok(Next::Close);
            }
            self.open = true;
        }
        let text = request.rfile.take_all().to_ascii_uppercase();
        request.wfile.write_all(&text)?;
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
        .unwrap_or_else(|| "127.0.0.1:9998".to_owned());
    let mut server = Builder::new().tcp(&address, |_| Guarded {
        challenge: [0; SIZE],
        open: false,
    })?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        io::stdout(),
        "auth listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
