//! What is particular to one way to process: who waits for whom at the end, how many serve at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use socketserver::{
    Builder, DatagramRequest, Error, ForkingMixIn, Next, ProcessRequest, Request, StreamRequest,
    Synchronous, TcpServer, ThreadPerRequest, ThreadingMixIn, Timeouts,
};

use crate::subjects::{Obedient, Recorder};
use crate::support::{Client, Gate, PATIENCE, Running, eventually};

/// A server whose handlers stop at a gate before they close; `done` counts them afterwards.
fn gated(process: impl ProcessRequest, gate: &Gate, done: &Arc<AtomicUsize>) -> TcpServer {
    let (gate, done) = (gate.clone(), Arc::clone(done));
    let class = move |_: &_| {
        let (gate, done) = (gate.clone(), Arc::clone(&done));
        move |request: &mut StreamRequest| {
            request.rfile.take_all();
            gate.pass();
            done.fetch_add(1, Ordering::SeqCst);
            Ok(Next::Close)
        }
    };
    Builder::new()
        .process(process)
        .timeout(Some(PATIENCE))
        .tcp("127.0.0.1:0", class)
        .unwrap()
}

#[test]
fn server_close_waits_for_the_threads() {
    let (gate, done) = (Gate::default(), Arc::default());
    let mut server = gated(ThreadPerRequest::new(), &gate, &done);
    let mut client = Client::connect(server.server_address());
    client.say(b"x");
    server.handle_request().unwrap();
    gate.wait_entered(1);
    let (tell, closed) = mpsc::channel();
    let closing = std::thread::spawn(move || {
        server.server_close();
        tell.send(()).unwrap();
    });
    closed.recv_timeout(Duration::from_millis(30)).unwrap_err();
    gate.open(1);
    closed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
    closing.join().unwrap();
}

#[test]
fn server_close_leaves_daemon_threads_to_themselves() {
    for process in [
        ThreadPerRequest::new().daemon_threads(true),
        ThreadPerRequest::new().block_on_close(false),
    ] {
        let (gate, done) = (Gate::default(), Arc::default());
        let mut server = gated(process, &gate, &done);
        let mut client = Client::connect(server.server_address());
        client.say(b"x");
        server.handle_request().unwrap();
        gate.wait_entered(1);
        server.server_close();
        assert_eq!(done.load(Ordering::SeqCst), 0);
        gate.open(1);
        assert_eq!(client.hear_end(), b"");
    }
}

#[test]
fn thread_per_request_serves_as_many_at_once_as_it_may() {
    let (gate, done) = (Gate::default(), Arc::default());
    let server = Running::start(gated(ThreadPerRequest::new().max_threads(2), &gate, &done));
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.say(b"x");
    }
    gate.wait_entered(2);
    gate.open(1);
    gate.wait_entered(3);
    assert_eq!(
        done.load(Ordering::SeqCst),
        1,
        "the third came when the first had ended"
    );
    gate.open(2);
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.hear_end(), b""));
}

#[test]
fn a_thread_per_request_serves_others_while_one_is_busy_or_idle() {
    let server = Builder::new()
        .process(ThreadPerRequest::new())
        .tcp("127.0.0.1:0", |_: &_| Obedient)
        .unwrap();
    let server = Running::start(server);
    let idle = server.connect();
    server.connect().say(b"served\n").hear(b"served\n");
    drop(idle);
}

#[test]
fn synchronously_the_next_client_is_served_when_the_first_has_gone() {
    let server = Builder::new()
        .process(Synchronous)
        .tcp("127.0.0.1:0", |_: &_| Obedient)
        .unwrap();
    let server = Running::start(server);
    let mut first = server.connect();
    first.say(b"first\n").hear(b"first\n");
    let mut second = server.connect();
    second.say(b"second\n");
    first.say(b"still first\n").hear(b"still first\n");
    assert_eq!(server.stats().accepted, 1);
    drop(first);
    second.hear(b"second\n");
}

#[test]
fn forking_is_refused_in_a_process_that_has_other_threads() {
    let mut server = Builder::new()
        .process(ForkingMixIn::new())
        .tcp("127.0.0.1:0", |_: &_| Obedient)
        .unwrap();
    for refused in [server.serve_forever(), server.handle_request()] {
        let error = refused.unwrap_err();
        assert!(
            matches!(&error, Error::Unsupported(why) if why.contains("single thread")),
            "{error}"
        );
    }
}

