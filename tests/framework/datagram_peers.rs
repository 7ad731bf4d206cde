//! `Peers`: state per peer, with a maximum number and an expiry.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use socketserver::{Builder, ClientAddress, Clock, DatagramRequest, ManualClock, Peers};

use crate::support::{Client, Gate, Running, eventually};

fn peer(number: u16) -> ClientAddress {
    ClientAddress::from(SocketAddr::from(([192, 0, 2, 1], number)))
}

/// Counts the uses of each peer, for as long as it has its state.
fn counters(max_peers: usize, expiry: Option<Duration>, clock: Clock) -> Peers<u32> {
    Peers::default()
        .max_peers(max_peers)
        .expiry(expiry)
        .clock(clock)
}

fn use_once(peers: &Peers<u32>, number: u16) -> u32 {
    peers.with(&peer(number), |count| {
        *count += 1;
        *count
    })
}

#[test]
fn each_peer_keeps_its_state_until_it_was_not_used_for_the_expiry() {
    let hand = ManualClock::new();
    let peers = counters(10, Some(Duration::from_secs(60)), hand.clock());
    assert!(peers.is_empty());
    assert_eq!((use_once(&peers, 1), use_once(&peers, 2)), (1, 1));
    for uses in 2..5 {
        hand.advance(Duration::from_secs(40));
        assert_eq!(use_once(&peers, 1), uses);
        let kept = if uses == 2 { (2, 0) } else { (1, 1) };
        assert_eq!((peers.len(), peers.expired()), kept, "{uses}");
    }
    hand.advance(Duration::from_secs(59));
    assert_eq!(peers.len(), 1);
    hand.advance(Duration::from_secs(1));
    assert_eq!((peers.len(), peers.expired()), (0, 2));
    assert_eq!((use_once(&peers, 1), use_once(&peers, 2)), (1, 1));
    assert_eq!(peers.evicted(), 0);
}

#[test]
fn an_extreme_expiry_or_maximum_has_its_plain_meaning() {
    let hand = ManualClock::new();
    let at_once = counters(10, Some(Duration::ZERO), hand.clock());
    assert_eq!((use_once(&at_once, 1), use_once(&at_once, 1)), (1, 1));
    for never in [None, Some(Duration::MAX)] {
        let peers = counters(10, never, hand.clock());
        use_once(&peers, 1);
        hand.advance(Duration::from_secs(1_000_000_000));
        assert_eq!(use_once(&peers, 1), 2);
    }
    let one = counters(0, None, hand.clock());
    assert_eq!((use_once(&one, 1), use_once(&one, 1)), (1, 2));
    assert_eq!((use_once(&one, 2), one.len(), one.evicted()), (1, 1, 1));
}

#[test]
fn the_peer_that_was_not_used_for_the_longest_time_makes_room() {
    let peers = counters(3, None, Clock::default());
    for number in [1, 2, 3, 1] {
        use_once(&peers, number);
    }
    assert_eq!(use_once(&peers, 4), 1);
    assert_eq!((peers.len(), peers.evicted()), (3, 1));
    // Peer 2 went.
    assert_eq!((use_once(&peers, 1), use_once(&peers, 3)), (3, 2));
    assert_eq!((use_once(&peers, 2), peers.evicted()), (1, 2));
    // And now peer 4.
    assert_eq!(use_once(&peers, 4), 1);
    let fewer = peers.max_peers(1);
    assert_eq!(
        (use_once(&fewer, 9), fewer.len(), fewer.evicted()),
        (1, 1, 6)
    );
    assert_eq!(fewer.expired(), 0);
}

/// What `Peers` must do, done slowly: the peers with their counts and times, the oldest first.
#[derive(Default)]
struct Model {
    peers: Vec<(u16, u32, Duration)>,
    expired: u64,
    evicted: u64,
}

impl Model {
    fn use_once(&mut self, number: u16, now: Duration, max: usize, expiry: Duration) -> u32 {
        let before = self.peers.len();
        self.peers.retain(|(_, _, at)| *at + expiry > now);
        self.expired += (before - self.peers.len()) as u64;
        let found = self.peers.iter().position(|(peer, _, _)| *peer == number);
        let count = found.map_or(0, |at| self.peers.remove(at).1) + 1;
        if self.peers.len() >= max {
            self.peers.remove(0);
            self.evicted += 1;
        }
        self.peers.push((number, count, now));
        count
    }

