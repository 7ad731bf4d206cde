//! All open connections of a way to process, in slots: found by the poller's key, by their
//! deadline, and by a shutdown.
//!
//! A connection is either parked here, or in the hands of exactly one worker. An event for one that
//! is held is remembered, so that parking it returns it at once: no wake-up is lost.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::address::ClientAddress;
use crate::handle::{Core, InFlight};
use crate::poller::{Interest, Mode, Poller};
use crate::session::Session;
use crate::transport::Transport;

/// Slots come in pages that never move, so that finding one takes no common lock.
const PAGE: usize = 1024;
const PAGES: usize = 1024;
/// Keys: the slot in the low bits, above them how often it was used, so that a late event finds
/// nobody.
const INDEX_BITS: u32 = 20;

/// Later deadlines are looked at again after this time: the heap's entry of a connection that has
/// gone stays until it is due.
const MAX_HEAP_DELAY: Duration = Duration::from_secs(60);

/// A connection's place, and the poller's key for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionKey(pub(crate) usize);

impl ConnectionKey {
    fn new(index: usize, generation: u32) -> ConnectionKey {
        // The topmost bit is left to the poller's other keys.
        ConnectionKey(index | (generation as usize & 0x7FF_FFFF_FFFF) << INDEX_BITS)
    }

    fn index(self) -> usize {
        self.0 & ((1 << INDEX_BITS) - 1)
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    state: SlotState,
    owner: Option<Owner>,
    deadline: Option<Instant>,
    /// The earliest entry of this connection in the heap.
    scheduled: Option<Instant>,
}

#[derive(Default)]
enum SlotState {
    #[default]
    Free,
    Parked(Box<Session>),
    /// In a worker's hands since then; `idle` when that worker sleeps until a message begins,
    /// `silent` when the poller was told to report nothing more of it.
    Held {
        event: Option<MaybeEof>,
        silent: bool,
        idle: bool,
        since: Instant,
    },
}

type MaybeEof = bool;

/// What must be known of a connection that a worker holds.
struct Owner {
    core: Arc<Core>,
    client: ClientAddress,
    /// To end the socket under a handler.
    transport: Arc<Transport>,
}

impl Slot {
    fn belongs_to(&self, core: &Arc<Core>) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owner| Arc::ptr_eq(&owner.core, core))
    }
}

/// What became of a connection that was to be parked.
pub(crate) enum ParkResult {
    /// It is parked. `notify` if the leader sleeps beyond the connection's deadline.
    Parked { notify: bool },
    /// Something has come meanwhile: it goes on.
    Ready(Box<Session>),
}

#[derive(Default)]
struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, ConnectionKey)>>,
    /// Until when the leader sleeps; `None` while nobody does, or without end.
    sleeping: Option<Option<Instant>>,
}

type Page = Box<[Mutex<Slot>]>;

pub(crate) struct Registry {
    pages: Box<[OnceLock<Page>]>,
    free: Mutex<(Vec<usize>, usize)>,
    deadlines: Mutex<Deadlines>,
}

impl Registry {
    pub(crate) fn new() -> Registry {
        Registry {
            pages: (0..PAGES).map(|_| OnceLock::new()).collect(),
            free: Mutex::default(),
            deadlines: Mutex::default(),
        }
    }

    fn slot(&self, key: ConnectionKey) -> Option<&Mutex<Slot>> {
        let index = key.index();
        self.pages
            .get(index / PAGE)?
            .get()
            .map(|page| &page[index % PAGE])
    }

    /// Takes a place for a connection that the caller holds; `None` when a million are open.
    pub(crate) fn insert(&self, session: &Session) -> Option<ConnectionKey> {
        let index = {
            let mut free = self.free.lock();
            match free.0.pop() {
                Some(index) => index,
                None if free.1 == PAGE * PAGES => return None,
                None => {
                    free.1 += 1;
                    free.1 - 1
                }
            }
        };
        let page =
            self.pages[index / PAGE].get_or_init(|| (0..PAGE).map(|_| Mutex::default()).collect());
        let mut slot = page[index % PAGE].lock();
        slot.state = held(session);
        slot.owner = Some(Owner {
            core: Arc::clone(session.core()),
            client: session.client_address().clone(),
            transport: Arc::clone(session.transport()),
        });
        Some(ConnectionKey::new(index, slot.generation))
    }

    /// Gives the place of a connection that is over back.
    pub(crate) fn remove(&self, key: ConnectionKey) {
        let Some(slot) = self.slot(key) else { return };
        let mut slot = slot.lock();
        let generation = slot.generation.wrapping_add(1);
        let old = std::mem::replace(
            &mut *slot,
            Slot {
                generation,
                ..Slot::default()
            },
        );
        drop(slot);
        self.free.lock().0.push(key.index());
        drop(old);
    }

    fn is_current(slot: &Slot, key: ConnectionKey) -> bool {
        ConnectionKey::new(key.index(), slot.generation) == key
    }

