//! How a server ends: at once, after the requests in flight, or by force.

use std::io::Write;
use std::time::{Duration, Instant};

use socketserver::{
    Builder, DatagramRequest, Next, ProcessRequest, StreamRequest, Synchronous, TcpServer,
    ThreadPerRequest, ThreadingMixIn,
};

use crate::subjects::{Gated, Obedient};
use crate::support::{Client, Gate, PATIENCE, Running, assert_closed, eventually};

/// Long enough for what must not happen to happen.
const A_MOMENT: Duration = Duration::from_millis(30);

fn gated(settings: Builder, gate: &Gate) -> Running {
    Running::start(settings.tcp("127.0.0.1:0", Gated::class(gate)).unwrap())
}

/// The settings with each way to process that serves several connections at once.
fn concurrent() -> [Builder; 2] {
    [
        Builder::new().process(ThreadingMixIn::new()),
        Builder::new().process(ThreadPerRequest::new().daemon_threads(true)),
    ]
}

fn echo(process: impl ProcessRequest) -> TcpServer {
    Builder::new()
        .process(process)
        .tcp("127.0.0.1:0", |_: &_| Obedient)
        .unwrap()
}

#[test]
fn a_shutdown_before_serve_forever_has_it_return_at_once() {
    for mut server in [
        echo(ThreadingMixIn::new()),
        echo(ThreadPerRequest::new()),
        echo(Synchronous),
    ] {
        server.handle().shutdown();
        server.serve_forever().unwrap();
        assert!(server.handle().is_shutting_down());
    }
}

#[test]
fn a_shutdown_may_be_called_twice_and_from_many_threads() {
    for server in [
        echo(ThreadingMixIn::new()),
        echo(ThreadPerRequest::new()),
        echo(Synchronous),
    ] {
        let mut server = Running::start(server);
        server.connect().say(b"hello\n").hear(b"hello\n");
        let shutdown = || {
            server.handle.shutdown();
            server.handle.shutdown();
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(shutdown))));
        server.join();
        server.handle.shutdown();
        assert!(server.handle.wait(Some(Duration::ZERO)));
    }
}

#[test]
fn a_handler_may_shut_its_own_server_down() {
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            request.rfile.take_all();
            request.server.shutdown();
            request.wfile.write_all(b"bye\n")?;
            Ok(Next::Wait)
        }
    };
    for settings in concurrent()
        .into_iter()
        .chain([Builder::new().process(Synchronous)])
    {
        let mut server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"end").hear(b"bye\n");
        server.join();
        assert_eq!(client.hear_end(), b"");
        assert_eq!(server.stats().aborted, 0);
    }
}

#[test]
fn wait_tells_whether_the_server_has_ended_in_time() {
    let server = Running::start(echo(ThreadingMixIn::new()));
    server.connect().say(b"hello\n").hear(b"hello\n");
    assert!(!server.handle.wait(Some(Duration::from_millis(5))));
    let handle = server.handle.clone();
    let waiting = std::thread::spawn(move || handle.wait(None));
    server.stop();
    assert!(waiting.join().unwrap());
}

#[test]
fn wait_waits_for_a_server_that_does_not_serve_yet() {
    let server = echo(ThreadingMixIn::new());
    let handle = server.handle();
    assert!(
        !handle.wait(Some(Duration::from_millis(5))),
        "nothing has ended"
    );
    let server = Running::start(server);
    server.stop();
    assert!(handle.wait(None));
    let unused = echo(ThreadingMixIn::new());
    let handle = unused.handle();
    drop(unused);
    assert!(handle.wait(None), "it will never serve");
}

#[test]
fn a_request_in_flight_ends_and_an_idle_connection_closes_at_a_shutdown() {
    for settings in concurrent() {
        let gate = Gate::default();
        let mut server = gated(settings, &gate);
        let (mut busy, mut idle, mut silent) =
            (server.connect(), server.connect(), server.connect());
        idle.say(b"hello\n").hear(b"hello\n");
        busy.say(b"stop\n");
        gate.wait_entered(1);
        eventually("two of the three are parked", || {
            server.stats().open == 3 && server.handle.in_flight().len() == 1
        });
        let own = busy.socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(server.handle.in_flight()[0].client_address, own.into());

        server.handle.close();
        assert_eq!(idle.hear_end(), b"");
        assert_eq!(silent.hear_end(), b"");
        assert_closed(server.address());
        assert!(
            !server.handle.wait(Some(A_MOMENT)),
            "it waits for the request in flight"
        );
        gate.open(1);
        busy.hear(b"stop\n");
        assert_eq!(busy.hear_end(), b"");
        server.join();
        assert_eq!((server.stats().aborted, server.stats().open), (0, 0));
    }
}

