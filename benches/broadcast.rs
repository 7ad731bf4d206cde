//! A broadcast server, for `connections.py`: each message of 64 bytes that a client sends goes to
//! all clients.

use std::io::Write;

use socketserver::{
    Builder, Group, Limits, Next, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

/// Bytes of one message.
const SIZE: usize = 64;
/// Bytes that may wait for a member that does not read. It misses further messages.
const OUTBOX_BYTES: usize = 1024 * SIZE;

struct Member(Group);

impl StreamRequestHandler for Member {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        self.0.join(&request.outbox(OUTBOX_BYTES));
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(message) = request.rfile.take_exact(SIZE) {
            self.0.broadcast(message);
        }
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

fn main() -> Result<()> {
    let room = Group::new();
    let mut server = Builder::new()
        .limits(Limits::default().max_connections(20_000))
        .tcp("127.0.0.1:0", move |_| Member(room.clone()))?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "broadcast listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
