//! A chat room: what one client says, all others hear. Try it with several `nc 127.0.0.1 7008`:
//! `cargo run --example chat [HOST:PORT]`.
//!
//! Nobody polls: a message wakes the connections that it is sent to, and a client that is silent
//! holds no thread. A client that does not read misses messages, and holds up nobody.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use socketserver::{
    Builder, Group, Next, Outbox, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

/// Messages that a client has not read yet may take this much memory.
const OUTBOX_BYTES: usize = 64 * 1024;
const MAX_LINE: usize = 1024;

struct Chatter {
    room: Group,
    name: String,
    outbox: Option<Outbox>,
}

impl Chatter {
    fn new(room: Group) -> Chatter {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        Chatter {
            room,
            name: format!("guest {}", COUNT.fetch_add(1, Ordering::Relaxed)),
            outbox: None,
        }
    }

    fn tell_others(&self, text: &str) {
        if let Some(outbox) = &self.outbox {
            self.room.broadcast_from(outbox, text.as_bytes());
        }
    }
}

impl StreamRequestHandler for Chatter {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let outbox = request.outbox(OUTBOX_BYTES);
        self.room.join(&outbox);
        self.outbox = Some(outbox);
        writeln!(
            request.wfile,
            "You are {}. Clients here: {}.",
            self.name,
            self.room.len()
        )?;
        self.tell_others(&format!("{} has joined.\n", self.name));
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(MAX_LINE)? {
            let text = String::from_utf8_lossy(line);
            self.tell_others(&format!("{}: {}\n", self.name, text.trim_end()));
        }
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        self.tell_others(&format!("{} has left.\n", self.name));
        Ok(request.wfile.flush()?)
    }

    /// Members in other processes, or served one after the other, would not hear one another.
    fn needs_concurrency() -> bool {
        true
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7008".to_owned());
    let room = Group::new();
    let mut server = Builder::new().tcp(&address, move |_| Chatter::new(room.clone()))?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "chat listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
