//! Delays answers to addresses and user names that fail repeatedly.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// After this time without a failure, all earlier failures of a key are forgotten.
const MEMORY: Duration = Duration::from_secs(60);
/// From this failure on, answers are delayed. The first failures are not, because people mistype
/// and browsers send several requests at the same time.
const FIRST_DELAYED: u32 = 6;
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// Number of times that the delay doubles: 250 ms, 500 ms, 1 s, 2 s.
const DOUBLINGS: u32 = 3;
/// Maximum number of keys that are remembered.
const MAX_KEYS: usize = 4096;

/// The recent failures per key. A key is a client address or a user name.
#[derive(Debug)]
pub(crate) struct Backoff<K>(Mutex<HashMap<K, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn delay(self) -> Duration {
        match self.count.checked_sub(FIRST_DELAYED) {
            None => Duration::ZERO,
            Some(more) => FIRST_DELAY * (1 << more.min(DOUBLINGS)),
        }
    }

    fn is_recent(self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < MEMORY
    }
}

impl<K> Default for Backoff<K> {
    fn default() -> Backoff<K> {
        Backoff(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone> Backoff<K> {
    /// Records a failure of `key`. Returns the delay before its answer may be sent.
    pub(crate) fn failed(&self, key: K, now: Instant) -> Duration {
        let mut failures = self.0.lock();
        if failures.len() >= MAX_KEYS && !failures.contains_key(&key) {
            make_room(&mut failures, now);
        }
        let own = failures.entry(key).or_insert(Failures {
            count: 0,
            last: now,
        });
        let before = if own.is_recent(now) { own.count } else { 0 };
        *own = Failures {
            count: before.saturating_add(1),
            last: now,
        };
        own.delay()
    }

    /// Returns the remaining delay of the answer to the last failure of `key`; zero if there is
    /// none.
    pub(crate) fn pending(&self, key: &K, now: Instant) -> Duration {
        let own = self.0.lock().get(key).copied();
        own.map_or(Duration::ZERO, |own| {
            (own.last + own.delay()).saturating_duration_since(now)
        })
    }
}

/// Forgets keys without a recent failure. If there are none, the key whose last failure is the
/// oldest is forgotten.
fn make_room<K: Hash + Eq + Clone>(failures: &mut HashMap<K, Failures>, now: Instant) {
    failures.retain(|_, own| own.is_recent(now));
    if failures.len() >= MAX_KEYS
        && let Some(quietest) = failures
            .iter()
            .min_by_key(|(_, own)| own.last)
            .map(|(key, _)| key.clone())
    {
        failures.remove(&quietest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_sixth_failure_delays_and_each_further_one_doubles_up_to_two_seconds() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let delays: Vec<_> = (0..11)
            .map(|_| backoff.failed("ada", now).as_millis())
            .collect();
        assert_eq!(delays, [0, 0, 0, 0, 0, 250, 500, 1000, 2000, 2000, 2000]);
        assert_eq!(backoff.failed("bob", now), Duration::ZERO);
    }

    #[test]
    fn a_minute_of_quiet_forgets() {
        let (backoff, start) = (Backoff::default(), Instant::now());
        (0..6).for_each(|_| _ = backoff.failed("ada", start));
        assert_eq!(backoff.failed("ada", start + 59 * SECOND), 2 * FIRST_DELAY);
        assert_eq!(backoff.failed("ada", start + 119 * SECOND), Duration::ZERO);
    }

    #[test]
    fn an_answer_is_pending_until_its_delay_has_passed() {
        let (backoff, start) = (Backoff::default(), Instant::now());
        assert_eq!(backoff.pending(&"ada", start), Duration::ZERO);
        (0..6).for_each(|_| _ = backoff.failed("ada", start));
        assert_eq!(
            backoff.pending(&"ada", start + FIRST_DELAY / 2),
            FIRST_DELAY / 2
        );
        assert_eq!(backoff.pending(&"ada", start + FIRST_DELAY), Duration::ZERO);
    }

    #[test]
    fn who_is_remembered_is_bounded_and_the_quietest_goes_first() {
        let (backoff, start) = (Backoff::default(), Instant::now());
        (0..6).for_each(|_| _ = backoff.failed(0, start));
        (0..6).for_each(|_| _ = backoff.failed(1, start + SECOND));
        (2..=MAX_KEYS).for_each(|key| _ = backoff.failed(key, start + 2 * SECOND));
        assert_eq!(backoff.0.lock().len(), MAX_KEYS);
        assert_eq!(backoff.failed(1, start + 2 * SECOND), 2 * FIRST_DELAY);
        assert_eq!(backoff.failed(0, start + 2 * SECOND), Duration::ZERO);
    }
}
