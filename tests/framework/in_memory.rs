//! `testing`: everything that connections do to one another, without sockets and without waiting.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use socketserver::testing::{TestConnection, TestServer};
use socketserver::{
    Builder, ClientAddress, ConnectionPhase, Error, Forwarder, Listen, ManualClock, Next, Refusal,
    Result, RunningListener, Service, StreamRequest, StreamRequestHandler,
};

use crate::reach::Reachable;
use crate::subjects::{Obedient, Recorder};
use crate::support::PATIENCE;

const SECOND: Duration = Duration::from_secs(1);

fn client(last: u8) -> ClientAddress {
    SocketAddr::from(([192, 0, 2, last], 5000)).into()
}

fn obedient(settings: Builder) -> TestServer {
    TestServer::new(settings, |_: &_| Obedient)
}

#[test]
fn a_forwarder_works_in_memory() {
    let upstream: SocketAddr = "192.0.2.9:80".parse().unwrap();
    let server = TestServer::new(Builder::new(), move |_: &_| Forwarder::to(upstream));
    let mut ada = server.connect();
    let mut other = server.connected().unwrap();
    assert!(server.connected().is_none());
    assert_eq!(*other.address(), upstream.into());
    ada.send(b"hello");
    assert_eq!(other.received(), b"hello");
    other.send(b"answer");
    assert_eq!(ada.received(), b"answer");
    // Back-pressure, and half-close.
    ada.take_only(0);
    for _ in 0..100 {
        other.send(&[b'.'; 1024]);
    }
    other.finish();
    assert!(!ada.is_closed());
    ada.take_only(usize::MAX);
    assert_eq!(ada.received().len(), 100 * 1024);
    assert!(ada.is_closed());
    ada.send(b"late").finish();
    assert_eq!(other.received(), b"late");
    assert_eq!(server.handle().stats().open, 0);
}

#[test]
fn a_client_that_goes_is_a_disconnect_for_its_handler() {
    let hooks = Recorder::default();
    let (class, reached) = Reachable::class();
    let server = TestServer::new(Builder::new().hooks(hooks.clone()), class);
    for what in ["idle", "message\n", "slow", "later\n"] {
        let mut gone = server.connect();
        let (waker, outbox) = reached.next();
        if what == "slow" {
            gone.take_only(0);
            outbox.try_send(*b"unread").unwrap();
        } else if what != "idle" {
            gone.send(what.as_bytes());
        }
        assert!(!waker.is_closed());
        drop(gone);
        assert!(waker.is_closed(), "{what}");
    }
    assert!(server.handle().connections().is_empty());
    assert!(hooks.errors().is_empty(), "{:?}", hooks.errors());
}

#[test]
fn a_listener_in_memory_has_its_rules_its_time_and_its_end() {
    let server = obedient(Builder::new());
    let service = Service::new("data");
    let (waker, woken) = waker(&server);
    let options = Listen::new().service(&service).once(Some(60 * SECOND));
    let options = options
        .peer(client(1).ip().unwrap())
        .wake_at_timeout(&waker);
    let listen = || {
        let handle = server.handle();
        handle
            .listen("127.0.0.1:0", options.clone(), |_: &_| Obedient)
            .unwrap()
    };
    let listener = listen();
    let address = listener.server_address().clone();
    assert!(server.connect_to(&address, client(2)).is_none());
    assert_eq!(service.stats().refused(Refusal::Denied), 1);
    let mut expected = server.connect_to(&address, client(1)).unwrap();
    expected.send(b"hello\n");
    assert_eq!(expected.received(), b"hello\n");
    assert!(server.connect_to(&address, client(1)).is_none());
    server.advance(60 * SECOND);
    assert!(!listener.has_timed_out());

    let listener = listen();
    server.advance(59 * SECOND);
    assert!(!listener.has_timed_out());
    server.advance(SECOND);
    assert!(listener.has_timed_out());
    assert_eq!(woken.try_iter().count(), 1);
    let late = server.connect_to(listener.server_address(), client(1));
    assert!(late.is_none());
}

/// A connection that reports its wakes, its waker, and the reports.
fn waker(server: &TestServer) -> (socketserver::Waker, mpsc::Receiver<()>) {
    let (tell, woken) = mpsc::channel();
    let (announce, wakers) = mpsc::channel();
    let handler = move |request: &mut StreamRequest| {
        if request.cause().is_woken() {
            tell.send(()).unwrap();
        } else {
            request.rfile.take_all();
            announce.send(request.waker()).unwrap();
        }
        Ok(Next::after(1_000_000 * SECOND))
    };
    let mut connection = server.adopt(handler).unwrap();
    connection.send(b"x");
    std::mem::forget(connection); // it stays until the server ends
    (wakers.recv().unwrap(), woken)
}