    /// Lays a connection down until an event or its deadline.
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
        let now = session.now();
        slot.state = SlotState::Parked(session);
        let notify = self.schedule(&mut slot, key, until, now);
        ParkResult::Parked { notify }
    }

    /// Sets when a connection is due. True if the leader must be told.
    fn schedule(
        &self,
        slot: &mut Slot,
        key: ConnectionKey,
        until: Option<Instant>,
        now: Instant,
    ) -> bool {
        slot.deadline = until;
        let Some(until) = until.map(|until| until.min(now + MAX_HEAP_DELAY)) else {
            return false;
        };
        if slot.scheduled.is_some_and(|scheduled| scheduled <= until) {
            return false; // the entry in the heap comes early enough, and then looks here
        }
        slot.scheduled = Some(until);
        let mut deadlines = self.deadlines.lock();
        deadlines.heap.push(Reverse((until, key)));
        matches!(deadlines.sleeping, Some(sleeping) if sleeping.is_none_or(|wakes| until < wakes))
    }

    /// An event came: hands the connection out if it is parked.
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
            // Somebody sends fast to a worker that is busy with just that: each segment would wake
            // the leader for nothing.
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
        let mut session = Registry::unpark(slot)?;
        session.note_readable(maybe_eof);
        Some(session)
    }

    fn unpark(slot: &mut Slot) -> Option<Box<Session>> {
        match std::mem::take(&mut slot.state) {
            SlotState::Parked(session) => {
                slot.state = held(&session);
                Some(session)
            }
            other => {
                slot.state = other;
                None
            }
        }
    }

    /// The connections whose time is up.
    pub(crate) fn take_expired(
        &self,
        now: Instant,
        expired: &mut Vec<(ConnectionKey, Box<Session>)>,
    ) {
        loop {
            let due = {
                let mut deadlines = self.deadlines.lock();
                deadlines.sleeping = None;
                match deadlines.heap.peek() {
                    Some(Reverse((at, _))) if *at <= now => deadlines.heap.pop(),
                    _ => return,
                }
            };
            let Some(Reverse((at, key))) = due else {
                return;
            };
            let Some(slot) = self.slot(key) else { continue };
            let mut slot = slot.lock();
            if !Registry::is_current(&slot, key) || slot.scheduled != Some(at) {
                continue;
            }
            slot.scheduled = None;
            match slot.deadline {
                Some(deadline) if deadline <= now => {
                    expired.extend(Registry::unpark(&mut slot).map(|session| (key, session)));
                }
                later => drop(self.schedule(&mut slot, key, later, now)),
            }
        }
    }

    /// The leader goes to sleep: until when, at most.
    pub(crate) fn sleep(&self) -> Option<Instant> {
        let mut deadlines = self.deadlines.lock();
        let until = deadlines.heap.peek().map(|Reverse((at, _))| *at);
        deadlines.sleeping = Some(until);
        until
    }

    /// The worker that holds a connection is about to sleep, or wakes, within or between messages.
    pub(crate) fn set_idle(&self, key: ConnectionKey, session: &Session, idle: bool) {
        if let Some(slot) = self.slot(key) {
            slot.lock().state = SlotState::Held {
                event: None,
                silent: false,
                idle,
                since: session.since(),
            };
        }
    }

    /// Takes the parked connections of `core` that are `wanted`.
    pub(crate) fn take_parked(
        &self,
        core: &Arc<Core>,
        wanted: impl Fn(&Session) -> bool,
    ) -> Vec<(ConnectionKey, Box<Session>)> {
        let mut taken = Vec::new();
        self.for_each(|index, slot| {
            if slot.belongs_to(core)
                && let SlotState::Parked(session) = &slot.state
                && wanted(session)
            {
                let key = ConnectionKey::new(index, slot.generation);
                taken.extend(Registry::unpark(slot).map(|session| (key, session)));
            }
        });
        taken
    }

    /// Ends the sockets of `core` that workers hold: all, or those that just wait for a message.
    pub(crate) fn abort_held(&self, core: &Arc<Core>, only_idle: bool) -> usize {
        let mut cut = 0;
        self.for_each(|_, slot| {
            if let (SlotState::Held { idle, .. }, Some(owner)) = (&slot.state, &slot.owner)
                && Arc::ptr_eq(&owner.core, core)
                && (*idle || !only_idle)
            {
                Session::abort(&owner.transport);
                cut += 1;
            }
        });
        cut
    }

    /// The connections of `core` that are within a message.
    pub(crate) fn in_flight(&self, core: &Arc<Core>) -> Vec<InFlight> {
        let mut found = Vec::new();
        self.for_each(|_, slot| {
            let since = match &slot.state {
                SlotState::Parked(session) if !session.is_idle() => session.since(),
                SlotState::Held {
                    idle: false, since, ..
                } => *since,
                _ => return,
            };
            if let Some(owner) = slot
                .owner
                .as_ref()
                .filter(|owner| Arc::ptr_eq(&owner.core, core))
            {
                found.push(InFlight {
                    client_address: owner.client.clone(),
                    since,
                });
            }
        });
        found
    }

    fn for_each(&self, mut visit: impl FnMut(usize, &mut Slot)) {
        let used = self.free.lock().1;
        for index in 0..used {
            if let Some(page) = self.pages[index / PAGE].get() {
                visit(index, &mut page[index % PAGE].lock());
            }
        }
    }
}

fn held(session: &Session) -> SlotState {
    SlotState::Held {
        event: None,
        silent: false,
        idle: false,
        since: session.since(),
    }
}
