//! The listening sockets and datagram sockets that a poller watches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

use crate::poller::{Interest, Mode, Poller};
use crate::process::accept::StreamListener;
use crate::process::datagrams::DatagramJob;
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

/// A source keeps its index for life. One that was removed leaves a hole, so that a late event
/// reaches no other source.
#[derive(Default)]
pub(crate) struct Sources(RwLock<Vec<Entry>>);

#[derive(Default)]
struct Entry {
    source: Option<Source>,
    /// The source is not watched until then: an accept or its registration failed.
    retry_at: Option<Instant>,
}

impl Sources {
    pub(crate) fn index_of(key: usize) -> Option<usize> {
        (key & SOURCE_BIT != 0).then_some(key & !SOURCE_BIT)
    }

    /// Registers a source. It is level-triggered, as one turn need not take everything.
    pub(crate) fn add(&self, source: Source, poller: &Poller) -> io::Result<usize> {
        let mut entries = self.0.write();
        let index = entries.len();
        poller.add(
            source.as_fd(),
            SOURCE_BIT | index,
            Interest::Read,
            Mode::Level,
        )?;
        entries.push(Entry {
            source: Some(source),
            retry_at: None,
        });
        Ok(index)
    }

    pub(crate) fn remove(&self, index: usize, poller: &Poller) {
        if let Some(entry) = self.0.write().get_mut(index) {
            if let Some(source) = &entry.source {
                poller.delete(source.as_fd());
            }
            *entry = Entry::default();
        }
    }

    /// Removes all sources. Their sockets close unless something else holds them.
    pub(crate) fn clear(&self, poller: &Poller) {
        let count = self.0.read().len();
        (0..count).for_each(|index| self.remove(index, poller));
    }

    /// Closes the listening sockets in a forked child, which would otherwise hold the port after
    /// its parent's end. `instead` takes their descriptors' places.
    pub(crate) fn stop_listening_in_child(&self, instead: BorrowedFd<'_>) {
        for source in self
            .0
            .read()
            .iter()
            .filter_map(|entry| entry.source.as_ref())
        {
            if let Err(error) = sys::replace(source.as_fd(), instead) {
                log::debug!("a child keeps a listening socket: {error}");
            }
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Source> {
        self.0.read().get(index)?.source.clone()
    }

    /// Has the poller report nothing of a source until [`arm`](Sources::arm).
    pub(crate) fn disarm(&self, index: usize, poller: &Poller) {
        self.set_interest(index, Interest::Nothing, poller);
    }

    pub(crate) fn arm(&self, index: usize, poller: &Poller) {
        self.set_interest(index, Interest::Read, poller);
    }

    fn set_interest(&self, index: usize, interest: Interest, poller: &Poller) {
        let key = SOURCE_BIT | index;
        let entries = self.0.read();
        let Some(source) = entries.get(index).and_then(|entry| entry.source.as_ref()) else {
            return;
        };
        if let Err(error) = poller.modify(source.as_fd(), key, interest, Mode::Level) {
            log::error!("a listening socket cannot be watched: {error}");
        }
    }

    /// Leaves a listener alone after its accept failed, so that the error neither ends the server
    /// nor spins.
    pub(crate) fn pause(&self, index: usize, until: Instant, poller: &Poller) {
        self.disarm(index, poller);
        if let Some(entry) = self.0.write().get_mut(index) {
            entry.retry_at = Some(until);
        }
    }

    /// When the first listener that was left alone is due again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.0
            .read()
            .iter()
            .filter_map(|entry| entry.retry_at)
            .min()
    }

    /// Watches the listeners that are due again.
    pub(crate) fn retry(&self, now: Instant, poller: &Poller) {
        if self.next_retry().is_none_or(|at| at > now) {
            return;
        }
        let mut due = Vec::new();
        for (index, entry) in self.0.write().iter_mut().enumerate() {
            if entry.retry_at.is_some_and(|at| at <= now) {
                entry.retry_at = None;
                due.push(index);
            }
        }
        due.into_iter().for_each(|index| self.arm(index, poller));
    }
}