#[test]
fn one_pool_serves_several_servers() {
    let pool = ThreadingMixIn::new().threads(2).max_threads(2);
    let tcp = Builder::new()
        .process(pool.clone())
        .tcp("127.0.0.1:0", |_: &_| Obedient)
        .unwrap();
    let udp = Builder::new()
        .process(pool.clone())
        .udp("127.0.0.1:0", |_: &_| Obedient)
        .unwrap();
    let (tcp, udp) = (Running::start(tcp), Running::start(udp));
    tcp.connect().say(b"stream\n").hear(b"stream\n");
    Client::datagrams(udp.address())
        .say(b"packet")
        .hear(b"packet");
    assert_eq!((tcp.stats().threads, udp.stats().threads), (2, 2));
    tcp.stop();
    Client::datagrams(udp.address())
        .say(b"the other goes on")
        .hear(b"the other goes on");
}

/// Counts the requests, and serves them on the accepting thread.
struct Counting(Arc<AtomicUsize>);

impl ProcessRequest for Counting {
    fn process_request(&self, request: Request) {
        assert!(request.client_address().ip().unwrap().is_loopback());
        self.0.fetch_add(1, Ordering::SeqCst);
        request.run();
    }
}

#[test]
fn a_way_to_process_can_be_ones_own() {
    let count = Arc::new(AtomicUsize::new(0));
    let settings = || Builder::new().process(Counting(Arc::clone(&count)));
    let streams = Running::start(settings().tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
    streams.connect().say(b"own\n").hear(b"own\n");
    let datagrams = Running::start(settings().udp("127.0.0.1:0", |_: &_| Obedient).unwrap());
    Client::datagrams(datagrams.address())
        .say(b"own")
        .hear(b"own");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn a_request_that_is_thrown_away_is_closed_and_no_longer_counted() {
    struct Careless;
    impl ProcessRequest for Careless {
        fn process_request(&self, request: Request) {
            drop(request);
        }
    }
    let server = Builder::new()
        .process(Careless)
        .tcp("127.0.0.1:0", |_: &_| Obedient)
        .unwrap();
    let server = Running::start(server);
    assert_eq!(server.connect().hear_end(), b"");
    eventually("nothing is open", || server.stats().open == 0);
}

#[test]
fn datagrams_are_served_while_one_of_their_handlers_blocks() {
    let gate = Gate::default();
    let pass = gate.clone();
    let class = move |_: &_| {
        let gate = pass.clone();
        move |request: &mut DatagramRequest| {
            if request.packet() == b"stop" {
                gate.pass();
            }
            request.reply(request.packet())
        }
    };
    let pool = ThreadingMixIn::new().threads(1).max_threads(2);
    let server = Running::start(
        Builder::new()
            .process(pool)
            .udp("127.0.0.1:0", class)
            .unwrap(),
    );
    let mut stopped = Client::datagrams(server.address());
    stopped.say(b"stop");
    gate.wait_entered(1);
    let mut other = Client::datagrams(server.address());
    for _ in 0..10 {
        other.say(b"go").hear(b"go");
    }
    gate.open(1);
    stopped.hear(b"stop");
}

#[test]
fn a_refused_client_takes_no_thread_and_holds_up_nobody() {
    let threads = ThreadPerRequest::new().max_threads(2);
    for (settings, served) in [
        (Builder::new().process(threads), 1),
        (Builder::new().process(Synchronous), 0),
    ] {
        let mut timeouts = Timeouts::default();
        timeouts.linger = Some(4 * PATIENCE);
        let server = settings
            .hooks(Recorder::default())
            .timeouts(timeouts)
            .max_connections(served)
            .tcp("127.0.0.1:0", |_: &_| Obedient)
            .unwrap();
        let server = Running::start(server);
        let clients: Vec<Client> = (0..served).map(|_| server.connect()).collect();
        for mut client in clients {
            client.say(b"served\n").hear(b"served\n");
            // None of them closes: each lingers for longer than the next would wait.
            let mut refused: Vec<Client> = (0..3).map(|_| server.connect()).collect();
            for client in &mut refused {
                client.hear(b"go away\n");
            }
            client.say(b"still served\n").hear(b"still served\n");
        }
        if served == 0 {
            let mut refused: Vec<Client> = (0..3).map(|_| server.connect()).collect();
            for client in &mut refused {
                client.hear(b"go away\n");
            }
        }
        server.stop();
    }
}
