//! The listening sockets and datagram sockets that a poller watches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::RwLock;

use crate::handle::{Core, Origin};
use crate::poller::{Interest, Mode, Poller};
use crate::process::accept::StreamListener;
use crate::process::datagrams::DatagramJob;
use crate::reach::Waker;
use crate::sys;

/// The topmost bit of a poller's key marks a source; the other keys are connections.
const SOURCE_BIT: usize = 1 << (usize::BITS - 1);

#[derive(Clone)]
pub(crate) enum Source {
    Listener(Arc<StreamListener>),
    Datagrams(Arc<DatagramJob>),
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Listener(listener) => listener.as_fd(),
            Source::Datagrams(job) => job.as_fd(),
        }
    }
}

/// A source's index holds its place in the low bits. The bits above count how often the place was
/// used, so that a late event does not reach the place's next source.
const PLACE_BITS: u32 = 20;
const MAX_PLACES: usize = 1 << PLACE_BITS;

/// The sources of one poller. `S` is another type only in tests.
pub(crate) struct Sources<S = Source> {
    entries: RwLock<Entries<S>>,
    /// Something may be due at a time. Every turn of the leader asks for the earliest time, and in
    /// most servers there is none.
    has_times: AtomicBool,
}

struct Entries<S> {
    places: Vec<Place<S>>,
    /// Places whose sources were removed. The next sources use them, so that a program that serves
    /// again and again does not make the list longer.
    free: Vec<usize>,
    /// The sources whose last accept failed, and until when each is not watched.
    paused: Vec<(Instant, usize)>,
    /// The sources that are removed at a time, when, and what is notified of that.
    expiring: Vec<(Instant, usize, Arc<ListenTimeout>)>,
    /// When the connections of an origin are aborted. The reference is weak because an origin holds
    /// descriptors, and must not outlive its connections.
    drained: Vec<(Instant, Weak<Origin>, Weak<Core>)>,
}

/// The timeout of a listening socket that closes by itself.
#[derive(Debug, Default)]
pub(crate) struct ListenTimeout {
    pub(crate) has_passed: AtomicBool,
    /// Wakes a connection when it passes.
    pub(crate) waker: Option<Waker>,
}

impl ListenTimeout {
    pub(crate) fn pass(&self) {
        self.has_passed.store(true, SeqCst);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}

/// Connections whose grace time is over.
pub(crate) struct Drained {
    pub(crate) origin: Arc<Origin>,
    core: Arc<Core>,
}

impl Drained {
    fn new(origin: &Weak<Origin>, core: &Weak<Core>) -> Option<Drained> {
        let (origin, core) = (origin.upgrade()?, core.upgrade()?);
        Some(Drained { origin, core })
    }

    /// Counts connections that were aborted.
    pub(crate) fn count(&self, aborted: usize) {
        self.core.count(Some(&self.origin), |stats| {
            stats.aborted.fetch_add(aborted as u64, Relaxed);
        });
    }
}

struct Place<S> {
    /// How often the place was used before.
    generation: usize,
    /// `None` while the place is free.
    source: Option<S>,
}

impl<S> Default for Sources<S> {
    fn default() -> Sources<S> {
        let entries = RwLock::new(Entries {
            places: Vec::new(),
            free: Vec::new(),
            paused: Vec::new(),
            expiring: Vec::new(),
            drained: Vec::new(),
        });
        Sources {
            entries,
            has_times: AtomicBool::new(false),
        }
    }
}

impl<S> Entries<S> {
    /// The index of what is, or will next be, at a place.
    fn index(&self, place: usize) -> usize {
        let generation = self.places.get(place).map_or(0, |place| place.generation);
        (place | generation << PLACE_BITS) & !SOURCE_BIT
    }

    fn has_times(&self) -> bool {
        !(self.paused.is_empty() && self.expiring.is_empty() && self.drained.is_empty())
    }

