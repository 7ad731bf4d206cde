//! What CPython's `Lib/test/test_socketserver.py` asks of every server with every mix-in.

use std::time::{Duration, Instant};

use socketserver::{Builder, Synchronous, ThreadPerRequest, ThreadingMixIn};

use crate::subjects::{AnyServer, Kind, Obedient, Recorder};
use crate::support::{PATIENCE, TestDir, eventually};

type Way = fn(Builder) -> Builder;

/// A kind of server, with a way to process its requests.
struct Case {
    kind: Kind,
    way: Way,
    dir: TestDir,
}

impl Case {
    fn new(kind: Kind, way: Way) -> Case {
        Case {
            kind,
            way,
            dir: TestDir::new(),
        }
    }

    fn server(&self, settings: Builder) -> Box<dyn AnyServer> {
        self.kind.build((self.way)(settings), &self.dir, Obedient)
    }
}

fn echo(case: &Case) {
    let server = case.server(Builder::new()).start();
    for name in ["one\n", "two\n", "three\n"] {
        case.kind
            .connect(server.address())
            .say(name.as_bytes())
            .hear(name.as_bytes());
    }
    assert_eq!(server.stop().accepted, 3);
}

fn shutdown_while_idle(case: &Case) {
    let server = case.server(Builder::new()).start();
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < PATIENCE);
}

fn shutdown_with_an_idle_client(case: &Case) {
    let server = case.server(Builder::new().grace(PATIENCE)).start();
    let mut client = case.kind.connect(server.address());
    client.say(b"hello\n").hear(b"hello\n");
    let stats = server.stop();
    assert_eq!((stats.aborted, stats.open), (0, 0));
    if case.kind.is_stream() {
        assert_eq!(client.hear_end(), b"");
    }
}

fn handle_request(case: &Case) {
    let hooks = Recorder::default();
    let mut server = case.server(Builder::new().hooks(hooks.clone()).timeout(Some(PATIENCE)));
    // Synchronously, the request is served to its end before the answer is read.
    let mut client = case.kind.connect(server.server_address());
    client.say(b"first\n");
    if case.kind.is_stream() {
        client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    }
    server.handle_request().unwrap();
    client.hear(b"first\n");
    assert_eq!((hooks.timeouts(), server.handle().stats().accepted), (0, 1));
    let mut second = case.kind.connect(server.server_address());
    second.say(b"second\n");
    if case.kind.is_stream() {
        second.socket.shutdown(std::net::Shutdown::Write).unwrap();
    }
    server.handle_request().unwrap();
    second.hear(b"second\n");
    server.server_close();
}

fn handle_request_times_out(case: &Case) {
    let hooks = Recorder::default();
    let mut server = case.server(
        Builder::new()
            .hooks(hooks.clone())
            .timeout(Some(Duration::from_millis(20))),
    );
    server.handle_request().unwrap();
    assert_eq!(hooks.timeouts(), 1);
    server.handle_request().unwrap();
    assert_eq!(hooks.timeouts(), 2);
}

fn failures(case: &Case) {
    let hooks = Recorder::default();
    let server = case.server(Builder::new().hooks(hooks.clone())).start();
    for order in ["fail\n", "panic\n"] {
        let mut client = case.kind.connect(server.address());
        client.say(order.as_bytes());
        if case.kind.is_stream() {
            assert_eq!(client.hear_end(), b"", "a failed connection is closed");
        }
    }
    case.kind
        .connect(server.address())
        .say(b"still here\n")
        .hear(b"still here\n");
    eventually("both failures reach the hook", || hooks.errors().len() == 2);
    let mut errors = hooks.errors();
    errors.sort();
    assert_eq!(
        errors,
        ["the handler panicked: told to panic", "told to fail"]
    );
    let stats = server.stop();
    assert_eq!((stats.failed, stats.panics), (1, 1));
}

