//! What a server owes its clients when `serve_forever` has returned, and when it is dropped: the
//! socket listens on, requests in flight are waited for, and it can serve again.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use socketserver::{
    Builder, Next, ProcessRequest, Server, StreamRequest, Synchronous, ThreadPerRequest,
    ThreadingMixIn,
};

use crate::subjects::{Obedient, Recorder};
use crate::support::{Client, Gate, PATIENCE, Running, assert_closed, eventually};

/// Long enough for what must not happen to happen.
const A_MOMENT: Duration = Duration::from_millis(30);

fn echo(process: impl ProcessRequest) -> Server {
    Builder::new()
        .process(process)
        .timeout(Some(PATIENCE))
        .tcp("127.0.0.1:0", |_: &_| Obedient)
        .unwrap()
}

fn one_of_each_model() -> [Server; 3] {
    [
        echo(ThreadingMixIn::new()),
        echo(ThreadPerRequest::new()),
        echo(Synchronous),
    ]
}

/// Runs `serve_forever` while `meanwhile` runs, and then shuts it down.
fn serve_while(server: &mut Server, meanwhile: impl FnOnce() + Send) {
    let handle = server.handle();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            meanwhile();
            handle.shutdown();
        });
        server.serve_forever().unwrap();
    });
}

/// A server whose handlers stop at a gate, and then answer `done`.
fn gated(settings: Builder, gate: &Gate) -> Server {
    let gate = gate.clone();
    let class = move |_: &_| {
        let gate = gate.clone();
        move |request: &mut StreamRequest| {
            request.rfile.take_all();
            gate.pass();
            request.wfile.write_all(b"done")?;
            Ok(Next::Close)
        }
    };
    settings
        .timeout(Some(PATIENCE))
        .tcp("127.0.0.1:0", class)
        .unwrap()
}

fn concurrent() -> [Builder; 2] {
    [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
    ]
}

#[test]
fn serve_forever_works_again_after_a_shutdown_and_serves_those_who_came_meanwhile() {
    for mut server in one_of_each_model() {
        let address = server.server_address().clone();
        serve_while(&mut server, || {
            Client::connect(&address).say(b"first\n").hear(b"first\n");
        });
        assert!(server.handle().is_shutting_down());
        let mut meanwhile = Client::connect(&address);
        meanwhile.say(b"early\n");
        serve_while(&mut server, || {
            meanwhile.hear(b"early\n");
            drop(meanwhile);
            Client::connect(&address).say(b"again\n").hear(b"again\n");
        });
        assert_eq!(server.handle().stats().accepted, 3);
        drop(server);
        assert_closed(&address);
    }
}

#[test]
fn a_shutdown_after_the_end_counts_for_the_next_serve_forever_only() {
    for mut server in one_of_each_model() {
        let address = server.server_address().clone();
        serve_while(&mut server, || {});
        server.handle().shutdown();
        server.serve_forever().unwrap();
        serve_while(&mut server, || {
            Client::connect(&address).say(b"again\n").hear(b"again\n");
        });
    }
}

#[test]
fn handle_request_works_after_serve_forever() {
    for mut server in one_of_each_model() {
        serve_while(&mut server, || {});
        let mut client = Client::connect(server.server_address());
        client.say(b"one\nclose\n");
        server.handle_request().unwrap();
        client.hear(b"one\n");
    }
}

#[test]
fn wait_waits_for_the_end_of_the_present_serve_forever() {
    let mut server = echo(ThreadingMixIn::new());
    let handle = server.handle();
    serve_while(&mut server, || {});
    assert!(handle.wait(Some(Duration::ZERO)));
    let address = server.server_address().clone();
    serve_while(&mut server, || {
        Client::connect(&address).say(b"served\n").hear(b"served\n");
        assert!(!handle.wait(Some(A_MOMENT)));
    });
    assert!(handle.wait(Some(Duration::ZERO)));
}

#[test]
fn a_closed_server_never_serves_again() {
    for mut server in one_of_each_model() {
        let address = server.server_address().clone();
        let handle = server.handle();
        serve_while(&mut server, || handle.close());
        assert_closed(&address);
        server.serve_forever().unwrap();
        server.handle_request().unwrap();
    }
}

#[test]
fn dropping_a_server_waits_for_the_requests_in_flight() {
    for settings in concurrent() {
        let gate = Gate::default();
        let mut server = gated(settings, &gate);
        let mut client = Client::connect(server.server_address());
        client.say(b"x");
        server.handle_request().unwrap();
        gate.wait_entered(1);
        let (tell, dropped) = mpsc::channel();
        let dropping = std::thread::spawn(move || {
            drop(server);
            tell.send(()).unwrap();
        });
        dropped.recv_timeout(A_MOMENT).unwrap_err();
        gate.open(1);
        dropped.recv_timeout(PATIENCE).unwrap();
        assert_eq!(client.hear_end(), b"done");
        dropping.join().unwrap();
    }
}

