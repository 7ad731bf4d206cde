//! All open connections of a server or a pool, in slots. A connection is found by the poller's
//! key, by its deadline, and by a shutdown.
//!
//! A connection is either parked here or held by exactly one thread:
//!
//! ```text
//!            insert                        park
//!   Free ─────────────▶ Held ◀───────────────────────────▶ Parked
//!     ▲                  │    take (an event), take_expired,
//!     └──── remove ──────┘    take_for_shutdown, abort
//! ```
//!
//! An event for a connection that is held is noted in its slot. `park` then returns the connection
//! at once instead of parking it, so no event is lost.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::deadlines::DeadlineHeap;
use super::slot::{EndingConnection, Owner, Scope, Slot, SlotState};
use crate::poller::{Interest, Mode, Poller};
use crate::session::Session;

/// Slots come in pages that never move. So a slot is found without a common lock.
const SLOTS_PER_PAGE: usize = 1024;
const MAX_PAGES: usize = 1024;
/// A key holds the slot's index in its low bits. The bits above count how often the slot was used,
/// so that a late event does not reach the slot's next connection.
const INDEX_BITS: u32 = 20;

/// A deadline that is further away is checked again after this time, so that the leader never asks
/// the poller for a timeout that is longer.
const MAX_HEAP_DELAY: Duration = Duration::from_secs(60);

/// A connection's place, and the poller's key for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionKey(pub(crate) usize);

impl ConnectionKey {
    pub(super) fn new(index: usize, generation: u32) -> ConnectionKey {
        // The topmost bit is left to the poller's other keys.
        ConnectionKey(index | (generation as usize & 0x7FF_FFFF_FFFF) << INDEX_BITS)
    }

    /// The key that [`ConnectionInfo::id`](crate::ConnectionInfo::id) is.
    pub(crate) fn from_id(id: u64) -> ConnectionKey {
        ConnectionKey(usize::try_from(id).unwrap_or(usize::MAX))
    }

    fn index(self) -> usize {
        self.0 & ((1 << INDEX_BITS) - 1)
    }
}

/// The result of parking a connection.
pub(crate) enum ParkResult {
    /// It is parked. If `notify`, the leader must be notified: it sleeps beyond the deadline.
    Parked { notify: bool },
    /// An event came meanwhile: the connection goes on.
    Ready(Box<Session>),
    /// A shutdown that concerns the connection has begun meanwhile.
    Ending(EndingConnection),
}

#[derive(Default)]
struct Deadlines {
    heap: DeadlineHeap,
    leader: LeaderSleep,
}

#[derive(Default)]
enum LeaderSleep {
    /// No thread waits in the poller, or it will look at the deadlines before it waits again.
    #[default]
    Awake,
    /// A thread waits in the poller until then at most; `None` is without end.
    Until(Option<Instant>),
}

type Page = Box<[Mutex<Slot>]>;

pub(crate) struct Registry {
    pages: Box<[OnceLock<Page>]>,
    free: Mutex<FreeSlots>,
    deadlines: Mutex<Deadlines>,
}

#[derive(Default)]
struct FreeSlots {
    /// Slots that were used and are free again.
    indices: Vec<usize>,
    /// How many slots were ever used.
    used: usize,
}

impl Registry {
    pub(crate) fn new() -> Registry {
        Registry {
            pages: (0..MAX_PAGES).map(|_| OnceLock::new()).collect(),
            free: Mutex::default(),
            deadlines: Mutex::default(),
        }
    }

    pub(super) fn slot(&self, key: ConnectionKey) -> Option<&Mutex<Slot>> {
        self.slot_at(key.index())
    }

    fn slot_at(&self, index: usize) -> Option<&Mutex<Slot>> {
        self.pages
            .get(index / SLOTS_PER_PAGE)?
            .get()
            .map(|page| &page[index % SLOTS_PER_PAGE])
    }

    /// Takes a place for a connection that the caller holds; `None` when a million are open.
    pub(crate) fn insert(&self, session: &mut Session) -> Option<ConnectionKey> {
        let index = {
            let mut free = self.free.lock();
            match free.indices.pop() {
                Some(index) => index,
                None if free.used == SLOTS_PER_PAGE * MAX_PAGES => return None,
                None => {
                    free.used += 1;
                    free.used - 1
                }
            }
        };
        let new_page = || (0..SLOTS_PER_PAGE).map(|_| Mutex::default()).collect();
        let page = self.pages[index / SLOTS_PER_PAGE].get_or_init(new_page);
        let mut slot = page[index % SLOTS_PER_PAGE].lock();
        slot.state = SlotState::held(session, false);
        slot.owner = Some(Owner {
            core: Arc::clone(session.core()),
            origin: session.origin().cloned(),
            client: session.client_address().clone(),
            transport: Arc::clone(session.transport()),
        });
        slot.note_active(true);
        let key = ConnectionKey::new(index, slot.generation);
        session.set_key(key.0);
        Some(key)
    }

