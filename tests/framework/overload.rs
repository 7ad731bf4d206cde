//! A pool whose threads are all busy: what needs no thread goes on, and connections end in time.

use std::io::{BufRead, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socketserver::{
    Builder, ClientAddress, Next, Refusal, Result, ServerAddress, ServerHooks, StreamRequest,
    StreamRequestHandler, ThreadingMixIn, Traffic,
};

use crate::pool::{serve, stopped_clients};
use crate::subjects::{Obedient, Recorder};
use crate::support::{BoundedCommand, Client, Gate, PATIENCE, Running, eventually};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_refused_closes_while_all_threads_are_busy() {
    let (gate, hooks) = (Gate::default(), Recorder::default());
    let settings = Builder::new().hooks(hooks.clone()).max_queue(2);
    let server = serve(settings, 1, 2, &gate);
    let mut clients = stopped_clients(&server, 2);
    gate.wait_entered(2);
    for queued in 1..=3 {
        clients.push(server.connect());
        eventually("it is queued", || server.stats().queued == queued);
    }
    let begun = Instant::now();
    let mut refused: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for client in &mut refused {
        assert_eq!(client.hear_end(), b"go away\n");
    }
    assert!(begun.elapsed() < PATIENCE / 2, "they waited for a thread");
    assert_eq!(server.stats().refused(Refusal::QueueFull), 100);
    assert_eq!(server.stats().queued, 3, "the queue is bounded");
    drop(refused);
    gate.open(2);
    eventually("all that were refused are gone", || {
        server.stats().open == 5
    });
}

#[test]
fn an_idle_connection_expires_while_all_threads_are_busy() {
    let (gate, hooks) = (Gate::default(), Recorder::default());
    let settings = Builder::new()
        .hooks(hooks.clone())
        .idle_timeout(Some(2 * SECOND));
    let server = serve(settings, 1, 2, &gate);
    let mut idle: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut idle {
        client.say(b"hello\n").hear(b"hello\n");
    }
    let _stopped = stopped_clients(&server, 2);
    gate.wait_entered(2);
    // The gate stays shut until all have expired.
    for client in &mut idle {
        assert_eq!(client.hear_end(), b"");
    }
    assert_eq!(hooks.expiries().len(), 20);
    gate.open(2);
}

#[test]
fn clients_that_leave_before_they_are_served_are_forgotten() {
    let gate = Gate::default();
    let server = serve(Builder::new(), 1, 2, &gate);
    let mut stopped = stopped_clients(&server, 2);
    gate.wait_entered(2);
    let mut patient = server.connect();
    let mut sender = server.connect();
    sender.say(b"last words\n");
    sender.socket.shutdown(std::net::Shutdown::Write).unwrap();
    for round in 0..100 {
        let client = server.connect();
        if round % 2 == 0 {
            client.reset();
        }
    }
    let begun = Instant::now();
    eventually("only those that stay are open", || {
        server.stats().accepted == 104 && server.stats().open == 4
    });
    assert!(begun.elapsed() < PATIENCE / 2, "they waited for a thread");
    gate.open(2);
    for client in &mut stopped {
        client.hear(b"stop\n");
    }
    patient.say(b"at last\n").hear(b"at last\n");
    sender.hear(b"last words\n");
}

/// A line `stop` stops at the first gate, and the first `finish` at the second.
struct StopsToFinish(Gate, Gate, Arc<AtomicUsize>);

impl StreamRequestHandler for StopsToFinish {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(80)? {
            if line == b"stop\n" {
                self.0.pass();
            }
            request.wfile.write_all(line)?;
        }
        Ok(Next::Wait)
    }

    fn finish(&mut self, _: &mut StreamRequest) -> Result<()> {
        if self.2.fetch_add(1, Ordering::SeqCst) == 0 {
            self.1.pass();
        }
        Ok(())
    }
}

#[test]
fn a_finish_that_blocks_holds_up_no_other_once_a_thread_is_free() {
    let gates = [Gate::default(), Gate::default()];
    let finished = Arc::new(AtomicUsize::new(0));
    let ([handling, finishing], count) = (gates.clone(), Arc::clone(&finished));
    let class = move |_: &_| StopsToFinish(handling.clone(), finishing.clone(), Arc::clone(&count));
    let pool = ThreadingMixIn::new().threads(1).max_threads(1);
    let settings = Builder::new().process(pool).idle_timeout(Some(SECOND));
    let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
    let mut idle: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for client in &mut idle {
        client.say(b"hello\n").hear(b"hello\n");
    }
    let mut stopped = server.connect();
    stopped.say(b"stop\n");
    // The only thread is in a handler, the reserved one in the first connection's `finish`.
    gates.iter().for_each(|gate| gate.wait_entered(1));
    let begun = Instant::now();
    gates[0].open(1);
    eventually("the thread that is free ends the others", || {
        finished.load(Ordering::SeqCst) >= 10
    });
    assert!(begun.elapsed() < PATIENCE / 2);
    gates[1].open(1);
    stopped.hear(b"stop\n");
}

struct RudeHooks;

impl ServerHooks for RudeHooks {
    fn handle_refusal(&self, _: &ClientAddress, _: Refusal) -> Option<&[u8]> {
        panic!("this hook panics");
    }
}

