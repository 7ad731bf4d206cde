//! What goes wrong in a handler, a hook or a class costs one connection, and is reported once.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use std::time::Duration;

use parking_lot::Mutex;
use socketserver::testing::TestConnection;
use socketserver::{
    Builder, ClientAddress, Error, Next, Result, ServerHooks, StreamRequest, StreamRequestHandler,
    Synchronous, ThreadPerRequest, ThreadingMixIn, Wait,
};

use crate::subjects::{Obedient, Recorder};
use crate::support::{Running, eventually};

fn models() -> [Builder; 3] {
    [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ]
}

#[test]
fn an_io_error_of_the_handlers_own_is_a_failure_and_the_answer_still_arrives() {
    for kind in [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
    ] {
        let hooks = Recorder::default();
        let class = move |_: &_| {
            move |request: &mut StreamRequest| {
                request.rfile.take_all();
                request.wfile.write_all(b"the upstream failed\n")?;
                Err(Error::from(io::Error::from(kind)))
            }
        };
        let settings = Builder::new().hooks(hooks.clone());
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"x");
        assert_eq!(client.hear_end(), b"the upstream failed\n");
        eventually("it is reported", || hooks.errors().len() == 1);
        assert_eq!(server.stats().failed, 1, "{kind:?}");
    }
}

#[test]
fn a_client_that_resets_its_connection_is_no_failure() {
    let hooks = Recorder::default();
    let settings = Builder::new().hooks(hooks.clone());
    let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
    let mut client = server.connect();
    client.say(b"hello\n").hear(b"hello\n").say(b"half");
    eventually("it is read", || server.handle.in_flight().len() == 1);
    client.reset();
    eventually("it is gone", || server.stats().open == 0);
    assert_eq!((server.stats().failed, hooks.errors().len()), (0, 0));
}

/// Writes down what is called, in order.
#[derive(Clone, Default)]
struct Order {
    calls: Arc<Mutex<Vec<&'static str>>>,
    finish_fails: Arc<AtomicBool>,
}

impl StreamRequestHandler for Order {
    fn handle(&mut self, _: &mut StreamRequest) -> Result<Next> {
        self.calls.lock().push("handle");
        Err(Error::Protocol("told to fail".to_owned()))
    }

    fn finish(&mut self, _: &mut StreamRequest) -> Result<()> {
        self.calls.lock().push("finish");
        if self.finish_fails.load(Ordering::Relaxed) {
            return Err(Error::Protocol("finish fails too".to_owned()));
        }
        Ok(())
    }
}

impl ServerHooks for Order {
    fn handle_error(&self, _: &ClientAddress, error: &Error) {
        self.calls.lock().push("handle_error");
        assert_eq!(error.to_string(), "told to fail");
    }
}

#[test]
fn after_an_error_finish_is_called_and_then_handle_error_once() {
    for finish_fails in [false, true] {
        let order = Order::default();
        order.finish_fails.store(finish_fails, Ordering::Relaxed);
        let handler = order.clone();
        let settings = Builder::new().hooks(order.clone());
        let mut client = TestConnection::new(settings, move |_: &_| handler.clone());
        assert!(client.send(b"x").is_closed());
        assert_eq!(*order.calls.lock(), ["handle", "finish", "handle_error"]);
    }
}

/// Panics when it is dropped.
struct Bomb(Obedient);

impl StreamRequestHandler for Bomb {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        self.0.handle(request)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the handler's drop panics");
    }
}

#[test]
fn a_handler_whose_drop_panics_costs_its_own_connection_only() {
    for settings in models() {
        let hooks = Recorder::default();
        let class = |_: &_| Bomb(Obedient);
        let settings = settings.hooks(hooks.clone());
        let mut server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        for _ in 0..3 {
            server
                .connect()
                .say(b"a\n")
                .hear(b"a\n")
                .say(b"close\n")
                .hear_end();
        }
        let mut idle = server.connect();
        idle.say(b"b\n").hear(b"b\n");
        server.handle.shutdown();
        server.join();
        assert_eq!(server.stats().panics, 4);
        assert_eq!(hooks.errors().len(), 4);
    }
}

struct Rude;

impl ServerHooks for Rude {
    fn verify_request(&self, _: &ClientAddress) -> bool {
        panic!("verify_request panics")
    }
}

#[test]
fn a_verify_request_that_panics_costs_its_own_connection_only() {
    for settings in models() {
        let settings = settings.hooks(Rude);
        let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
        for _ in 0..3 {
            assert_eq!(server.connect().hear_end(), b"");
        }
        assert_eq!(server.stats().panics, 3);
    }
}

/// Waits for the end of file, then says how much came.
fn whole_message(request: &mut StreamRequest) -> Result<Next> {
    if !request.rfile.is_eof() {
        return Ok(Next::Wait);
    }
    let length = request.rfile.take_all().len();
    write!(request.wfile, "{length}")?;
    Ok(Next::Close)
}

#[test]
fn a_message_may_be_as_long_as_the_limit_and_no_longer() {
    for limit in [1, 100, 16 * 1024, 20_000, 64 * 1024] {
        let connect = || {
            let settings = Builder::new().max_message(limit);
            TestConnection::new(settings, |_: &_| whole_message)
        };
        let mut client = connect();
        client.send(&vec![b'x'; limit]).finish();
        assert_eq!(client.received(), limit.to_string().as_bytes());
        let mut client = connect();
        client.send(&vec![b'x'; limit + 1]);
        assert!(client.is_closed(), "{limit}");
        assert_eq!(client.server().stats().failed, 1);
    }
}

#[test]
fn a_handler_that_works_is_not_filled_with_what_it_takes_later() {
    const LINES: usize = 300;
    let class = |_: &_| {
        let mut state = None;
        move |request: &mut StreamRequest| {
            if state.take().is_some() {
                request.wfile.write_all(b"done\n")?;
            }
            if request.rfile.take_line(200)?.is_some() {
                state = Some(());
                let wait = Wait::new().in_message();
                return Ok(wait.after(Duration::from_micros(100)).into());
            }
            Ok(if request.rfile.is_eof() {
                Next::Close
            } else {
                Next::Wait
            })
        }
    };
    let settings = Builder::new().max_message(1000);
    let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
    let mut client = server.connect();
    let line = [&[b'x'; 99][..], b"\n"].concat();
    client.say(&line.repeat(LINES));
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.hear_end(), b"done\n".repeat(LINES));
    assert_eq!(server.stats().failed, 0);
}

/// Gathers as much as it may.
struct Hoarder;

impl StreamRequestHandler for Hoarder {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let bytes = request.rfile.take_all();
        request.wfile.write_all(bytes)?;
        Ok(Next::Wait)
    }

    fn wbufsize(&self) -> usize {
        usize::MAX
    }
}

#[test]
fn a_write_buffer_without_bounds_is_bounded() {
    let mut client = TestConnection::new(Builder::new(), |_: &_| Hoarder);
    assert_eq!(client.send(b"hello").received(), b"hello");
}
