//! A handler with its tests, which need no sockets and do not wait:
//! `cargo test --example tested_handler`.
//!
//! The room is open to those who know the word. A client has 30 s and three tries to say it. Then
//! what it says is sent to all who are in the room.

use std::io::Write;
use std::time::{Duration, Instant};

use socketserver::{
    Builder, Group, Next, Outbox, Result, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c,
};

const WORD: &[u8] = b"swordfish";
const MAX_TRIES: u32 = 3;
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

struct Guest {
    room: Group,
    until: Instant,
    tries: u32,
    /// `None` until the word was said.
    outbox: Option<Outbox>,
}

impl Guest {
    fn enter(&mut self, request: &StreamRequest) {
        let outbox = request.outbox(64 * 1024);
        self.room.join(&outbox);
        self.outbox = Some(outbox);
    }
}

impl StreamRequestHandler for Guest {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        self.until = request.server.clock().now() + LOGIN_TIMEOUT;
        Ok(request.wfile.write_all(b"word?\n")?)
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(1024)? {
            if let Some(outbox) = &self.outbox {
                self.room.broadcast_from(outbox, line);
            } else if line.trim_ascii_end() == WORD {
                self.enter(request);
                request.wfile.write_all(b"welcome\n")?;
            } else {
                self.tries += 1;
                request.wfile.write_all(b"no\n")?;
                if self.tries == MAX_TRIES {
                    return Ok(Next::Close);
                }
            }
        }
        if request.rfile.is_eof() {
            return Ok(Next::Close);
        }
        let left = self.until - request.server.clock().now();
        if self.outbox.is_some() {
            Ok(Next::Wait)
        } else if left.is_zero() {
            request.wfile.write_all(b"too late\n")?;
            Ok(Next::Close)
        } else {
            Ok(Next::after(left))
        }
    }

    /// The time for the word begins before the client's first byte.
    fn speaks_first(&self) -> bool {
        true
    }
}

fn guests() -> impl socketserver::RequestHandlerClass<Guest> {
    let room = Group::new();
    move |_: &_| Guest {
        room: room.clone(),
        until: Instant::now(),
        tries: 0,
        outbox: None,
    }
}

fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7011".to_owned());
    let mut server = Builder::new().tcp(&address, guests())?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "room listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}

#[cfg(test)]
mod tests {
    use super::*;
    use socketserver::testing::{TestConnection, TestServer};

    /// A server in memory, whose connections share the room.
    fn server() -> TestServer {
        TestServer::new(Builder::new(), guests())
    }

    fn enter(server: &TestServer) -> TestConnection {
        let mut client = server.connect();
        client.send(b"swordfish\n");
        assert_eq!(client.received(), b"word?\nwelcome\n");
        client
    }

    #[test]
    fn what_one_says_all_others_in_the_room_hear() {
        let server = server();
        let (mut ada, mut bob) = (enter(&server), enter(&server));
        let mut outside = server.connect();
        assert_eq!(outside.received(), b"word?\n");
        ada.send(b"hello\n");
        assert_eq!(bob.received(), b"hello\n");
        assert_eq!((ada.received(), outside.received()), (vec![], vec![]));
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let server = server();
        let mut client = server.connect();
        client.send_bytewise(b"swordfish\r\n");
        assert_eq!(client.received(), b"word?\nwelcome\n");
    }

    #[test]
    fn the_third_wrong_word_ends_the_connection() {
        let mut client = server().connect();
        client.send(b"a\nb\n");
        assert!(!client.is_closed());
        client.send(b"c\n");
        assert_eq!(client.received(), b"word?\nno\nno\nno\n");
        assert!(client.is_closed());
    }

    #[test]
    fn the_word_must_come_within_its_time_however_its_bytes_drip() {
        let mut client = server().connect();
        client.advance(LOGIN_TIMEOUT - Duration::from_secs(1));
        client.send(b"sword");
        assert!(!client.is_closed());
        client.advance(Duration::from_secs(1));
        assert_eq!(client.received(), b"word?\ntoo late\n");
        assert!(client.is_closed());
    }

    #[test]
    fn a_shutdown_closes_the_room() {
        let server = server();
        let guest = enter(&server);
        server.shutdown();
        assert!(guest.is_closed());
    }
}