#[test]
fn a_datagram_in_flight_is_answered_after_a_shutdown() {
    for settings in concurrent() {
        let gate = Gate::default();
        let pass = gate.clone();
        let class = move |_: &_| {
            let gate = pass.clone();
            move |request: &mut DatagramRequest| {
                gate.pass();
                request.reply(b"late")
            }
        };
        let mut server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
        let mut client = Client::datagrams(server.address());
        client.say(b"x");
        gate.wait_entered(1);
        server.handle.shutdown();
        assert!(!server.handle.wait(Some(A_MOMENT)));
        gate.open(1);
        client.hear(b"late");
        server.join();
    }
}

#[test]
fn a_message_that_is_half_there_may_be_finished_after_a_shutdown() {
    for settings in concurrent() {
        let mut server = gated(settings, &Gate::default());
        let mut client = server.connect();
        client.say(b"begun, ");
        eventually("the message is in flight", || {
            server.handle.in_flight().len() == 1 && server.stats().handled == 1
        });
        server.handle.shutdown();
        assert!(!server.handle.wait(Some(A_MOMENT)));
        client.say(b"ended\n").hear(b"begun, ended\n");
        assert_eq!(client.hear_end(), b"");
        server.join();
        assert_eq!(server.stats().aborted, 0);
    }
}

#[test]
fn what_outlasts_the_grace_time_is_cut_and_counted() {
    for settings in concurrent() {
        let gate = Gate::default();
        let mut server = gated(settings.grace(A_MOMENT), &gate);
        let (mut stuck, mut half) = (server.connect(), server.connect());
        half.say(b"half a mess");
        stuck.say(b"stop\n");
        gate.wait_entered(1);
        eventually("both are in flight", || {
            server.handle.in_flight().len() == 2 && server.stats().handled == 1
        });
        server.handle.shutdown();
        assert_eq!(half.hear_end(), b"");
        assert_eq!(stuck.hear_end(), b"");
        server.join();
        assert_eq!(server.stats().aborted, 2);
        gate.open(1);
        eventually("the stuck handler's connection ends too", || {
            server.stats().open == 0
        });
    }
}

#[test]
fn abort_does_not_wait_for_the_grace_time() {
    for settings in concurrent() {
        let gate = Gate::default();
        let mut server = gated(settings.grace(4 * PATIENCE), &gate);
        let mut client = server.connect();
        client.say(b"stop\n");
        gate.wait_entered(1);
        let begun = Instant::now();
        server.handle.abort();
        assert_eq!(client.hear_end(), b"");
        server.join();
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(server.stats().aborted, 1);
        gate.open(1);
    }
}

#[test]
fn a_blocking_handler_notices_that_it_was_cut() {
    for settings in concurrent() {
        let class = |_: &_| {
            |request: &mut StreamRequest| {
                while request.rfile.wait_for_more()? {}
                Ok(Next::Close)
            }
        };
        let mut server =
            Running::start(settings.grace(A_MOMENT).tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"x");
        eventually("the handler reads", || server.handle.in_flight().len() == 1);
        server.handle.shutdown();
        server.join();
        assert_eq!((server.stats().aborted, server.stats().open), (1, 0));
        client.hear_end();
    }
}

#[test]
fn a_slow_answer_goes_out_whole_after_a_shutdown() {
    const SIZE: usize = 8 << 20;
    for settings in concurrent() {
        let bytes: std::sync::Arc<[u8]> = vec![b'x'; SIZE].into();
        let class = move |_: &_| {
            let bytes = bytes.clone();
            move |request: &mut StreamRequest| {
                request.rfile.take_all();
                request.wfile.send_shared(bytes.clone(), 0..SIZE)?;
                Ok(Next::Wait)
            }
        };
        let mut server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"give").hear(b"xx");
        server.handle.shutdown();
        assert!(!server.handle.wait(Some(A_MOMENT)));
        assert_eq!(client.hear_end().len(), SIZE - 2);
        server.join();
        assert_eq!(server.stats().aborted, 0);
    }
}