#[test]
fn dropping_a_server_does_not_wait_for_the_requests_of_another() {
    let pool = ThreadingMixIn::new();
    let threads = ThreadPerRequest::new();
    for [first, second] in [
        [echo(pool.clone()), echo(pool)],
        [echo(threads.clone()), echo(threads)],
    ] {
        let second = Running::start(second);
        let mut client = second.connect();
        client.say(b"hello\n").hear(b"hello\n");
        let first = Running::start(first);
        first.connect().say(b"hello\n").hear(b"hello\n");
        first.stop();
        client.say(b"goes on\n").hear(b"goes on\n");
    }
}

#[test]
fn dropping_a_server_aborts_what_outlasts_the_grace_time() {
    let gate = Gate::default();
    let settings = Builder::new().grace(A_MOMENT);
    let mut server = gated(settings, &gate);
    let handle = server.handle();
    let mut client = Client::connect(server.server_address());
    client.say(b"x");
    server.handle_request().unwrap();
    gate.wait_entered(1);
    drop(server);
    assert_eq!(client.hear_end(), b"");
    assert_eq!(handle.stats().aborted, 1);
    gate.open(1);
}

#[test]
fn what_waits_for_a_thread_at_the_end_of_the_grace_time_never_runs() {
    let gate = Gate::default();
    let pool = ThreadingMixIn::new().threads(1).max_threads(1);
    let settings = Builder::new().process(pool).grace(A_MOMENT);
    let mut server = Running::start(gated(settings, &gate));
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.say(b"x");
    }
    gate.wait_entered(1);
    eventually("two wait for the thread", || server.stats().open == 3);
    server.handle.shutdown();
    server.join();
    assert_eq!(server.stats().aborted, 3);
    gate.open(3);
    eventually("all have ended", || server.stats().open == 0);
    for client in &mut clients {
        assert_eq!(client.hear_end(), b"");
    }
    assert_eq!(gate.entered(), 1);
}

#[test]
fn the_idle_connections_of_handle_request_end_with_a_shutdown_or_with_the_server() {
    for is_shut_down in [true, false] {
        for process in [
            Builder::new().process(ThreadingMixIn::new()),
            Builder::new().process(ThreadPerRequest::new()),
        ] {
            let mut server = process
                .timeout(Some(PATIENCE))
                .tcp("127.0.0.1:0", |_: &_| Obedient)
                .unwrap();
            let mut client = Client::connect(server.server_address());
            client.say(b"hello\n");
            server.handle_request().unwrap();
            client.hear(b"hello\n");
            if is_shut_down {
                server.handle().shutdown();
                assert_eq!(client.hear_end(), b"");
            }
            let handle = server.handle();
            drop(server);
            assert_eq!(client.hear_end(), b"");
            assert_eq!((handle.stats().open, handle.stats().aborted), (0, 0));
        }
    }
}

#[test]
fn waiting_for_the_own_server_in_a_handler_returns_at_once() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            request.server.shutdown();
            let ended = request.server.wait(None);
            write!(request.wfile, "{ended}")?;
            Ok(Next::Close)
        }
    };
    for settings in concurrent()
        .into_iter()
        .chain([Builder::new().process(Synchronous)])
    {
        let mut server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        assert_eq!(server.connect().say(b"x").hear_end(), b"false");
        server.join();
        assert_eq!(server.stats().aborted, 0);
    }
}

#[test]
fn settings_without_end_work_like_any_other() {
    let hooks = Recorder::default();
    for process in [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new()),
        Builder::new().process(Synchronous),
    ] {
        let mut server = process
            .hooks(hooks.clone())
            .grace(Duration::MAX)
            .poll_interval(Duration::MAX)
            .timeout(Some(Duration::MAX))
            .tcp("127.0.0.1:0", |_: &_| Obedient)
            .unwrap();
        let mut client = Client::connect(server.server_address());
        client.say(b"one\nclose\n");
        server.handle_request().unwrap();
        client.hear(b"one\n");
        let running = Running::start(server);
        running.connect().say(b"two\n").hear(b"two\n");
        let handle = running.handle.clone();
        let waiting = std::thread::spawn(move || handle.wait(Some(Duration::MAX)));
        running.stop();
        assert!(waiting.join().unwrap());
    }
    assert_eq!(hooks.actions(), 0);
}

#[test]
fn service_actions_is_called_while_as_many_are_served_as_may_be() {
    let (gate, hooks) = (Gate::default(), Recorder::default());
    let settings = Builder::new()
        .process(ThreadPerRequest::new().max_threads(1))
        .hooks(hooks.clone())
        .poll_interval(Duration::from_millis(1));
    let server = Running::start(gated(settings, &gate));
    let mut client = server.connect();
    client.say(b"x");
    gate.wait_entered(1);
    let before = hooks.actions();
    eventually("service_actions is called again and again", || {
        hooks.actions() > before + 3
    });
    gate.open(1);
    assert_eq!(client.hear_end(), b"done");
}