    /// The source with this index, unless it was removed.
    fn get(&self, index: usize) -> Option<&S> {
        let place = index % MAX_PLACES;
        if self.index(place) != index {
            return None;
        }
        self.places.get(place)?.source.as_ref()
    }
}

impl Sources {
    /// The index of the source that a poller's key belongs to; `None` for other keys.
    pub(crate) fn index_of(key: usize) -> Option<usize> {
        (key & SOURCE_BIT != 0).then_some(key & !SOURCE_BIT)
    }
}

impl<S: AsFd + Clone> Sources<S> {
    /// Registers a source. It is level-triggered, as one turn need not take everything. Returns the
    /// index by which the other methods find it. Fails if the poller refuses the source.
    pub(crate) fn add(&self, source: S, poller: &Poller) -> io::Result<usize> {
        let mut entries = self.entries.write();
        let place = entries.free.last().copied();
        let place = place.unwrap_or(entries.places.len());
        if place == MAX_PLACES {
            return Err(io::Error::other("too many listening sockets"));
        }
        let index = entries.index(place);
        poller.add(
            source.as_fd(),
            SOURCE_BIT | index,
            Interest::Read,
            Mode::Level,
        )?;
        let source = Some(source);
        if entries.free.pop().is_some() {
            entries.places[place].source = source;
        } else {
            let generation = 0;
            entries.places.push(Place { generation, source });
        }
        Ok(index)
    }

    /// Removes a source. False if that was done before.
    pub(crate) fn remove(&self, index: usize, poller: &Poller) -> bool {
        let mut entries = self.entries.write();
        let Some(source) = entries.get(index) else {
            return false;
        };
        poller.delete(source.as_fd());
        let place = index % MAX_PLACES;
        let entry = &mut entries.places[place];
        let source = entry.source.take();
        entry.generation = entry.generation.wrapping_add(1);
        entries.free.push(place);
        entries.paused.retain(|(_, paused)| *paused != index);
        entries
            .expiring
            .retain(|(_, expiring, _)| *expiring != index);
        drop(entries);
        drop(source); // may close the socket
        true
    }

    /// Removes all sources. Their sockets close unless something else holds them.
    pub(crate) fn clear(&self, poller: &Poller) {
        let indices: Vec<usize> = {
            let entries = self.entries.read();
            let places = 0..entries.places.len();
            places.map(|place| entries.index(place)).collect()
        };
        for index in indices {
            self.remove(index, poller);
        }
    }

    /// Closes the listening sockets in a forked child, which would otherwise hold the port after
    /// its parent's end. `instead` takes their descriptors' places.
    pub(crate) fn stop_listening_in_child(&self, instead: BorrowedFd<'_>) {
        let entries = self.entries.read();
        let sources = entries.places.iter();
        for source in sources.filter_map(|place| place.source.as_ref()) {
            if let Err(error) = sys::replace(source.as_fd(), instead) {
                log::debug!("a child keeps a listening socket: {error}");
            }
        }
    }

    /// The source with this index; `None` once it was removed.
    pub(crate) fn get(&self, index: usize) -> Option<S> {
        self.entries.read().get(index).cloned()
    }

    /// Has the poller report nothing of a source until [`arm`](Sources::arm).
    pub(crate) fn disarm(&self, index: usize, poller: &Poller) {
        self.set_interest(index, Interest::Nothing, poller);
    }

    /// Has the poller report a source again.
    pub(crate) fn arm(&self, index: usize, poller: &Poller) {
        self.set_interest(index, Interest::Read, poller);
    }

    fn set_interest(&self, index: usize, interest: Interest, poller: &Poller) {
        let entries = self.entries.read();
        let Some(source) = entries.get(index) else {
            return;
        };
        let key = SOURCE_BIT | index;
        if let Err(error) = poller.modify(source.as_fd(), key, interest, Mode::Level) {
            log::error!("a listening socket cannot be watched: {error}");
        }
    }

    /// Leaves a listener alone after its accept failed, so that the error neither ends the server
    /// nor spins.
    pub(crate) fn pause(&self, index: usize, until: Instant, poller: &Poller) {
        self.disarm(index, poller);
        let mut entries = self.entries.write();
        if entries.get(index).is_some() {
            entries.paused.retain(|(_, paused)| *paused != index);
            entries.paused.push((until, index));
            self.has_times.store(true, SeqCst);
        }
    }

    /// Has a source removed at `until`, if it is still there.
    pub(crate) fn expire(&self, index: usize, until: Instant, timeout: Arc<ListenTimeout>) {
        let mut entries = self.entries.write();
        if entries.get(index).is_some() {
            entries.expiring.push((until, index, timeout));
            self.has_times.store(true, SeqCst);
        }
    }

    /// From `at` on, [`handle_due`](Sources::handle_due) returns this origin, once.
    pub(crate) fn abort_at(&self, at: Instant, origin: &Arc<Origin>, core: &Weak<Core>) {
        let drained = &mut self.entries.write().drained;
        drained.retain(|(_, origin, _)| origin.strong_count() > 0);
        drained.push((at, Arc::downgrade(origin), Weak::clone(core)));
        self.has_times.store(true, SeqCst);
    }

