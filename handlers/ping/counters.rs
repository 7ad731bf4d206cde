//! Counts the requests of each client that reached the server (`--split`), in bounded memory.

use std::collections::HashMap;
use std::mem;

use socketserver::ClientAddress;

/// Maximum number of sessions in one generation.
const CLIENTS: usize = 4096;

/// A client's address, and the number that the client chose for its run.
pub(crate) type Session = (ClientAddress, u32);

/// A counter for each session, in two generations. When the young generation is full, it becomes
/// the old one, and the sessions of the previous old generation are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    young: HashMap<Session, u32>,
    old: HashMap<Session, u32>,
}

impl Counters {
    /// Counts a request. Returns the number of requests of the session so far.
    pub(crate) fn count(&mut self, session: Session) -> u32 {
        if self.young.len() >= CLIENTS && !self.young.contains_key(&session) {
            self.old = mem::take(&mut self.young);
        }
        let before = self.old.remove(&session).unwrap_or(0);
        let count = self.young.entry(session).or_insert(before);
        *count = count.saturating_add(1);
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u32) -> Session {
        (ClientAddress::Memory, number)
    }

    #[test]
    fn sessions_are_counted_apart() {
        let mut counters = Counters::default();
        let counts = [1, 2, 1, 1, 2].map(|number| counters.count(session(number)));
        assert_eq!(counts, [1, 1, 2, 3, 2]);
    }

    #[test]
    fn a_flood_of_sessions_takes_bounded_memory_and_leaves_the_lively_ones() {
        let mut counters = Counters::default();
        for number in 1..=50_000 {
            assert_eq!(counters.count(session(number)), 1);
            assert_eq!(counters.count(session(0)), number);
            assert!(counters.young.len() + counters.old.len() <= 2 * CLIENTS);
        }
    }
}
