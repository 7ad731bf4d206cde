//! The end of the connections of one listening socket, while the server goes on.

use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use socketserver::{
    Builder, Listen, ManualClock, Next, RequestHandlerClass, Result, RunningListener, Service,
    StreamRequest, StreamRequestHandler, ThreadPerRequest, ThreadingMixIn, Waker,
};

use crate::reach::Reachable;
use crate::subjects::{Blocking, Obedient, Recorder, all_models, concurrent_models, obedient};
use crate::support::{
    Client, Gate, PATIENCE, Running, alone, assert_closed, descriptors, eventually, threads,
};

/// Longer than any test takes.
const LONG_TIMEOUT: Duration = Duration::from_secs(600);
const SHORT_TIMEOUT: Duration = Duration::from_millis(50);

fn listen<H: StreamRequestHandler>(
    server: &Running,
    service: &Service,
    class: impl RequestHandlerClass<H>,
) -> RunningListener {
    let options = Listen::new().service(service);
    server.handle.listen("127.0.0.1:0", options, class).unwrap()
}

#[test]
fn a_drain_closes_idle_connections_of_its_listener_and_no_others() {
    for settings in concurrent_models() {
        let (class, reached) = Reachable::class();
        let server = obedient(settings);
        let service = Service::new("drained");
        let [first, second] = [(); 2].map(|()| listen(&server, &service, class.clone()));
        let mut clients =
            [&first, &first, &second].map(|listener| Client::connect(listener.server_address()));
        let _reach = clients.each_mut().map(|client| {
            client.say(b"hello\n").hear(b"hello\n");
            reached.next()
        });
        let mut own = server.connect();
        own.say(b"hello\n").hear(b"hello\n");
        let address = first.server_address().clone();
        first.drain(LONG_TIMEOUT).unwrap();
        for client in &mut clients[..2] {
            assert_eq!(client.hear_end(), b"bye\n");
        }
        assert_closed(&address);
        clients[2].say(b"still here\n").hear(b"still here\n");
        own.say(b"still here\n").hear(b"still here\n");
        assert_eq!(service.stats().aborted, 0);
    }
}

#[test]
fn a_handler_within_a_message_is_told_of_a_drain_and_ends_it() {
    for settings in all_models() {
        let (class, reached) = Reachable::class();
        let server = obedient(settings);
        let service = Service::new("drained");
        let listener = listen(&server, &service, class);
        let mut client = Client::connect(listener.server_address());
        client.say(b"message\n").hear(b"begun\n");
        let _reach = reached.next();
        listener.drain(LONG_TIMEOUT).unwrap();
        assert_eq!(client.hear_end(), b"shutdown\nbye\n");
        eventually("it is over", || service.stats().open == 0);
        assert_eq!(service.stats().aborted, 0);
        server.connect().say(b"hello\n").hear(b"hello\n");
    }
}

#[test]
fn what_outlasts_the_grace_time_of_a_drain_is_aborted_and_counted() {
    for settings in all_models() {
        let server = obedient(settings);
        let service = Service::new("drained");
        let listener = listen(&server, &service, |_: &_| Obedient);
        let mut client = Client::connect(listener.server_address());
        client.say(b"hello\nhalf a li").hear(b"hello\n");
        let begun = Instant::now();
        listener.drain(SHORT_TIMEOUT).unwrap();
        assert_eq!(client.hear_end(), b"");
        assert!(begun.elapsed() >= SHORT_TIMEOUT);
        eventually("it is counted", || service.stats().aborted == 1);
        eventually("it is over", || server.stats().open == 0);
        assert_eq!(server.stats().aborted, 1);
        server.connect().say(b"hello\n").hear(b"hello\n");
        assert_eq!(server.stop().aborted, 1);
    }
}

