//! Refused connections, on the thread that accepts.
//!
//! They call no handler, so they take no thread, process or turn of the concurrency model. There
//! may be none left, and that may be the reason for the refusal.

use std::time::Instant;

use parking_lot::Mutex;

use crate::poller::{Interest, Mode, Poller};
use crate::session::{Session, Step};

/// The connections by the poller's keys, counted from a base that is the acceptor's to choose. The
/// session lets only few of them linger.
#[derive(Default)]
pub(super) struct Lingering(Mutex<Vec<Option<Entry>>>);

struct Entry {
    session: Box<Session>,
    until: Option<Instant>,
}

impl Lingering {
    /// Takes a connection over, unless it is over at once.
    pub(super) fn add(&self, mut session: Box<Session>, base: usize, poller: &Poller) {
        let step = session.advance(session.now());
        let Some(until) = deadline_of(&mut session, step) else {
            return;
        };
        let mut entries = self.0.lock();
        let index = entries.iter().position(Option::is_none);
        let index = index.unwrap_or_else(|| {
            entries.push(None);
            entries.len() - 1
        });
        if let Some(fd) = session.transport().fd()
            && let Err(error) = poller.add(fd, base + index, Interest::Read, Mode::Level)
        {
            log::debug!("{}: can't be watched: {error}", session.client_address());
            return;
        }
        entries[index] = Some(Entry { session, until });
    }

    /// The poller has seen something of this connection.
    pub(super) fn ready(&self, index: usize, poller: &Poller) {
        let mut entries = self.0.lock();
        let Some(place) = entries.get_mut(index) else {
            return;
        };
        if let Some(entry) = place {
            entry.session.note_readable(true);
            let step = entry.session.advance(entry.session.now());
            go_on(place, step, poller);
        }
    }

    /// Ends those whose deadline has passed.
    pub(super) fn expire(&self, now: Instant, poller: &Poller) {
        for place in &mut *self.0.lock() {
            if let Some(entry) = place
                && entry.until.is_some_and(|until| until <= now)
            {
                let step = entry.session.expire(now);
                go_on(place, step, poller);
            }
        }
    }

    /// When the first of them is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let entries = self.0.lock();
        entries
            .iter()
            .flatten()
            .filter_map(|entry| entry.until)
            .min()
    }

    /// Closes all, as the server goes down.
    pub(super) fn clear(&self, poller: &Poller) {
        for place in &mut *self.0.lock() {
            go_on(place, Step::Over, poller);
        }
    }
}

fn go_on(place: &mut Option<Entry>, step: Step, poller: &Poller) {
    let Some(entry) = place else { return };
    match deadline_of(&mut entry.session, step) {
        Some(until) => entry.until = until,
        None => {
            // A socket leaves the poller before it is closed.
            if let Some(fd) = entry.session.transport().fd() {
                poller.delete(fd);
            }
            *place = None;
        }
    }
}

/// Until when the connection waits; `None` if it is over.
fn deadline_of(session: &mut Session, step: Step) -> Option<Option<Instant>> {
    let mut step = step;
    loop {
        match step {
            Step::Over => return None,
            Step::Wait { until, .. } => return Some(until),
            Step::Yield => step = session.advance(session.now()),
        }
    }
}