    fn remove(&mut self, number: u16) -> Option<u32> {
        let found = self.peers.iter().position(|(peer, _, _)| *peer == number);
        found.map(|at| self.peers.remove(at).1)
    }
}

#[test]
fn any_sequence_of_uses_has_the_result_of_a_simple_list() {
    const MAX: usize = 7;
    const EXPIRY: Duration = Duration::from_secs(20);
    let hand = ManualClock::new();
    let peers = counters(MAX, Some(EXPIRY), hand.clock());
    let (mut model, mut now, mut random) = (Model::default(), Duration::ZERO, 1_u64);
    let mut draw = |below: u64| {
        // Knuth's MMIX constants: the same sequence in every run.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..20_000 {
        let number = draw(12) as u16;
        let pause = Duration::from_secs([0, 0, 1, 4, 30][draw(5) as usize] * draw(2));
        hand.advance(pause);
        now += pause;
        // The model drops expired peers at a use, `Peers` at every call.
        assert_eq!(
            use_once(&peers, number),
            model.use_once(number, now, MAX, EXPIRY)
        );
        if draw(8) == 0 {
            let other = draw(12) as u16;
            assert_eq!(peers.remove(&peer(other)), model.remove(other));
        }
        assert_eq!(peers.len(), model.peers.len());
    }
    assert_eq!(
        (peers.expired(), peers.evicted()),
        (model.expired, model.evicted)
    );
    assert!(model.expired > 100 && model.evicted > 100);
}

#[test]
fn only_calls_for_the_same_peer_wait_for_each_other() {
    let peers = counters(10, None, Clock::default());
    let gate = Gate::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            peers.with(&peer(1), |count| {
                gate.pass();
                *count += 1;
            });
        });
        gate.wait_entered(1);
        let same = scope.spawn(|| use_once(&peers, 1));
        assert_eq!(use_once(&peers, 2), 1);
        assert_eq!(peers.len(), 2);
        assert!(!same.is_finished());
        gate.open(1);
        assert_eq!(same.join().unwrap(), 2);
    });
}

#[test]
fn a_panic_leaves_the_state_and_the_other_peers_usable() {
    let made = |address: &ClientAddress| {
        assert_ne!(*address, peer(9), "no state for peer 9");
        0
    };
    let peers = Peers::new(made);
    for number in [1, 9] {
        let act = |count: &mut u32| {
            *count += 1;
            panic!("in the call");
        };
        let caught = catch_unwind(AssertUnwindSafe(|| peers.with(&peer(number), act)));
        assert!(caught.is_err());
    }
    assert_eq!((use_once(&peers, 1), use_once(&peers, 2)), (2, 1));
    assert_eq!(peers.remove(&peer(9)), None);
    assert_eq!(peers.remove(&peer(1)), Some(2));
    assert_eq!(peers.len(), 1);
}

/// Uses the peers when it is dropped.
#[derive(Default)]
struct Leaving(OnceLock<Weak<Peers<Leaving>>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(peers) = self.0.get().and_then(Weak::upgrade) {
            assert!(!peers.is_empty());
        }
    }
}

#[test]
fn a_state_that_is_dropped_may_use_the_peers() {
    let hand = ManualClock::new();
    let peers = Peers::<Leaving>::default().max_peers(2).clock(hand.clock());
    let peers = Arc::new(peers);
    let stay = |number| {
        peers.with(&peer(number), |state| {
            state.0.get_or_init(|| Arc::downgrade(&peers));
        });
    };
    for number in 0..4 {
        stay(number);
    }
    hand.advance(Duration::from_secs(600));
    stay(5);
    assert_eq!((peers.evicted(), peers.expired()), (2, 2));
}

#[test]
fn the_handlers_of_a_server_share_the_state_of_its_peers() {
    let peers = Arc::new(Peers::new(|_: &ClientAddress| 0_u32));
    let shared = Arc::clone(&peers);
    let class = move |_: &ClientAddress| {
        let peers = Arc::clone(&shared);
        move |request: &mut DatagramRequest| {
            let count = peers.with(&request.client_address, |count| {
                *count += 1;
                *count
            });
            request.reply(count.to_string().as_bytes())
        }
    };
    let settings = Builder::new().ordered_datagrams(true);
    let server = Running::start(settings.udp("127.0.0.1:0", class).unwrap());
    let mut clients = [0; 3].map(|_| Client::datagrams(server.address()));
    for round in 1..10 {
        for client in &mut clients {
            client.say(b"x").hear(round.to_string().as_bytes());
        }
    }
    eventually("each client has a state", || peers.len() == 3);
}