#[test]
fn a_refusal_hook_that_panics_costs_nobody_else_an_event() {
    const INNOCENT: usize = 100;
    let settings = Builder::new().hooks(RudeHooks).max_connections(INNOCENT);
    let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
    let mut innocent: Vec<Client> = (0..INNOCENT).map(|_| server.connect()).collect();
    for client in &mut innocent {
        client.say(b"hello\n").hear(b"hello\n");
    }
    for _ in 0..3 {
        for client in &mut innocent {
            let _refused = server.connect();
            client.say(b"again\n");
        }
        for client in &mut innocent {
            client.hear(b"again\n");
        }
    }
    eventually("every panic is counted", || server.stats().panics == 300);
    assert_eq!(server.stop().refused(Refusal::MaxConnections), 300);
}

#[test]
fn a_trace_that_panics_costs_nobody_an_event() {
    let trace = |_: &ClientAddress, traffic: Traffic<'_>| {
        assert!(
            !matches!(traffic, Traffic::Opened | Traffic::Closed),
            "this trace panics"
        );
    };
    let settings = Builder::new().trace(trace);
    let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
    for _ in 0..20 {
        server.connect().say(b"hello\n").hear(b"hello\n");
    }
    eventually("all have gone", || server.stats().open == 0);
    assert!(server.stop().panics >= 40, "they are counted");
}

/// Does this in `finish`, and counts how often that ended.
struct SlowToFinish<F>(F, Arc<AtomicUsize>);

impl<F: Fn() + Send + 'static> StreamRequestHandler for SlowToFinish<F> {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let bytes = request.rfile.take_all();
        request.wfile.write_all(bytes)?;
        Ok(Next::Wait)
    }

    fn finish(&mut self, _: &mut StreamRequest) -> Result<()> {
        (self.0)();
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Shuts a server down while 100 of its connections are idle. Returns how long that took, how many
/// `finish` ended, and how many connections were aborted.
fn shut_down_with_slow_finish(
    finish: impl Fn() + Clone + Send + Sync + 'static,
    grace: Duration,
    max_threads: usize,
) -> (Duration, usize, u64) {
    let finished = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&finished);
    let pool = ThreadingMixIn::new().threads(2).max_threads(max_threads);
    let settings = Builder::new().process(pool).grace(grace);
    let class = move |_: &_| SlowToFinish(finish.clone(), Arc::clone(&counted));
    let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.say(b"hello\n").hear(b"hello\n");
    }
    eventually("all are parked", || server.stats().parked == 100);
    let begun = Instant::now();
    let stats = server.stop();
    (
        begun.elapsed(),
        finished.load(Ordering::SeqCst),
        stats.aborted,
    )
}

#[test]
fn idle_connections_finish_beside_each_other_when_the_server_goes_down() {
    // Each waits until half of them have begun.
    let begun = Arc::new(AtomicUsize::new(0));
    let finish = move || {
        begun.fetch_add(1, Ordering::SeqCst);
        eventually("50 finish beside each other", || {
            begun.load(Ordering::SeqCst) >= 50
        });
    };
    let (_, finished, aborted) = shut_down_with_slow_finish(finish, PATIENCE, 128);
    assert_eq!((finished, aborted), (100, 0));
}

#[test]
fn idle_connections_that_finish_too_slowly_are_aborted_at_the_end_of_the_grace() {
    // One after the other on four threads would take 50 seconds.
    let finish = || std::thread::sleep(2 * SECOND);
    let (took, finished, aborted) = shut_down_with_slow_finish(finish, SECOND / 2, 4);
    assert!(took < 30 * SECOND, "it took {took:?}");
    assert!(finished < 50, "{finished} finished");
    assert!(aborted >= 50, "only {aborted} were aborted");
}

/// The server of the next test, in a process that can be frozen.
const FROZEN_SERVER: &str = "FRAMEWORK_FROZEN_SERVER";

#[test]
fn a_frozen_server_reads_what_has_arrived_before_it_looks_at_deadlines() {
    if std::env::var_os(FROZEN_SERVER).is_some() {
        let settings = Builder::new().head_timeout(Some(3 * SECOND));
        let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
        let mut output = std::io::stdout();
        writeln!(output, "\nlistening on {}", server.address()).unwrap();
        let _ = std::io::stdin().lines().next();
        return;
    }
    let this = std::thread::current();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this.name().unwrap(), "--nocapture"])
        .env(FROZEN_SERVER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .start();
    let lines = child.stdout().lines();
    let address = lines
        .map_while(std::result::Result::ok)
        .find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()))
        .expect("the server starts");
    let address = ServerAddress::Inet(address.parse().unwrap());
    let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(&address)).collect();
    for client in &mut clients {
        client.say(b"hello\nhal").hear(b"hello\n");
    }
    child.signal(Signal::STOP);
    for client in &mut clients {
        client.say(b"f a line\n");
    }
    std::thread::sleep(4 * SECOND); // the deadlines pass while nobody can look
    child.signal(Signal::CONT);
    let mut answered = 0;
    for client in &mut clients {
        let mut answer = [0; 12];
        let heard = client.socket.read_exact(&mut answer);
        answered += usize::from(heard.is_ok() && answer == *b"half a line\n");
    }
    drop(child.stdin());
    child.wait();
    assert_eq!(answered, 300);
}