#[test]
fn a_handler_that_waits_for_its_client_hears_of_a_drain_between_two_messages() {
    for settings in all_models() {
        let server = obedient(settings);
        let service = Service::new("drained");
        let listener = listen(&server, &service, |_: &_| Blocking);
        let mut client = Client::connect(listener.server_address());
        client.say(b"hello\n").hear(b"hello\n");
        listener.drain(LONG_TIMEOUT).unwrap();
        assert_eq!(client.hear_end(), b"bye\n");
        eventually("it is over", || server.stats().open == 0);
        assert_eq!(server.stats().aborted, 0);
    }
}

#[test]
fn a_handler_that_waits_within_a_message_is_aborted_at_the_end_of_a_drain() {
    for settings in all_models() {
        let server = obedient(settings);
        let service = Service::new("drained");
        let listener = listen(&server, &service, |_: &_| Blocking);
        let mut client = Client::connect(listener.server_address());
        client.say(b"hello\nhalf a li").hear(b"hello\n");
        listener.drain(SHORT_TIMEOUT).unwrap();
        client.hear_end();
        eventually("it is over", || server.stats().open == 0);
        assert_eq!(service.stats().aborted, 1);
        server.connect().say(b"hello\n").hear(b"hello\n");
    }
}

/// Answers once the gate is open, and says whether it is the last time.
struct Slow(Gate);

impl StreamRequestHandler for Slow {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.rfile.take_all();
        self.0.pass();
        let is_last = request.is_shutting_down();
        writeln!(request.wfile, "{is_last}")?;
        Ok(Next::Wait)
    }
}

#[test]
fn a_handler_that_runs_during_a_drain_ends_its_message_and_gets_no_other() {
    for settings in all_models() {
        let gate = Gate::default();
        let inside = gate.clone();
        let server = obedient(settings);
        let service = Service::new("drained");
        let listener = listen(&server, &service, move |_: &_| Slow(inside.clone()));
        let mut client = Client::connect(listener.server_address());
        client.say(b"first");
        gate.open(1);
        client.hear(b"false\n");
        client.say(b"second");
        gate.wait_entered(2);
        listener.drain(LONG_TIMEOUT).unwrap();
        gate.open(1);
        assert_eq!(client.hear_end(), b"true\n");
        eventually("it is over", || server.stats().open == 0);
        assert_eq!((gate.entered(), server.stats().aborted), (2, 0));
    }
}

#[test]
fn the_grace_time_of_a_drain_is_one_of_the_servers_clock() {
    let time = ManualClock::new();
    let server = obedient(Builder::new().clock(time.clock()));
    let service = Service::new("drained");
    let listener = listen(&server, &service, |_: &_| Obedient);
    let mut client = Client::connect(listener.server_address());
    client.say(b"hello\nhalf a li").hear(b"hello\n");
    eventually("it is parked", || server.handle.in_flight().len() == 1);
    listener.drain(Duration::from_secs(5)).unwrap();
    time.advance(Duration::from_secs(4));
    client.say(b"ne\n").hear(b"half a line\n");
    assert_eq!(client.hear_end(), b"");
    drop(client); // it lingers no longer
    eventually("it is over", || service.stats().open == 0);

    let listener = listen(&server, &service, |_: &_| Obedient);
    let mut client = Client::connect(listener.server_address());
    client.say(b"hello\nhalf a li").hear(b"hello\n");
    listener.drain(Duration::from_secs(5)).unwrap();
    time.advance(Duration::from_secs(5));
    assert_eq!(client.hear_end(), b"");
    eventually("it is counted", || service.stats().aborted == 1);
}

#[test]
fn a_drain_of_a_server_that_has_ended_does_nothing() {
    for settings in all_models() {
        let server = obedient(settings);
        let service = Service::new("drained");
        let listener = listen(&server, &service, |_: &_| Obedient);
        server.stop();
        listener.drain(SHORT_TIMEOUT).unwrap();
    }
}

