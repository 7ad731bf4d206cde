//! A client that has ended its side, as `nc -N` and piped clients do, and a server that ends its
//! own.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use socketserver::testing::TestConnection;
use socketserver::{
    Builder, Next, Result, StreamRequest, StreamRequestHandler, Synchronous, ThreadPerRequest,
    ThreadingMixIn, Timeout, Wait,
};

use crate::deadlines::{SECOND, assert_expires, without_deadlines};
use crate::support::Running;

/// Answers three times, with a pause before each, once the client has ended its side.
struct Late(usize);

impl StreamRequestHandler for Late {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let pause = Next::after(Duration::from_millis(20));
        if !request.rfile.is_eof() {
            return Ok(Next::Wait);
        }
        request.rfile.take_all();
        self.0 += 1;
        if self.0 == 1 {
            return Ok(pause);
        }
        request.wfile.write_all(b"late\n")?;
        Ok(if self.0 == 4 { Next::Close } else { pause })
    }
}

#[test]
fn a_handler_may_wait_after_the_end_of_file_and_answer_later() {
    for settings in [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ] {
        let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Late(0)).unwrap());
        let mut client = server.connect();
        client.say(b"job");
        client.socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.hear_end(), b"late\nlate\nlate\n");
    }
}

#[test]
fn a_message_under_way_goes_on_after_the_end_of_file() {
    let working = |_: &_| {
        |request: &mut StreamRequest| {
            if request.rfile.take_all().is_empty() && !request.rfile.is_eof() {
                request.wfile.write_all(b"done\n")?;
                return Ok(Next::Close);
            }
            Ok(Wait::new().in_message().after(5 * SECOND).into())
        }
    };
    let mut client = TestConnection::new(Builder::new(), working);
    client.send(b"job").advance(4 * SECOND);
    assert_eq!(client.received(), b"");
    client.advance(SECOND);
    assert_eq!(client.received(), b"done\n");
}

#[test]
fn a_wait_for_bytes_alone_closes_after_the_end_of_file() {
    let waiting = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            Ok(Next::Wait)
        }
    };
    let mut client = TestConnection::new(Builder::new(), waiting);
    assert!(client.send(b"x").finish().is_closed());
}

#[test]
fn a_message_without_a_time_ends_at_the_read_timeout_after_the_end_of_file() {
    let waiting = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            Ok(Next::in_message())
        }
    };
    let (settings, hooks) = without_deadlines();
    let mut client = TestConnection::new(settings.read_timeout(Some(7 * SECOND)), waiting);
    client.send(b"x").finish();
    assert_expires(&mut client, &hooks, 7 * SECOND, Timeout::Read);
}

#[test]
fn a_server_can_end_its_side_first_and_go_on_reading() {
    let class = |_: &_| {
        let mut ended = false;
        move |request: &mut StreamRequest| {
            if !ended {
                request.rfile.take_all();
                request.wfile.write_all(b"no more from me\n")?;
                request.wfile.shutdown_write()?;
                ended = true;
                return Ok(Next::Wait);
            }
            let heard = request.rfile.take_all() == b"still there\n";
            request.identity = heard.then(|| "heard".into());
            assert!(heard || request.rfile.is_eof());
            Ok(if heard { Next::Close } else { Next::Wait })
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    let mut client = server.connect();
    client.say(b"hello\n");
    assert_eq!(client.hear_end(), b"no more from me\n");
    client.say(b"still there\n");
    crate::support::eventually("the server has read it", || server.stats().handled == 2);
    assert_eq!((server.stats().panics, server.stats().failed), (0, 0));
}