    /// Gives the place of a connection that is over back. Does nothing if that was done before.
    pub(crate) fn remove(&self, key: ConnectionKey) {
        let Some(slot) = self.slot(key) else { return };
        let mut slot = slot.lock();
        if !Registry::is_current(&slot, key) {
            return;
        }
        slot.note_active(false);
        let next = slot.next();
        let old = std::mem::replace(&mut *slot, next);
        drop(slot);
        self.free.lock().indices.push(key.index());
        drop(old);
    }

    pub(super) fn is_current(slot: &Slot, key: ConnectionKey) -> bool {
        ConnectionKey::new(key.index(), slot.generation) == key
    }

    /// Parks a connection until an event or its deadline.
    pub(crate) fn park(
        &self,
        key: ConnectionKey,
        mut session: Box<Session>,
        until: Option<Instant>,
    ) -> ParkResult {
        let Some(slot) = self.slot(key) else {
            return ParkResult::Ready(session);
        };
        let mut slot = slot.lock();
        if let SlotState::Held {
            event: event @ Some(_),
            silent,
            ..
        } = &mut slot.state
        {
            let maybe_eof = event.take().unwrap_or(true);
            if std::mem::take(silent) {
                session.set_watched(Some(Interest::Nothing));
            }
            session.note_readable(maybe_eof);
            return ParkResult::Ready(session);
        }
        // Under the lock: a thread that leaves something later finds the connection parked.
        if session.needs_attention() {
            return ParkResult::Ready(session);
        }
        slot.note_active(!session.is_idle());
        let notify = self.schedule(&mut slot, key, until, || session.now());
        let is_serving = session.is_serving();
        slot.state = SlotState::Parked(session);
        // A shutdown looks at every slot once. If it looked at this one before, its beginning is
        // visible under the lock.
        if !is_serving && let Some(ending) = slot.unpark_for_shutdown() {
            return ParkResult::Ending(ending);
        }
        ParkResult::Parked { notify }
    }

    /// Sets a connection's deadline. True if the leader must be notified. Most connections have an
    /// entry in the heap, and the clock need not be read.
    fn schedule(
        &self,
        slot: &mut Slot,
        key: ConnectionKey,
        until: Option<Instant>,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        slot.deadline = until;
        let Some(until) = until else {
            return false;
        };
        if slot.scheduled.is_some_and(|scheduled| scheduled <= until) {
            return false; // the entry in the heap is due early enough; it is then set again
        }
        let until = until.min(now() + MAX_HEAP_DELAY);
        slot.scheduled = Some(until);
        let mut deadlines = self.deadlines.lock();
        deadlines.heap.set(key.index(), until);
        match deadlines.leader {
            LeaderSleep::Awake => false,
            LeaderSleep::Until(wakes) => wakes.is_none_or(|wakes| until < wakes),
        }
    }

    /// An event came: returns the connection if it is parked, otherwise notes the event.
    pub(crate) fn take(
        &self,
        key: ConnectionKey,
        maybe_eof: bool,
        poller: &Poller,
    ) -> Option<Box<Session>> {
        let mut slot = self.slot(key)?.lock();
        if !Registry::is_current(&slot, key) {
            return None;
        }
        let slot = &mut *slot;
        if let SlotState::Held { event, silent, .. } = &mut slot.state {
            // The client goes on sending while a thread serves it. Each segment would wake the
            // leader for nothing.
            if event.is_some()
                && !*silent
                && let Some(fd) = slot.owner.as_ref().and_then(|owner| owner.transport.fd())
            {
                *silent = poller
                    .modify(fd, key.0, Interest::Nothing, Mode::Edge)
                    .is_ok();
            }
            *event = Some(event.unwrap_or(false) | maybe_eof);
            return None;
        }
        let mut session = slot.unpark(false)?;
        session.note_readable(maybe_eof);
        Some(session)
    }

    /// Takes a parked connection, if `wants` returns true for it.
    pub(crate) fn take_if(
        &self,
        key: ConnectionKey,
        wants: impl FnOnce(&mut Session) -> bool,
    ) -> Option<Box<Session>> {
        let mut slot = self.slot(key)?.lock();
        let is_current = Registry::is_current(&slot, key);
        let is_taken = match &mut slot.state {
            SlotState::Parked(session) => is_current && wants(session),
            _ => false,
        };
        if is_taken { slot.unpark(false) } else { None }
    }