fn verify_request(case: &Case) {
    let hooks = Recorder::default();
    let server = case.server(Builder::new().hooks(hooks.clone())).start();
    hooks.deny(true);
    let mut denied = case.kind.connect(server.address());
    denied.say(b"panic\n");
    if case.kind.is_stream() {
        assert_eq!(denied.hear_end(), b"go away\n");
    }
    drop(denied);
    eventually("the refusal is counted", || {
        server.stats().refused_total() == 1
    });
    hooks.deny(false);
    case.kind
        .connect(server.address())
        .say(b"welcome\n")
        .hear(b"welcome\n");
    assert_eq!(server.stop().panics, 0);
}

fn service_actions(case: &Case) {
    let hooks = Recorder::default();
    let server = case
        .server(
            Builder::new()
                .hooks(hooks.clone())
                .poll_interval(Duration::from_millis(2)),
        )
        .start();
    eventually("service_actions is called again and again", || {
        hooks.actions() >= 3
    });
    case.kind
        .connect(server.address())
        .say(b"meanwhile\n")
        .hear(b"meanwhile\n");
    server.stop();
}

/// The same address can be had again: after `server_close`, after the end of a server that was
/// closed by its handle, and after dropping.
fn closing(case: &Case) {
    let again = |server: &dyn AnyServer| server.server_address().to_string();
    let bind = |address: &str| -> socketserver::Result<()> {
        let class = |_: &_| Obedient;
        match case.kind {
            Kind::Tcp | Kind::UnixStream => Builder::new().bind(address, class).map(drop),
            Kind::Udp | Kind::UnixDatagram => {
                Builder::new().bind_datagram(address, class).map(drop)
            }
        }
    };
    let immediately = case.server(Builder::new());
    let address = again(&*immediately);
    bind(&address).unwrap_err();
    immediately.server_close();
    bind(&address).unwrap();

    let mut served = case.server(Builder::new());
    let address = again(&*served);
    served.handle().shutdown();
    served.serve_forever().unwrap();
    bind(&address).unwrap_err();
    served.server_close();
    bind(&address).unwrap();

    let mut closed = case.server(Builder::new());
    let address = again(&*closed);
    closed.handle().close();
    closed.serve_forever().unwrap();
    bind(&address).unwrap();
    closed.serve_forever().unwrap();

    let dropped = case.server(Builder::new());
    let address = again(&*dropped);
    drop(dropped);
    bind(&address).unwrap();
}

macro_rules! promises {
    ($($kind_name:ident($kind:expr) { $($way_name:ident($way:expr))* })*) => {$(mod $kind_name {
    $(mod $way_name {
        use crate::promises::*;

        fn case() -> Case {
            Case::new($kind, |settings| settings.process($way))
        }

        #[test]
        fn a_line_comes_back_to_each_of_three_clients() {
            echo(&case());
        }

        #[test]
        fn shutdown_ends_a_server_that_nobody_uses() {
            shutdown_while_idle(&case());
        }

        #[test]
        fn shutdown_ends_a_server_whose_client_is_idle() {
            shutdown_with_an_idle_client(&case());
        }

        #[test]
        fn handle_request_serves_one_request() {
            handle_request(&case());
        }

        #[test]
        fn handle_request_tells_when_nobody_came_in_time() {
            handle_request_times_out(&case());
        }

        #[test]
        fn a_failure_or_panic_is_reported_and_the_server_goes_on() {
            failures(&case());
        }

        #[test]
        fn a_client_that_is_not_verified_has_no_handler() {
            verify_request(&case());
        }

        #[test]
        fn service_actions_runs_while_the_server_serves() {
            service_actions(&case());
        }

        #[test]
        fn a_closed_server_leaves_its_address_to_the_next() {
            closing(&case());
        }
    })*})*};
}

macro_rules! every_way {
    ($($kind_name:ident($kind:expr))*) => {
        promises! {$($kind_name($kind) {
            synchronous(Synchronous)
            threading_mix_in(ThreadingMixIn::new())
            thread_per_request(ThreadPerRequest::new())
        })*}
    };
}

every_way! {
    tcp_server(Kind::Tcp)
    udp_server(Kind::Udp)
    unix_stream_server(Kind::UnixStream)
    unix_datagram_server(Kind::UnixDatagram)
}
