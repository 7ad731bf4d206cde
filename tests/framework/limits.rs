//! What a server refuses, and what it survives.

use std::sync::atomic::{AtomicUsize, Ordering};

use socketserver::{
    Builder, ClientAddress, Error, Refusal, ServerHooks, ThreadPerRequest, ThreadingMixIn,
};

use crate::subjects::{Obedient, Recorder};
use crate::support::{Client, Running, eventually};

fn serve(settings: Builder) -> Running {
    Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap())
}

#[test]
fn one_connection_more_than_may_be_open_is_refused_until_another_has_gone() {
    for settings in [
        Builder::new(),
        Builder::new().process(ThreadPerRequest::new()),
    ] {
        let hooks = Recorder::default();
        let server = serve(settings.hooks(hooks.clone()).max_connections(2));
        let mut first = server.connect();
        first.say(b"one\n").hear(b"one\n");
        let second = server.connect();
        eventually("the second is open", || server.stats().open == 2);
        assert_eq!(server.connect().hear_end(), b"go away\n");
        assert_eq!(hooks.refusals(), [Refusal::MaxConnections]);
        drop(second);
        eventually("the second has gone", || server.stats().open == 1);
        server.connect().say(b"welcome\n").hear(b"welcome\n");
        first.say(b"unharmed\n").hear(b"unharmed\n");
        let stats = server.stop();
        assert_eq!(
            (
                stats.refused(Refusal::MaxConnections),
                stats.refused_total(),
                stats.accepted
            ),
            (1, 1, 4)
        );
    }
}

#[test]
fn one_address_may_not_take_all_connections() {
    let hooks = Recorder::default();
    let server = serve(Builder::new().hooks(hooks.clone()).max_per_address(Some(2)));
    let mut own: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut own {
        client.say(b"in\n").hear(b"in\n");
    }
    assert_eq!(server.connect().hear_end(), b"go away\n");
    Client::connect_from("127.0.0.2", server.address())
        .say(b"another\n")
        .hear(b"another\n");
    own.pop();
    eventually("one has gone", || server.stats().open == 1);
    server.connect().say(b"again\n").hear(b"again\n");
    assert_eq!(hooks.refusals(), [Refusal::MaxPerAddress]);
}

#[test]
fn a_panic_costs_one_connection() {
    let hooks = Recorder::default();
    let pool = ThreadingMixIn::new().threads(1).max_threads(1);
    let server = serve(Builder::new().process(pool).hooks(hooks.clone()));
    let mut neighbour = server.connect();
    neighbour.say(b"before\n").hear(b"before\n");
    for _ in 0..5 {
        assert_eq!(
            server
                .connect()
                .say(b"answered\npanic\n")
                .hear(b"answered\n")
                .hear_end(),
            b""
        );
    }
    neighbour.say(b"after\n").hear(b"after\n");
    assert_eq!((server.stats().panics, server.stats().threads), (5, 1));
    assert_eq!(hooks.errors(), ["the handler panicked: told to panic"; 5]);
}

#[test]
fn a_class_or_hook_that_panics_costs_one_connection_too() {
    struct Rude;
    impl ServerHooks for Rude {
        fn handle_error(&self, _: &ClientAddress, _: &Error) {
            panic!("the hook panics as well");
        }
    }
    let made = AtomicUsize::new(0);
    let class = move |_: &_| {
        assert!(
            made.fetch_add(1, Ordering::SeqCst) > 0,
            "the first can't be made"
        );
        Obedient
    };
    let pool = ThreadingMixIn::new().threads(1).max_threads(1);
    let server = Running::start(
        Builder::new()
            .process(pool)
            .hooks(Rude)
            .tcp("127.0.0.1:0", class)
            .unwrap(),
    );
    assert_eq!(server.connect().hear_end(), b"");
    server.connect().say(b"the second\n").hear(b"the second\n");
    assert_eq!((server.stats().panics, server.stats().threads), (1, 1));
}

#[test]
fn a_client_that_vanishes_is_no_error() {
    let hooks = Recorder::default();
    let server = serve(Builder::new().hooks(hooks.clone()));
    for greeting in [&b""[..], b"half", b"whole\n"] {
        let mut client = server.connect();
        client.say(greeting);
        client.reset();
    }
    eventually("all have gone", || {
        server.stats().accepted == 3 && server.stats().open == 0
    });
    assert_eq!((hooks.errors().len(), server.stats().failed), (0, 0));
}