    /// Whether this connection is not over.
    pub(crate) fn is_open(&self, key: ConnectionKey) -> bool {
        let slot = self.slot(key);
        slot.is_some_and(|slot| Registry::is_current(&slot.lock(), key))
    }

    /// Others have left something: returns the connection if it is parked and can look at it now.
    /// A thread that holds it looks before it parks it.
    pub(crate) fn take_for_attention(&self, key: ConnectionKey) -> Option<Box<Session>> {
        let mut slot = self.slot(key)?.lock();
        let needs_attention =
            matches!(&slot.state, SlotState::Parked(session) if session.needs_attention());
        if needs_attention && Registry::is_current(&slot, key) {
            slot.unpark(false)
        } else {
            None
        }
    }

    /// How many entries the heap of deadlines has.
    #[cfg(test)]
    #[allow(dead_code, reason = "only the model asks")]
    pub(crate) fn scheduled_deadlines(&self) -> usize {
        self.deadlines.lock().heap.len()
    }

    /// Takes the connections whose deadlines have passed.
    pub(crate) fn take_expired(
        &self,
        now: Instant,
        expired: &mut Vec<(ConnectionKey, Box<Session>)>,
    ) {
        loop {
            let due = self.deadlines.lock().heap.pop_due(now);
            let Some((at, index)) = due else { return };
            let Some(slot) = self.slot_at(index) else {
                continue;
            };
            let mut slot = slot.lock();
            if slot.scheduled != Some(at) {
                continue; // it was set again meanwhile, and is in the heap
            }
            let key = ConnectionKey::new(index, slot.generation);
            slot.scheduled = None;
            match slot.deadline {
                Some(deadline) if deadline <= now => {
                    let session = slot.unpark(false);
                    expired.extend(session.map(|session| (key, session)));
                }
                later => drop(self.schedule(&mut slot, key, later, || now)),
            }
        }
    }

    /// The leader is about to wait in the poller. Returns the moment at which it must be back; a
    /// connection that is parked with an earlier deadline asks for a notification.
    pub(crate) fn sleep(&self) -> Option<Instant> {
        let mut deadlines = self.deadlines.lock();
        let until = deadlines.heap.first();
        deadlines.leader = LeaderSleep::Until(until);
        until
    }

    /// The leader is back. Returns whether [`take_expired`](Registry::take_expired) may find
    /// something.
    pub(crate) fn wake(&self, now: Instant) -> bool {
        let mut deadlines = self.deadlines.lock();
        deadlines.leader = LeaderSleep::Awake;
        deadlines.heap.first().is_some_and(|at| at <= now)
    }

    /// The thread that holds a connection is about to sleep, or wakes, within or between messages.
    pub(crate) fn set_idle(&self, key: ConnectionKey, session: &Session, idle: bool) {
        if let Some(slot) = self.slot(key) {
            let mut slot = slot.lock();
            slot.state = SlotState::held(session, idle);
            slot.note_active(!idle);
        }
    }

    /// Takes the parked connections of `scope` that a shutdown concerns: those that are idle, and
    /// those whose handlers are to be told of it.
    pub(crate) fn take_for_shutdown(
        &self,
        scope: Scope<'_>,
    ) -> Vec<(ConnectionKey, EndingConnection)> {
        let mut taken = Vec::new();
        self.for_each(|index, slot| {
            if slot.belongs_to(scope) {
                let key = ConnectionKey::new(index, slot.generation);
                taken.extend(slot.unpark_for_shutdown().map(|ending| (key, ending)));
            }
        });
        taken
    }

    /// Ends all connections of `scope`: takes those that are parked, and shuts down the sockets
    /// that threads hold. Returns the former, and how many the latter are. Both under the lock of
    /// the slot: otherwise a connection that a thread parks meanwhile would be overlooked.
    pub(crate) fn abort(&self, scope: Scope<'_>) -> (Vec<(ConnectionKey, Box<Session>)>, usize) {
        let (mut parked, mut held) = (Vec::new(), 0);
        self.for_each(|index, slot| {
            if !slot.belongs_to(scope) {
                return;
            }
            let key = ConnectionKey::new(index, slot.generation);
            if let Some(session) = slot.unpark(false) {
                parked.push((key, session));
            } else if let Some(owner) = &slot.owner {
                Session::abort(&owner.transport);
                held += 1;
            }
        });
        (parked, held)
    }

    /// Looks at every slot that was ever used.
    pub(super) fn for_each(&self, mut visit: impl FnMut(usize, &mut Slot)) {
        let used = self.free.lock().used;
        for index in 0..used {
            if let Some(page) = self.pages[index / SLOTS_PER_PAGE].get() {
                visit(index, &mut page[index % SLOTS_PER_PAGE].lock());
            }
        }
    }
}
