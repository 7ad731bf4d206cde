//! The hooks of a connection's beginning and end.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socketserver::testing::TestConnection;
use socketserver::{
    Builder, ClientAddress, Error, Next, ServerHandle, ServerHooks, StreamRequest, Synchronous,
    ThreadPerRequest, ThreadingMixIn,
};

use crate::subjects::Obedient;
use crate::support::{Gate, eventually};

/// Notes the calls of its hooks. As a program's hooks may, it asks the server for its statistics.
#[derive(Clone, Default)]
struct Diary(Arc<DiaryState>);

#[derive(Default)]
struct DiaryState {
    calls: Mutex<Vec<&'static str>>,
    clients: Mutex<Vec<ClientAddress>>,
    server: Mutex<Option<ServerHandle>>,
}

impl Diary {
    fn note(&self, call: &'static str) {
        let server = self.0.server.lock().clone();
        server.map(|server| server.stats());
        self.0.calls.lock().push(call);
    }

    fn calls(&self) -> Vec<&'static str> {
        self.0.calls.lock().clone()
    }

    /// The calls, once the last of them is `connection_closed`.
    fn all_calls(&self) -> Vec<&'static str> {
        eventually("every connection has closed", || {
            let calls = self.0.calls.lock();
            let count = |name| calls.iter().filter(|call| **call == name).count();
            count("opened") == count("closed") && count("closed") > 0
        });
        self.calls()
    }
}

impl ServerHooks for Diary {
    fn verify_request(&self, client: &ClientAddress) -> bool {
        client.ip().is_none_or(|ip| ip.is_loopback())
    }

    fn connection_opened(&self, client: &ClientAddress) {
        self.0.clients.lock().push(client.clone());
        self.note("opened");
    }

    fn connection_closed(&self, client: &ClientAddress) {
        assert!(self.0.clients.lock().contains(client));
        self.note("closed");
    }

    fn handle_error(&self, _: &ClientAddress, _: &Error) {
        self.note("error");
    }
}

fn models() -> [Builder; 3] {
    [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ]
}

#[test]
fn each_connection_is_opened_and_closed_once_however_it_ends() {
    for settings in models() {
        let diary = Diary::default();
        let settings = settings.hooks(diary.clone()).grace(Duration::from_secs(2));
        let server = settings.tcp("127.0.0.1:0", |_| Obedient).unwrap().spawn();
        let server = server.unwrap();
        *diary.0.server.lock() = Some(server.handle().clone());
        let connect = || crate::support::Client::connect(server.server_address());

        let mut client = connect();
        client.say(b"hello\n").hear(b"hello\n");
        assert_eq!(diary.calls(), ["opened"]);
        drop(client);
        assert_eq!(diary.all_calls(), ["opened", "closed"]);
        for failure in [&b"fail\n"[..], b"panic\n"] {
            diary.0.calls.lock().clear();
            connect().say(failure).hear_end();
            assert_eq!(diary.all_calls(), ["opened", "error", "closed"]);
        }

        diary.0.calls.lock().clear();
        let (ours, theirs) = UnixStream::pair().unwrap();
        server.handle().adopt(theirs, Obedient).unwrap();
        drop(ours);
        assert_eq!(diary.all_calls(), ["opened", "closed"]);

        diary.0.calls.lock().clear();
        let mut idle = connect();
        idle.say(b"hello\n").hear(b"hello\n");
        server.stop().unwrap();
        assert_eq!(diary.calls(), ["opened", "closed"]);
        *diary.0.server.lock() = None;
    }
}

#[test]
fn a_connection_that_is_refused_is_neither_opened_nor_closed() {
    let diary = Diary::default();
    let settings = Builder::new().hooks(diary.clone());
    let stranger = ClientAddress::Inet("192.0.2.1:5".parse().unwrap());
    let client = TestConnection::from(settings, stranger, |_| Obedient);
    assert!(client.is_closed());
    drop(client);
    assert_eq!(diary.calls(), Vec::<&str>::new());
}

/// Within a call of the handler, at the end of the grace time.
#[test]
fn a_connection_that_is_aborted_is_closed_once() {
    let diary = Diary::default();
    let gate = Gate::default();
    let class = {
        let gate = gate.clone();
        move |_: &_| {
            let gate = gate.clone();
            move |_: &mut StreamRequest| {
                gate.pass();
                Ok(Next::Close)
            }
        }
    };
    let settings = Builder::new().hooks(diary.clone()).grace(Duration::ZERO);
    let server = settings.tcp("127.0.0.1:0", class).unwrap().spawn().unwrap();
    let mut client = crate::support::Client::connect(server.server_address());
    client.say(b"hello\n");
    gate.wait_entered(1);
    server.handle().shutdown();
    server.handle().wait(None);
    assert_eq!(diary.calls(), ["opened"], "the handler still has it");
    gate.open(1);
    server.stop().unwrap();
    assert_eq!(diary.all_calls(), ["opened", "closed"]);
}

struct Panicking;

impl ServerHooks for Panicking {
    fn connection_opened(&self, _: &ClientAddress) {
        panic!("told to panic");
    }
    fn connection_closed(&self, _: &ClientAddress) {
        panic!("told to panic");
    }
}

#[test]
fn a_panic_of_these_hooks_is_counted_and_the_connection_is_served() {
    let mut client = TestConnection::new(Builder::new().hooks(Panicking), |_| Obedient);
    client.send(b"hello\n");
    assert_eq!(client.received(), b"hello\n");
    client.finish();
    assert!(client.is_closed());
    assert_eq!(client.server().stats().panics, 2);
}