    /// When the first listener that was left alone is due again, one expires, or the connections of
    /// one must be aborted.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        if !self.has_times.load(SeqCst) {
            return None;
        }
        let entries = self.entries.read();
        let paused = entries.paused.iter().map(|(at, _)| *at);
        let expiring = entries.expiring.iter().map(|(at, ..)| *at);
        let drained = entries.drained.iter().map(|(at, ..)| *at);
        paused.chain(expiring).chain(drained).min()
    }

    /// Watches the listeners that are due again, and removes those that have expired. Returns the
    /// origins whose connections must be aborted.
    pub(crate) fn handle_due(&self, now: Instant, poller: &Poller) -> Vec<Drained> {
        if self.next_due().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let (again, expired, drained) = {
            let mut entries = self.entries.write();
            let paused = entries.paused.extract_if(.., |(at, _)| *at <= now);
            let again: Vec<usize> = paused.map(|(_, index)| index).collect();
            let expiring = entries.expiring.extract_if(.., |(at, ..)| *at <= now);
            let expired: Vec<_> = expiring.collect();
            let drained = entries.drained.extract_if(.., |(at, ..)| *at <= now);
            let drained = drained.filter_map(|(_, origin, core)| Drained::new(&origin, &core));
            let drained = drained.collect();
            self.has_times.store(entries.has_times(), SeqCst);
            (again, expired, drained)
        };
        again.into_iter().for_each(|index| self.arm(index, poller));
        for (_, index, timeout) in expired {
            // It may have been removed just before.
            if self.remove(index, poller) {
                timeout.pass();
            }
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::poller::Events;

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A source that is readable at once, and its peer.
    fn readable() -> (Arc<UnixStream>, UnixStream) {
        let (source, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"x").unwrap();
        (Arc::new(source), peer)
    }

    #[test]
    fn a_late_event_of_a_removed_source_does_not_reach_the_next_one_in_its_place() {
        let poller = Poller::new().unwrap();
        let sources = Sources::default();
        let (first, _peer) = readable();
        let removed = sources.add(first, &poller).unwrap();
        let mut events = Events::new();
        poller.wait(&mut events, Some(TIMEOUT)).unwrap();
        let late = Sources::index_of(events.iter().next().unwrap().key).unwrap();
        assert_eq!(late, removed);

        sources.remove(removed, &poller);
        let (second, _peer) = readable();
        let index = sources.add(Arc::clone(&second), &poller).unwrap();
        assert!(sources.get(late).is_none());
        sources.remove(late, &poller);
        sources.pause(late, Instant::now(), &poller);
        assert_eq!(sources.next_due(), None);
        let found = sources.get(index).unwrap();
        assert!(Arc::ptr_eq(&found, &second));
        // The late calls have not disarmed it.
        poller.wait(&mut events, Some(TIMEOUT)).unwrap();
        let event = events.iter().next().unwrap();
        assert_eq!(Sources::index_of(event.key), Some(index));
    }

    #[test]
    fn sources_that_come_and_go_use_the_same_places() {
        let poller = Poller::new().unwrap();
        let sources = Sources::default();
        let (source, _peer) = readable();
        for round in 0..1000 {
            let indices = [(); 2].map(|()| {
                let other = Arc::new(source.try_clone().unwrap());
                sources.add(other, &poller).unwrap()
            });
            sources.pause(indices[0], Instant::now(), &poller);
            sources.remove(indices[round % 2], &poller);
            sources.clear(&poller);
            assert!(sources.get(indices[0]).is_none());
        }
        let entries = sources.entries.read();
        assert_eq!(entries.places.len(), 2);
        assert_eq!(entries.free.len(), 2);
        assert!(entries.paused.is_empty());
    }

    #[test]
    fn a_paused_source_is_watched_again_when_it_is_due() {
        let poller = Poller::new().unwrap();
        let sources = Sources::default();
        let (source, _peer) = readable();
        let index = sources.add(source, &poller).unwrap();
        let now = Instant::now();
        sources.pause(index, now + TIMEOUT, &poller);
        sources.pause(index, now + TIMEOUT * 2, &poller);
        assert_eq!(sources.next_due(), Some(now + TIMEOUT * 2));
        let mut events = Events::new();
        sources.handle_due(now + TIMEOUT, &poller);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);

        sources.handle_due(now + TIMEOUT * 2, &poller);
        assert_eq!(sources.next_due(), None);
        poller.wait(&mut events, Some(TIMEOUT)).unwrap();
        assert_eq!(events.iter().count(), 1);
    }
}
