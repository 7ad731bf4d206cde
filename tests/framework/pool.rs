//! The pool: it grows when handlers block, shrinks when they don't, and queues at its cap.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use socketserver::{Builder, Next, Refusal, StreamRequest, ThreadingMixIn};

use crate::subjects::{Gated, Recorder};
use crate::support::{Client, Gate, Running, eventually};

pub(crate) fn serve(settings: Builder, least: usize, most: usize, gate: &Gate) -> Running {
    let pool = ThreadingMixIn::new().threads(least).max_threads(most);
    let settings = settings.process(pool);
    Running::start(settings.tcp("127.0.0.1:0", Gated::class(gate)).unwrap())
}

pub(crate) fn stopped_clients(server: &Running, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.say(b"stop\n");
    }
    clients
}

#[test]
fn others_are_served_while_handlers_block() {
    let gate = Gate::default();
    let server = serve(Builder::new(), 1, 8, &gate);
    let mut early = server.connect();
    early.say(b"early\n").hear(b"early\n");
    let mut stopped = stopped_clients(&server, 5);
    gate.wait_entered(5);
    early.say(b"parked since\n").hear(b"parked since\n");
    server.connect().say(b"new\n").hear(b"new\n");
    gate.open(5);
    for client in &mut stopped {
        client.hear(b"stop\n");
    }
}

#[test]
fn the_pool_grows_to_its_cap_and_the_rest_waits() {
    let gate = Gate::default();
    let server = serve(Builder::new(), 1, 4, &gate);
    let mut clients = stopped_clients(&server, 4);
    gate.wait_entered(4);
    clients.extend(stopped_clients(&server, 3));
    eventually("the rest is queued", || server.stats().queued == 3);
    let stats = server.stats();
    assert_eq!(
        (stats.threads, stats.active, stats.open, gate.entered()),
        (4, 4, 7, 4)
    );
    gate.open(1);
    gate.wait_entered(5);
    gate.open(6);
    for client in &mut clients {
        client.hear(b"stop\n");
    }
    assert_eq!((gate.entered(), server.stats().queued), (7, 0));
    assert_eq!(server.stats().threads, 4);
}

#[test]
fn a_queue_that_is_full_refuses_newcomers() {
    let (gate, hooks) = (Gate::default(), Recorder::default());
    let server = serve(
        Builder::new().hooks(hooks.clone()).max_queue(2),
        1,
        2,
        &gate,
    );
    let mut clients = stopped_clients(&server, 2);
    gate.wait_entered(2);
    for queued in 1..=3 {
        clients.push(server.connect());
        eventually("it is queued", || server.stats().queued == queued);
    }
    let mut refused = server.connect();
    eventually("a refusal waits for its thread", || {
        server.stats().refused(Refusal::QueueFull) == 1
    });
    gate.open(2);
    assert_eq!(refused.hear_end(), b"go away\n");
    for client in clients.iter_mut().skip(2) {
        client
            .say(b"served after all\n")
            .hear(b"served after all\n");
    }
    assert_eq!(hooks.refusals(), [Refusal::QueueFull]);
}

/// Threads beyond the least number leave after 2 s without work.
#[test]
fn the_pool_shrinks_when_its_threads_have_nothing_to_do() {
    let gate = Gate::default();
    let server = serve(Builder::new(), 2, 6, &gate);
    let mut clients = stopped_clients(&server, 6);
    gate.wait_entered(6);
    assert_eq!(server.stats().threads, 6);
    gate.open(6);
    for client in &mut clients {
        client.hear(b"stop\n");
    }
    eventually("it is as small as it was", || server.stats().threads == 2);
    clients[0].say(b"still served\n").hear(b"still served\n");
    let mut again = stopped_clients(&server, 6);
    gate.open(6);
    for client in &mut again {
        client.hear(b"stop\n");
    }
}

#[test]
fn a_handler_that_waits_for_another_connection_is_not_waited_for() {
    // Each client's handler blocks until the next client's has run: with a fixed number of threads
    // this locks up.
    let gate = Gate::default();
    let server = serve(Builder::new(), 1, 32, &gate);
    let mut clients = stopped_clients(&server, 20);
    gate.wait_entered(20);
    gate.open(20);
    for client in &mut clients {
        client.hear(b"stop\n");
    }
    assert!(server.stats().threads >= 20);
}

#[test]
fn handlers_that_usually_block_run_beside_each_other() {
    const CLIENTS: usize = 32;
    // Those that are in the handler just now, and the most that ever were.
    let within = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counts = Arc::clone(&within);
    let class = move |_: &_| {
        let within = Arc::clone(&counts);
        move |request: &mut StreamRequest| {
            if request.rfile.take_line(80)?.is_some() {
                within.1.fetch_max(
                    1 + within.0.fetch_add(1, Ordering::SeqCst),
                    Ordering::SeqCst,
                );
                std::thread::sleep(Duration::from_millis(10)); // as a database would
                within.0.fetch_sub(1, Ordering::SeqCst);
                request.wfile.write_all(b"done\n")?;
            }
            Ok(Next::Wait)
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    // On a busy machine it may take more rounds until the pool knows that they block. Two threads
    // for each look of the supervisor would make five.
    eventually("more than half of the handlers run at once", || {
        within.1.store(0, Ordering::SeqCst);
        for client in &mut clients {
            client.say(b"go\n");
        }
        for client in &mut clients {
            client.hear(b"done\n");
        }
        within.1.load(Ordering::SeqCst) > CLIENTS / 2
    });
}

#[test]
fn a_handler_that_writes_more_than_the_client_takes_holds_up_nobody_else() {
    const SIZE: usize = 16 << 20;
    let class = |_: &_| {
        |request: &mut StreamRequest| {
            match request.rfile.take_all() {
                b"flood" => request.wfile.write_all(&vec![b'x'; SIZE])?,
                _ => request.wfile.write_all(b"here\n")?,
            }
            Ok(Next::Wait)
        }
    };
    let pool = ThreadingMixIn::new().threads(1).max_threads(3);
    let server = Running::start(
        Builder::new()
            .process(pool)
            .tcp("127.0.0.1:0", class)
            .unwrap(),
    );
    let mut slow = [server.connect(), server.connect()];
    for client in &mut slow {
        client.say(b"flood").hear(b"x");
    }
    server.connect().say(b"anybody?").hear(b"here\n");
    for client in &mut slow {
        client.hear(&vec![b'x'; SIZE - 1]);
    }
}

#[test]
fn clients_that_never_pause_keep_out_no_newcomer() {
    let newcomer = Arc::new(AtomicBool::new(false));
    let comes = Arc::clone(&newcomer);
    let class = move |_: &_| {
        let comes = Arc::clone(&comes);
        move |request: &mut StreamRequest| {
            if request.rfile.take_all() == b"newcomer\n" {
                comes.store(true, Ordering::Relaxed);
            }
            // Whoever pipelines without an end always has another request there.
            if comes.load(Ordering::Relaxed) {
                request.wfile.write_all(b"at last\n")?;
            } else {
                return Ok(Next::Again);
            }
            Ok(Next::Wait)
        }
    };
    let server = Running::start(Builder::new().tcp("127.0.0.1:0", class).unwrap());
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut restless: Vec<Client> = (0..cores + 6).map(|_| server.connect()).collect();
    for client in &mut restless {
        client.say(b"go\n");
    }
    eventually(
        "more clients want a turn than there are threads awake",
        || server.stats().queued >= 6,
    );
    server.connect().say(b"newcomer\n").hear(b"at last\n");
    for client in &mut restless {
        client.hear(b"at last\n");
    }
}
