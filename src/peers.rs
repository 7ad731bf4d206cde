//! State per peer for servers of datagrams, which have no connections to keep it.
//!
//! The peers are in a list by their last use, the most recent one first. All have the same expiry,
//! so the last one in the list is also the first to expire, and each use checks only the end of the
//! list:
//!
//! ```text
//!   first ──▶ used now ──▶ used 2 s ago ──▶ used 9 min ago ◀── last
//!               (a slot holds the indices of the ones before and after it)
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::address::ClientAddress;
use crate::clock::{Clock, deadline};

/// The state of each peer of a datagram server, such as a game's players or a protocol's sessions.
/// A handler exists for one datagram only; its class shares one `Peers` (in an `Arc`) with all
/// handlers.
///
/// A peer gets its state with its first use. It loses it when it was not used for the
/// [`expiry`](Peers::expiry), or when the number of peers is at its [maximum](Peers::max_peers) and
/// it is the one that was not used for the longest time. So an attacker who forges source addresses
/// fills no memory, but can push out the state of others. Expired states are dropped at the next
/// use of any peer; no thread and no timer exists for them.
///
/// Each peer has a lock of its own: handlers of different peers do not wait for each other. The
/// order of datagrams of one peer is that of
/// [`ordered_datagrams`](crate::Builder::ordered_datagrams). Under
/// [`ForkingMixIn`](crate::ForkingMixIn) changes stay in the child process and are lost.
///
/// ```
/// use std::net::SocketAddr;
/// use std::sync::Arc;
/// use std::time::Duration;
/// use socketserver::testing::TestDatagram;
/// use socketserver::{Builder, ClientAddress, DatagramRequest, ManualClock, Peers};
///
/// let hand = ManualClock::new();
/// let peers = Peers::new(|_: &ClientAddress| 0_u32)
///     .max_peers(1000)
///     .expiry(Some(Duration::from_secs(60)))
///     .clock(hand.clock());
/// let peers = Arc::new(peers);
/// let shared = Arc::clone(&peers);
/// let class = move |_: &ClientAddress| {
///     let peers = Arc::clone(&shared);
///     move |request: &mut DatagramRequest| {
///         let count = peers.with(&request.client_address, |count| {
///             *count += 1;
///             *count
///         });
///         request.reply(count.to_string().as_bytes())
///     }
/// };
/// let [a, b]: [SocketAddr; 2] =
///     ["192.0.2.1:7", "192.0.2.2:7"].map(|address| address.parse().unwrap());
/// let mut server = TestDatagram::new(Builder::new().clock(hand.clock()), class);
/// server.send(a, b"x").send(a, b"x").send(b, b"x");
/// assert_eq!(server.received_by(a), [b"1", b"2"]);
/// assert_eq!(server.received_by(b), [b"1"]);
/// assert_eq!(peers.len(), 2);
/// server.advance(Duration::from_secs(60)).send(a, b"x");
/// assert_eq!(server.received_by(a), [b"1"]);
/// assert_eq!((peers.expired(), peers.evicted()), (2, 0));
/// assert_eq!(peers.remove(&ClientAddress::from(a)), Some(1));
/// assert!(peers.is_empty());
/// ```
pub struct Peers<T> {
    make: Box<dyn Fn(&ClientAddress) -> T + Send + Sync>,
    max_peers: usize,
    expiry: Option<Duration>,
    clock: Clock,
    table: Mutex<PeerTable<T>>,
}

/// A peer's state, `None` until its first use has made it.
type PeerState<T> = Arc<Mutex<Option<T>>>;

struct PeerTable<T> {
    slots: Vec<PeerSlot<T>>,
    by_address: HashMap<ClientAddress, usize>,
    /// The slots of the peers that were used most and least recently.
    first: usize,
    last: usize,
    expired: u64,
    evicted: u64,
}

struct PeerSlot<T> {
    peer: ClientAddress,
    state: PeerState<T>,
    used_at: Instant,
    /// The slots of the peers that were used just after and just before this one.
    newer: usize,
    older: usize,
}

/// In place of a slot's index: there is none.
const NONE: usize = usize::MAX;

