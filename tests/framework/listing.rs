//! The list of open connections, and ending one of them.

use std::time::Duration;

use socketserver::{
    Builder, ConnectionInfo, ConnectionPhase, ManualClock, Next, Result, StreamRequest,
    StreamRequestHandler, ThreadingMixIn,
};

use crate::subjects::{Blocking, Obedient, all_models};
use crate::support::{Gate, Running, eventually};

/// Waits until the one connection of a server is in this phase.
#[track_caller]
fn the_only(server: &Running, phase: ConnectionPhase) -> ConnectionInfo {
    let mut found = Vec::new();
    eventually("the connection is listed", || {
        found = server.handle.connections();
        found.len() == 1 && found[0].phase == phase
    });
    found.remove(0)
}

#[test]
fn a_connection_is_listed_with_its_bytes_and_times() {
    for settings in all_models() {
        let time = ManualClock::new();
        let settings = settings.clock(time.clock()).idle_timeout(None);
        let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
        assert!(server.handle.connections().is_empty());
        let mut client = server.connect();
        client.say(b"hello\n").hear(b"hello\n");
        the_only(&server, ConnectionPhase::Parked);
        time.advance(Duration::from_secs(5));
        let listed = the_only(&server, ConnectionPhase::Parked);
        assert_eq!((listed.bytes_received, listed.bytes_sent), (6, 6));
        assert_eq!(listed.age, Duration::from_secs(5));
        assert_eq!(listed.idle, Duration::from_secs(5));
        assert_eq!(listed.doing, None);
        let own = client.socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(listed.client_address, own.into());
        drop(client);
        eventually("it is not listed", || {
            server.handle.connections().is_empty()
        });
        assert!(!server.handle.abort_connection(listed.id));
    }
}

/// Says what it does while the gate is shut.
struct Worker(Gate);

impl StreamRequestHandler for Worker {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.rfile.take_all();
        request.set_doing("counting");
        self.0.pass();
        request.clear_doing();
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

#[test]
fn a_handler_says_what_its_connection_is_doing() {
    for settings in all_models() {
        let gate = Gate::default();
        let inside = gate.clone();
        let class = move |_: &_| Worker(inside.clone());
        let server = Running::start(settings.tcp("127.0.0.1:0", class).unwrap());
        let mut client = server.connect();
        client.say(b"work");
        gate.wait_entered(1);
        let listed = the_only(&server, ConnectionPhase::Active);
        assert_eq!(listed.doing.as_deref(), Some("counting"));
        assert_eq!(listed.idle, Duration::ZERO);
        gate.open(1);
        let listed = the_only(&server, ConnectionPhase::Parked);
        assert_eq!(listed.doing, None);
        gate.open(9);
    }
}

#[test]
fn what_waits_for_a_thread_is_listed_as_queued_and_the_oldest_comes_first() {
    let gate = Gate::default();
    let inside = gate.clone();
    let class = move |_: &_| Worker(inside.clone());
    let pool = ThreadingMixIn::new().threads(1).max_threads(1);
    let server = Builder::new()
        .process(pool)
        .tcp("127.0.0.1:0", class)
        .unwrap();
    let server = Running::start(server);
    let mut clients = [server.connect(), server.connect()];
    for (index, client) in clients.iter_mut().enumerate() {
        client.say(b"work");
        gate.open(1);
        gate.wait_entered(index + 1);
    }
    eventually("both are parked", || server.stats().active == 0);
    clients[0].say(b"work");
    gate.wait_entered(3);
    clients[1].say(b"work");
    let phases = || {
        let connections = server.handle.connections();
        connections
            .iter()
            .map(|listed| listed.phase)
            .collect::<Vec<_>>()
    };
    eventually("the second one is queued", || {
        phases() == [ConnectionPhase::Active, ConnectionPhase::Queued]
    });
    gate.open(9);
}

#[test]
fn one_connection_can_be_aborted_whatever_it_does() {
    for settings in all_models() {
        let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Blocking).unwrap());
        let mut client = server.connect();
        client.say(b"hello\n").hear(b"hello\n");
        let id = server.handle.connections()[0].id;
        assert!(server.handle.abort_connection(id));
        assert_eq!(client.hear_end(), b"");
        eventually("it is over", || !server.handle.abort_connection(id));
        eventually("it is not counted", || server.stats().open == 0);
    }
    for settings in all_models() {
        let server = Running::start(settings.tcp("127.0.0.1:0", |_: &_| Obedient).unwrap());
        let (mut client, mut other) = (server.connect(), None);
        client.say(b"hello\n").hear(b"hello\n");
        let listed = the_only(&server, ConnectionPhase::Parked);
        assert!(server.handle.abort_connection(listed.id));
        assert_eq!(client.hear_end(), b"");
        eventually("it is over", || !server.handle.abort_connection(listed.id));
        // The place is used again, the number is not.
        other
            .insert(server.connect())
            .say(b"hello\n")
            .hear(b"hello\n");
        assert!(!server.handle.abort_connection(listed.id));
        assert_ne!(the_only(&server, ConnectionPhase::Parked).id, listed.id);
    }
}
