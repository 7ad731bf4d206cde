//! `Builder::ordered_datagrams`: the datagrams of one peer one after the other.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use socketserver::{
    Builder, ClientAddress, DatagramRequest, Error, ForkingMixIn, ManualClock, ProcessRequest,
    Refusal, Request, Result, Synchronous, ThreadPerRequest, ThreadingMixIn,
};

use crate::subjects::Recorder;
use crate::support::{Client, Gate, PATIENCE, Running, eventually};

/// Builders with the concurrency models that serve several datagrams at the same time.
fn concurrent() -> [Builder; 2] {
    [
        Builder::new().process(ThreadingMixIn::new().threads(4)),
        Builder::new().process(ThreadPerRequest::new()),
    ]
    .map(|settings| settings.ordered_datagrams(true))
}

/// The packets in the order in which their handlers began.
type Begun = Arc<Mutex<Vec<String>>>;

/// Notes each packet and sends it back. `wait` waits at the gate, `panic` panics.
fn noting(
    begun: &Begun,
    gate: &Gate,
) -> impl Fn(&ClientAddress) -> Box<dyn socketserver::DatagramRequestHandler> + use<> {
    let (begun, gate) = (Arc::clone(begun), gate.clone());
    move |_: &ClientAddress| {
        let (begun, gate) = (Arc::clone(&begun), gate.clone());
        Box::new(move |request: &mut DatagramRequest| -> Result<()> {
            let packet = String::from_utf8_lossy(request.packet()).into_owned();
            begun.lock().push(packet.clone());
            request.wfile = packet.clone().into_bytes();
            match &*packet {
                "wait" => gate.pass(),
                "panic" => panic!("told to panic"),
                _ => {}
            }
            Ok(())
        })
    }
}

#[test]
fn datagrams_of_a_peer_wait_for_each_other_and_for_no_other_peer() {
    for settings in concurrent() {
        let (begun, gate) = (Begun::default(), Gate::default());
        let class = noting(&begun, &gate);
        let server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
        let mut first = Client::datagrams(server.address());
        first.say(b"wait");
        gate.wait_entered(1);
        let mut expected = vec!["wait".to_owned()];
        for number in 1..10 {
            let packet = if number == 5 {
                "panic".to_owned()
            } else {
                number.to_string()
            };
            first.say(packet.as_bytes());
            expected.push(packet);
        }
        eventually("all are received", || server.stats().accepted == 10);
        let mut second = Client::datagrams(server.address());
        second.say(b"another").hear(b"another");
        assert_eq!(*begun.lock(), ["wait", "another"]);
        gate.open(1);
        for packet in &expected {
            first.hear(packet.as_bytes());
        }
        expected.insert(1, "another".to_owned());
        assert_eq!(*begun.lock(), expected);
        let stats = server.stop();
        assert_eq!((stats.handled, stats.panics), (11, 1));
        assert_eq!((stats.failed, stats.refused_total()), (0, 0));
    }
}

#[test]
fn a_synchronous_server_and_an_ordered_one_keep_the_order_alike() {
    let begun = Begun::default();
    let settings = Builder::new().process(Synchronous).ordered_datagrams(true);
    let class = noting(&begun, &Gate::default());
    let server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
    let mut client = Client::datagrams(server.address());
    let numbers: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    for number in &numbers {
        client.say(number.as_bytes());
    }
    for number in &numbers {
        client.hear(number.as_bytes());
    }
    assert_eq!(*begun.lock(), numbers);
}

#[test]
fn a_peer_that_sends_more_than_may_wait_loses_the_rest() {
    for settings in concurrent() {
        let (begun, gate, hooks) = (Begun::default(), Gate::default(), Recorder::default());
        let class = noting(&begun, &gate);
        let settings = settings.hooks(hooks.clone());
        let server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
        let mut client = Client::datagrams(server.address());
        client.say(b"wait");
        gate.wait_entered(1);
        for number in 0..100 {
            client.say(number.to_string().as_bytes());
        }
        eventually("all are received", || server.stats().accepted == 101);
        // 64 may wait.
        eventually("the rest is refused", || {
            server.stats().refused(Refusal::QueueFull) == 36
        });
        assert_eq!(hooks.refusals(), [Refusal::QueueFull; 36]);
        gate.open(1);
        client.hear(b"wait");
        for number in 0..64 {
            client.hear(number.to_string().as_bytes());
        }
        client.say(b"again").hear(b"again");
        assert_eq!(server.stop().handled, 66);
    }
}