impl<T: Send + 'static> Peers<T> {
    /// No peers yet. `make` makes the state of a peer at its first use.
    pub fn new(make: impl Fn(&ClientAddress) -> T + Send + Sync + 'static) -> Peers<T> {
        Peers {
            make: Box::new(make),
            max_peers: 16_384,
            expiry: Some(Duration::from_secs(600)),
            clock: Clock::default(),
            table: Mutex::new(PeerTable {
                slots: Vec::new(),
                by_address: HashMap::new(),
                first: NONE,
                last: NONE,
                expired: 0,
                evicted: 0,
            }),
        }
    }

    /// Maximum number of peers that have a state, at least 1. The next peer takes the place of the
    /// one that was not used for the longest time. Defaults to 16,384.
    pub fn max_peers(self, count: usize) -> Peers<T> {
        Peers {
            max_peers: count.max(1),
            ..self
        }
    }

    /// Time after the last use of a peer after which its state is dropped. `None`, or a time that
    /// is too long for the system's clock, is never. Defaults to 10 min.
    pub fn expiry(self, after: Option<Duration>) -> Peers<T> {
        Peers {
            expiry: after,
            ..self
        }
    }

    /// The clock of the expiry, such as that of a [`ManualClock`](crate::ManualClock) in a test.
    /// Defaults to the system's monotonic clock.
    pub fn clock(self, clock: Clock) -> Peers<T> {
        Peers { clock, ..self }
    }

    /// Calls `act` with the state of this peer, which is made if the peer has none. This is a use
    /// of the peer. Calls for the same peer wait for each other; calls for other peers do not. If
    /// `act` panics, the state stays as it was at the panic.
    ///
    /// A call for the same peer within `act` would wait for itself, without end. Two threads that
    /// each use the other's peer within `act` would wait for each other. So use one peer at a time:
    /// return from `act` what the other peer needs.
    pub fn with<R>(&self, peer: &ClientAddress, act: impl FnOnce(&mut T) -> R) -> R {
        let state = self.touch(peer);
        let mut state = state.lock();
        act(state.get_or_insert_with(|| (self.make)(peer)))
    }

    /// Forgets a peer, such as one that said goodbye, and returns its state. `None` if it has none.
    /// Waits for a call of [`with`](Peers::with) for this peer, so it must not be called within
    /// one.
    pub fn remove(&self, peer: &ClientAddress) -> Option<T> {
        let (lost, state) = self.locked(|table, _| {
            let slot = table.by_address.get(peer).copied()?;
            Some(table.remove(slot))
        });
        drop(lost);
        state?.lock().take()
    }

    /// Number of peers that have a state.
    pub fn len(&self) -> usize {
        self.locked(|table, _| table.slots.len()).1
    }

    /// Whether no peer has a state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of states that were dropped because their peers were not used for the
    /// [`expiry`](Peers::expiry).
    pub fn expired(&self) -> u64 {
        self.locked(|table, _| table.expired).1
    }

    /// Number of states that were dropped because the number of peers was at its
    /// [maximum](Peers::max_peers).
    pub fn evicted(&self) -> u64 {
        self.locked(|table, _| table.evicted).1
    }

    /// Makes the peer the one that was used most recently, and returns its state.
    fn touch(&self, peer: &ClientAddress) -> PeerState<T> {
        let (lost, (evicted, state)) = self.locked(|table, now| {
            if let Some(&slot) = table.by_address.get(peer) {
                table.unlink(slot);
                table.link_first(slot);
                table.slots[slot].used_at = now;
                return (Vec::new(), Arc::clone(&table.slots[slot].state));
            }
            let mut evicted = Vec::new();
            while table.slots.len() >= self.max_peers {
                evicted.push(table.remove(table.last));
                table.evicted += 1;
            }
            (evicted, table.insert(peer, now))
        });
        drop((lost, evicted));
        state
    }

    /// Calls `act` on the table, from which expired peers were removed. Returns their states too,
    /// which the caller drops without the lock: their destructors may use these peers.
    fn locked<R>(
        &self,
        act: impl FnOnce(&mut PeerTable<T>, Instant) -> R,
    ) -> (Vec<PeerState<T>>, R) {
        let mut table = self.table.lock();
        // Read with the lock, so that the list is in the order of the moments.
        let now = self.clock.now();
        let mut lost = Vec::new();
        while let Some(oldest) = table.slots.get(table.last)
            && deadline(oldest.used_at, self.expiry).is_some_and(|at| at <= now)
        {
            let slot = table.last;
            lost.push(table.remove(slot));
            table.expired += 1;
        }
        let result = act(&mut table, now);
        (lost, result)
    }
}

impl<T> PeerTable<T> {
    fn insert(&mut self, peer: &ClientAddress, now: Instant) -> PeerState<T> {
        let slot = self.slots.len();
        let state = PeerState::default();
        self.slots.push(PeerSlot {
            peer: peer.clone(),
            state: Arc::clone(&state),
            used_at: now,
            newer: NONE,
            older: NONE,
        });
        self.by_address.insert(peer.clone(), slot);
        self.link_first(slot);
        state
    }

    /// Removes a peer. The last slot takes the place of its slot.
    fn remove(&mut self, slot: usize) -> PeerState<T> {
        self.unlink(slot);
        let removed = self.slots.swap_remove(slot);
        self.by_address.remove(&removed.peer);
        if let Some(moved) = self.slots.get(slot) {
            let (newer, older) = (moved.newer, moved.older);
            if let Some(index) = self.by_address.get_mut(&moved.peer) {
                *index = slot;
            }
            *self.older_of(newer) = slot;
            *self.newer_of(older) = slot;
        }
        removed.state
    }

    fn link_first(&mut self, slot: usize) {
        let second = std::mem::replace(&mut self.first, slot);
        self.slots[slot].newer = NONE;
        self.slots[slot].older = second;
        *self.newer_of(second) = slot;
    }

    fn unlink(&mut self, slot: usize) {
        let (newer, older) = (self.slots[slot].newer, self.slots[slot].older);
        *self.older_of(newer) = older;
        *self.newer_of(older) = newer;
    }

    /// The link of a slot to the next older one. That of no slot is the beginning of the list.
    fn older_of(&mut self, slot: usize) -> &mut usize {
        match self.slots.get_mut(slot) {
            Some(slot) => &mut slot.older,
            None => &mut self.first,
        }
    }

    /// The link of a slot to the next newer one. That of no slot is the end of the list.
    fn newer_of(&mut self, slot: usize) -> &mut usize {
        match self.slots.get_mut(slot) {
            Some(slot) => &mut slot.newer,
            None => &mut self.last,
        }
    }
}

/// Peers whose state begins with its default.
impl<T: Default + Send + 'static> Default for Peers<T> {
    fn default() -> Peers<T> {
        Peers::new(|_| T::default())
    }
}

impl<T> fmt::Debug for Peers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("len", &self.table.lock().slots.len())
            .field("max_peers", &self.max_peers)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}