#[test]
fn listeners_that_come_and_go_leave_nothing_behind() {
    alone(|| {
        let pool = ThreadingMixIn::new().threads(2).max_threads(2);
        for settings in [
            Builder::new().process(pool),
            Builder::new().process(ThreadPerRequest::new()),
        ] {
            let server = obedient(settings);
            let service = Service::new("drained");
            let round = |number: usize| {
                let listener = listen(&server, &service, |_: &_| Obedient);
                let mut client = Client::connect(listener.server_address());
                client.say(b"hello\n").hear(b"hello\n");
                match number % 3 {
                    0 => listener.close(),
                    1 => listener.drain(LONG_TIMEOUT).unwrap(),
                    _ => listener.drain(Duration::ZERO).unwrap(),
                }
                drop(client);
                eventually("it is over", || server.stats().open == 0);
            };
            (0..3).for_each(round);
            let before = (descriptors(), threads());
            (0..30).for_each(round);
            eventually("nothing is left", || {
                descriptors() <= before.0 && threads() <= before.1
            });
        }
    });
}

/// Opens a listener for one connection, and says when its time has passed.
struct Opener(Option<RunningListener>, mpsc::Sender<()>);

impl StreamRequestHandler for Opener {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if request.cause().is_woken() {
            let has_timed_out = self.0.as_ref().is_some_and(RunningListener::has_timed_out);
            writeln!(request.wfile, "{has_timed_out}")?;
            return Ok(Next::Close);
        }
        request.rfile.take_all();
        let options = Listen::new()
            .once(Some(SHORT_TIMEOUT))
            .wake_at_timeout(&request.waker());
        let listener = request
            .server
            .listen("127.0.0.1:0", options, |_: &_| Obedient)?;
        assert!(!listener.has_timed_out());
        self.0 = Some(listener);
        self.1.send(()).unwrap();
        Ok(Next::Wait)
    }
}

#[test]
fn the_owner_of_a_listener_for_one_connection_is_woken_when_its_time_passes() {
    for settings in concurrent_models() {
        let (tell, told) = mpsc::channel();
        let class = move |_: &_| Opener(None, tell.clone());
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"open");
        told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(client.hear_end(), b"true\n");
    }
}

#[test]
fn a_listener_for_one_connection_that_has_it_never_times_out() {
    let time = ManualClock::new();
    let hooks = Recorder::default();
    let settings = Builder::new().clock(time.clock()).hooks(hooks.clone());
    let server = obedient(settings.idle_timeout(None));
    let (waker, mut woken) = waker(&server);
    let options = Listen::new()
        .once(Some(LONG_TIMEOUT))
        .wake_at_timeout(&waker);
    let handle = &server.handle;
    let listener = handle
        .listen("127.0.0.1:0", options, |_: &_| Obedient)
        .unwrap();
    let mut client = Client::connect(listener.server_address());
    client.say(b"hello\n").hear(b"hello\n");
    assert_closed(listener.server_address());
    time.advance(LONG_TIMEOUT);
    client.say(b"hello\n").hear(b"hello\n");
    assert!(!listener.has_timed_out());
    waker.wake();
    woken.hear(b"1 wakes\n");
}

/// A connection that counts its wakes, its waker, and its client.
fn waker(server: &Running) -> (Waker, std::os::unix::net::UnixStream) {
    struct Counter(mpsc::Sender<Waker>, usize);
    impl StreamRequestHandler for Counter {
        fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
            self.0.send(request.waker()).unwrap();
            Ok(())
        }

        fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
            self.1 += usize::from(request.cause().is_woken());
            writeln!(request.wfile, "{} wakes", self.1)?;
            Ok(Next::Wait)
        }
    }
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let (announce, wakers) = mpsc::channel();
    server.handle.adopt(theirs, Counter(announce, 0)).unwrap();
    (wakers.recv_timeout(PATIENCE).unwrap(), ours)
}

trait Hear {
    fn hear(&mut self, expected: &[u8]);
}

impl Hear for std::os::unix::net::UnixStream {
    #[track_caller]
    fn hear(&mut self, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        std::io::Read::read_exact(self, &mut heard).unwrap();
        assert_eq!(
            heard.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }
}
