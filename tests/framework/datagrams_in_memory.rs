//! Datagram handlers without sockets: `testing::TestDatagram`.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socketserver::testing::TestDatagram;
use socketserver::{
    Builder, ClientAddress, DatagramRequest, ForkingMixIn, ManualClock, Refusal, Traffic,
};

use crate::subjects::{Obedient, Recorder};

/// The address of a client; no socket has it.
fn client(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 5000))
}

#[test]
fn every_way_to_reply_reaches_the_client_in_memory() {
    let (send, handles) = mpsc::channel();
    let class = move |_: &_| {
        let send = send.clone();
        move |request: &mut DatagramRequest| {
            let mut text = String::new();
            request.rfile.read_to_string(&mut text)?;
            request.reply(format!("{text} at once").as_bytes())?;
            send.send((request.replier(), request.pending_reply()))
                .unwrap();
            request.wfile.extend_from_slice(b"wfile");
            Ok(())
        }
    };
    let mut server = TestDatagram::new(Builder::new(), class);
    server.send(client(1), b"one").send(client(2), b"two");
    assert_eq!(
        server.received(),
        [
            (client(1).into(), b"one at once".to_vec()),
            (client(1).into(), b"wfile".to_vec()),
            (client(2).into(), b"two at once".to_vec()),
            (client(2).into(), b"wfile".to_vec()),
        ]
    );
    let [(first, _), (second, pending)] = [handles.recv().unwrap(), handles.recv().unwrap()];
    assert_eq!(*first.client_address(), client(1).into());
    second.reply(b"later").unwrap();
    pending.send(b"last").unwrap();
    first.reply(b"to the first").unwrap();
    assert_eq!(server.received_by(client(2)), [&b"later"[..], b"last"]);
    assert_eq!(server.received_by(client(2)).len(), 0);
    assert_eq!(server.received_by(client(1)), [b"to the first"]);
    drop(server);
    let late = first.reply(b"too late").unwrap_err();
    assert!(late.to_string().contains("closed"), "{late}");
}

#[test]
fn a_datagram_in_memory_takes_the_steps_of_a_real_one() {
    let hooks = Recorder::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let traced = Arc::clone(&seen);
    let trace = move |client: &ClientAddress, traffic: Traffic<'_>| {
        traced.lock().push(format!("{client} {traffic:?}"));
    };
    let settings = Builder::new().hooks(hooks.clone()).trace(trace);
    // No process is forked, whatever the concurrency model.
    let settings = settings.process(ForkingMixIn::new());
    let mut server = TestDatagram::new(settings, |_: &_| Obedient);
    server
        .send(client(1), b"fail\n")
        .send(client(1), b"panic\n");
    hooks.deny(true);
    server.send(client(1), b"denied\n");
    hooks.deny(false);
    server.send(client(1), b"ok\n");
    server.server().shutdown();
    server.send(client(1), b"late\n");
    assert_eq!(server.received_by(client(1)), [b"ok\n"]);
    let stats = server.server().stats();
    assert_eq!((stats.accepted, stats.handled), (4, 3));
    assert_eq!((stats.failed, stats.panics), (1, 1));
    assert_eq!(hooks.refusals(), [Refusal::Denied]);
    assert_eq!(hooks.errors().len(), 2);
    let last = Traffic::Sent(b"ok\n");
    assert_eq!(
        seen.lock().last().unwrap(),
        &format!("{} {last:?}", client(1))
    );
    assert_eq!(seen.lock().len(), 5);
}

#[test]
fn a_datagram_in_memory_is_truncated_at_the_maximum_size() {
    let class = |_: &_| {
        |request: &mut DatagramRequest| {
            request.wfile = [&[u8::from(request.is_truncated())], request.packet()].concat();
            Ok(())
        }
    };
    let mut server = TestDatagram::new(Builder::new().max_packet_size(3), class);
    server.send(client(1), b"abc").send(client(1), b"abcd");
    assert_eq!(server.received_by(client(1)), [b"\0abc", b"\x01abc"]);
}

#[test]
fn a_unix_client_without_an_address_gets_no_reply_in_memory_either() {
    let hooks = Recorder::default();
    let settings = Builder::new().hooks(hooks.clone());
    let mut server = TestDatagram::new(settings, |_: &_| Obedient);
    server.send(ClientAddress::Unix(None), b"who am I?\n");
    assert_eq!(server.received(), []);
    let errors = hooks.errors().join("\n");
    assert!(errors.contains("no address to send to"), "{errors}");
}

#[test]
fn handlers_in_memory_have_a_clock_that_the_test_sets() {
    let times = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let class = |times: &Arc<Mutex<Vec<Instant>>>| {
        let times = Arc::clone(times);
        move |_: &ClientAddress| {
            let times = Arc::clone(&times);
            move |request: &mut DatagramRequest| {
                times.lock().push(request.server.clock().now());
                Ok(())
            }
        }
    };
    let minute = Duration::from_secs(60);
    let mut server = TestDatagram::new(Builder::new(), class(&times));
    server
        .send(client(1), b"")
        .advance(minute)
        .send(client(1), b"");
    let hand = ManualClock::new();
    let mut server = TestDatagram::new(Builder::new().clock(hand.clock()), class(&times));
    server.send(client(1), b"");
    hand.advance(minute);
    server
        .send(client(1), b"")
        .advance(minute)
        .send(client(1), b"");
    let times = times.lock();
    assert_eq!(times[1] - times[0], minute);
    assert_eq!((times[3] - times[2], times[4] - times[3]), (minute, minute));
    assert_eq!(times[4], hand.clock().now());
}