#[test]
fn a_drain_in_memory_ends_its_connections_by_the_manual_clock() {
    let server = obedient(Builder::new());
    let service = Service::new("data");
    let listen = || -> RunningListener {
        let options = Listen::new().service(&service);
        let handle = server.handle();
        handle
            .listen("127.0.0.1:0", options, |_: &_| Obedient)
            .unwrap()
    };
    let listener = listen();
    let connect = || server.connect_to(listener.server_address(), client(1));
    let (mut idle, mut busy) = (connect().unwrap(), connect().unwrap());
    let mut other = server.connect();
    idle.send(b"hello\n");
    busy.send(b"half a li");
    listener.drain(5 * SECOND).unwrap();
    assert!(idle.is_closed() && !busy.is_closed());
    server.advance(4 * SECOND);
    assert!(!busy.is_closed());
    server.advance(SECOND);
    assert!(busy.is_closed());
    assert_eq!(service.stats().aborted, 1);
    other.send(b"still here\n");
    assert_eq!(other.received(), b"still here\n");
}

#[test]
fn connections_are_adopted_in_memory_and_from_sockets() {
    let server = obedient(Builder::new().max_connections(2));
    let mut ours = server.adopt(Obedient).unwrap();
    ours.send(b"hello\n");
    assert_eq!(ours.received(), b"hello\n");
    let (mut socket, theirs) = UnixStream::pair().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    server.handle().adopt(theirs, Obedient).unwrap();
    socket.write_all(b"hello\n").unwrap();
    assert_eq!(server.handle().connections().len(), 2);
    ours.received(); // the server looks at its sockets
    let mut answer = [0; 6];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello\n");
    let refused = server.adopt(Obedient);
    assert!(matches!(
        refused,
        Err(Error::Refused(Refusal::MaxConnections))
    ));
    server.shutdown();
    assert_eq!(socket.read(&mut answer).unwrap(), 0);
    assert!(ours.is_closed());
    assert!(matches!(server.adopt(Obedient), Err(Error::Io(_))));
}

#[test]
fn a_server_in_memory_has_the_clock_of_its_settings() {
    let time = ManualClock::new();
    let settings = Builder::new()
        .clock(time.clock())
        .idle_timeout(Some(10 * SECOND));
    let mut connection = TestConnection::new(settings, |_: &_| Obedient);
    connection.send(b"hello\n");
    time.advance(9 * SECOND);
    assert!(!connection.is_closed());
    connection.advance(SECOND);
    assert!(connection.is_closed());
    let begun = time.clock().now();
    connection.advance(SECOND);
    assert_eq!(time.clock().now() - begun, SECOND);
}

#[test]
fn connections_in_memory_are_listed_and_one_is_aborted() {
    let server = obedient(Builder::new().name("memory"));
    let mut ada = server.connect_from(client(1));
    let mut bob = server.connect_from(client(2));
    ada.send(b"half a li");
    bob.send(b"hello\n");
    server.advance(5 * SECOND);
    let listed = server.handle().connections();
    assert_eq!(listed.len(), 2);
    let of = |address: ClientAddress| {
        let mut all = listed.iter();
        all.find(|listed| listed.client_address == address).unwrap()
    };
    let (busy, idle) = (of(client(1)), of(client(2)));
    assert_eq!(busy.service.as_deref(), Some("memory"));
    assert_eq!(busy.phase, ConnectionPhase::Active);
    assert_eq!(idle.phase, ConnectionPhase::Parked);
    assert_eq!((idle.bytes_received, idle.bytes_sent), (6, 6));
    assert_eq!((idle.age, idle.idle), (5 * SECOND, 5 * SECOND));
    assert_eq!(server.handle().in_flight().len(), 1);
    assert!(server.handle().abort_connection(busy.id));
    assert!(ada.is_closed() && !bob.is_closed());
    assert!(!server.handle().abort_connection(busy.id));
}

#[test]
fn a_handler_that_shuts_its_server_down_ends_the_others() {
    struct Ender;
    impl StreamRequestHandler for Ender {
        fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
            if request.rfile.take_all() == b"end" {
                request.server.shutdown();
            }
            request.wfile.write_all(b"heard\n")?;
            Ok(Next::Wait)
        }

        fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
            Ok(request.wfile.write_all(b"bye\n")?)
        }
    }
    let server = TestServer::new(Builder::new(), |_: &_| Ender);
    let (mut ada, mut bob) = (server.connect(), server.connect());
    bob.send(b"hello");
    ada.send(b"end");
    assert_eq!(ada.received(), b"heard\nbye\n");
    assert_eq!(bob.received(), b"heard\nbye\n");
}
