//! A server on a thread of its own: `Server::spawn`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socketserver::{
    Builder, Error, ForkingMixIn, Next, ServerGuard, StreamRequest, Synchronous, ThreadPerRequest,
};

use crate::subjects::Obedient;
use crate::support::{Client, Gate, PATIENCE, is_listening};

fn spawn(settings: Builder) -> ServerGuard {
    let server = settings.tcp("127.0.0.1:0", |_| Obedient).unwrap();
    server.spawn().unwrap()
}

#[test]
fn a_spawned_server_serves_until_it_is_stopped() {
    for settings in [
        Builder::new(),
        Builder::new().process(Synchronous),
        Builder::new().process(ThreadPerRequest::new()),
    ] {
        let server = spawn(settings);
        let address = server.server_address().clone();
        assert_eq!(server.server_addresses(), std::slice::from_ref(&address));
        let mut client = Client::connect(&address);
        client.say(b"hello\n").hear(b"hello\n");
        assert_eq!(server.handle().stats().open, 1);
        let handle = server.handle().clone();
        server.stop().unwrap();
        assert_eq!(client.hear_end(), b"");
        assert!(handle.is_shutting_down() && !is_listening(&address));
    }
}

#[test]
fn a_drop_ends_a_spawned_server_and_waits_for_it() {
    let server = spawn(Builder::new());
    let address = server.server_address().clone();
    let handle = server.handle().clone();
    drop(server);
    assert!(!is_listening(&address) && handle.wait(None));
}

#[test]
fn a_join_waits_until_another_thread_shuts_the_server_down() {
    let server = spawn(Builder::new());
    let handle = server.handle().clone();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || handle.shutdown());
        server.join().unwrap();
    });
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_drop_by_a_panic_waits_for_no_handler_beyond_the_grace_time() {
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
    let settings = Builder::new().process(ThreadPerRequest::new());
    let settings = settings.grace(Duration::ZERO);
    let server = settings.tcp("127.0.0.1:0", class).unwrap().spawn().unwrap();
    let mut client = Client::connect(server.server_address());
    client.say(b"hello\n");
    gate.wait_entered(1);
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let dropping = || {
            let _server = server;
            panic!("told to panic");
        };
        let dropped = catch_unwind(AssertUnwindSafe(dropping));
        send.send(dropped.is_err())
    });
    let dropped = receive.recv_timeout(PATIENCE);
    gate.open(1);
    assert_eq!(dropped, Ok(true));
}

#[test]
fn a_handler_may_stop_its_own_server() {
    let (send, receive) = mpsc::channel();
    let guard = Arc::new(Mutex::new(None::<ServerGuard>));
    let class = {
        let guard = Arc::clone(&guard);
        move |_: &_| {
            let (guard, send) = (Arc::clone(&guard), send.clone());
            move |_: &mut StreamRequest| {
                let server = guard.lock().take().unwrap();
                send.send(server.stop()).unwrap();
                Ok(Next::Close)
            }
        }
    };
    let server = Builder::new().tcp("127.0.0.1:0", class).unwrap().spawn();
    let server = server.unwrap();
    let (address, handle) = (server.server_address().clone(), server.handle().clone());
    *guard.lock() = Some(server);
    Client::connect(&address).say(b"stop\n").hear_end();
    let stopped = receive.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(stopped, Err(Error::Unsupported(_))), "{stopped:?}");
    assert!(handle.wait(Some(PATIENCE)));
}

#[test]
fn a_forking_server_cannot_be_spawned() {
    let settings = Builder::new().process(ForkingMixIn::new());
    let server = settings.tcp("127.0.0.1:0", |_| Obedient).unwrap();
    let error = server.spawn().unwrap_err();
    assert!(
        error.to_string().contains("call `serve_forever`"),
        "{error}"
    );
}