#[test]
fn many_peers_that_send_at_the_same_time_each_keep_their_order() {
    const PEERS: usize = 8;
    const ROUNDS: usize = 10;
    /// The receive buffer of the socket has room for those of all peers.
    const PER_ROUND: usize = 16;
    for settings in concurrent() {
        let running: Arc<Vec<AtomicUsize>> =
            Arc::new((0..PEERS).map(|_| AtomicUsize::new(0)).collect());
        let counts = Arc::clone(&running);
        let class = move |_: &ClientAddress| {
            let counts = Arc::clone(&counts);
            move |request: &mut DatagramRequest| {
                let (peer, number) = (request.packet()[0], request.packet()[1]);
                let count = &counts[usize::from(peer)];
                assert_eq!(count.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
                // The pool gives a handler that blocks more threads.
                std::thread::sleep(Duration::from_millis(1));
                request.reply(&[peer, number])?;
                count.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        };
        let server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
        let address = server.address().inet().unwrap();
        std::thread::scope(|scope| {
            for peer in 0..PEERS as u8 {
                scope.spawn(move || {
                    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
                    client.connect(address).unwrap();
                    client.set_read_timeout(Some(PATIENCE)).unwrap();
                    for _ in 0..ROUNDS {
                        for number in 0..PER_ROUND as u8 {
                            client.send(&[peer, number]).unwrap();
                        }
                        for number in 0..PER_ROUND as u8 {
                            let mut reply = [0; 3];
                            assert_eq!(client.recv(&mut reply).unwrap(), 2);
                            assert_eq!(reply, [peer, number, 0]);
                        }
                    }
                });
            }
        });
        let stats = server.stop();
        let all = (PEERS * ROUNDS * PER_ROUND) as u64;
        assert_eq!((stats.handled, stats.panics, stats.failed), (all, 0, 0));
        let waited = stats.waiting.quantile(1.0);
        assert!(waited > Duration::from_millis(1), "no datagram waited");
    }
}

/// Keeps the first request until the test drops it, and serves the others.
#[derive(Clone, Default)]
struct KeepFirst(Arc<Mutex<Option<Request>>>, Arc<AtomicUsize>);

impl ProcessRequest for KeepFirst {
    fn process_request(&self, request: Request) {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            *self.0.lock() = Some(request);
        } else {
            request.run();
        }
    }
}

#[test]
fn a_request_that_its_model_drops_loses_what_waited_for_it_and_frees_its_peer() {
    let (model, hooks) = (KeepFirst::default(), Recorder::default());
    let settings = Builder::new().process(model.clone()).hooks(hooks.clone());
    let class = noting(&Begun::default(), &Gate::default());
    let settings = settings.ordered_datagrams(true);
    let server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
    let mut client = Client::datagrams(server.address());
    client.say(b"1").say(b"2").say(b"3");
    eventually("all are received", || server.stats().accepted == 3);
    let mut other = Client::datagrams(server.address());
    other.say(b"other").hear(b"other");
    drop(model.0.lock().take().unwrap());
    client.say(b"4").hear(b"4");
    // Nothing is left for which a shutdown would wait.
    let stats = server.stop();
    assert_eq!((stats.handled, stats.failed), (2, 2));
    let errors = hooks.errors();
    assert_eq!(errors.len(), 2);
    assert!(errors[0].contains("was dropped"), "{errors:?}");
}

#[test]
fn a_shutdown_waits_for_the_datagrams_of_a_peer_and_an_abort_drops_them() {
    for (aborts, settings) in [false, true]
        .into_iter()
        .flat_map(|aborts| concurrent().map(|settings| (aborts, settings)))
    {
        let (begun, gate) = (Begun::default(), Gate::default());
        let class = noting(&begun, &gate);
        let mut server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
        let mut client = Client::datagrams(server.address());
        client.say(b"wait");
        gate.wait_entered(1);
        client.say(b"1").say(b"2");
        eventually("all are received", || server.stats().accepted == 3);
        if aborts {
            server.handle.abort();
        } else {
            server.handle.shutdown();
            assert!(!server.handle.wait(Some(Duration::from_millis(20))));
        }
        gate.open(1);
        client.hear(b"wait");
        if !aborts {
            client.hear(b"1").hear(b"2");
        }
        server.join();
        let stats = server.stats();
        let expected = if aborts { (1, 2) } else { (3, 0) };
        assert_eq!((stats.handled, stats.aborted), expected);
        assert_eq!(stats.failed, 0);
    }
}

#[test]
fn the_time_in_the_queue_of_a_peer_is_measured() {
    for settings in concurrent() {
        let hand = ManualClock::new();
        let gate = Gate::default();
        let class = noting(&Begun::default(), &gate);
        let settings = settings.clock(hand.clock());
        let server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
        let mut client = Client::datagrams(server.address());
        client.say(b"wait");
        gate.wait_entered(1);
        client.say(b"queued");
        eventually("it is received", || server.stats().accepted == 2);
        hand.advance(Duration::from_secs(8));
        gate.open(1);
        client.hear(b"wait").hear(b"queued");
        let waiting = server.stop().waiting;
        assert!(waiting.quantile(0.5) < Duration::from_millis(1));
        let longest = waiting.quantile(1.0).as_secs();
        assert!((8..=10).contains(&longest), "{longest}");
    }
}

#[test]
fn ordered_datagrams_do_not_go_with_forking() {
    let settings = Builder::new()
        .process(ForkingMixIn::new())
        .ordered_datagrams(true);
    let class = noting(&Begun::default(), &Gate::default());
    let error = settings.udp("127.0.0.1:0", class).unwrap_err();
    assert!(
        matches!(&error, Error::Unsupported(why) if why.contains("ordered_datagrams")),
        "{error}"
    );
    assert!(!error.to_string().contains('\n'));
}
