//! Remembers passwords that were correct in the last minutes, so that argon2 does not run for every
//! request.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

use super::Result;
use super::hash::random;

/// How long a password is remembered.
const MEMORY: Duration = Duration::from_secs(5 * 60);
/// Maximum number of passwords that are remembered.
const MAX_REMEMBERED: usize = 1024;

/// A keyed hash of a user name, a password and its stored hash. Without the key of this process it
/// is useless to an attacker.
pub(crate) type Tag = [u8; 32];

/// Remembers tags for some minutes.
pub(crate) struct Remembered {
    /// A random key. It is created when the process starts, and is never stored.
    key: [u8; 32],
    until: Mutex<HashMap<Tag, Instant>>,
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

impl Remembered {
    pub(crate) fn new() -> Result<Remembered> {
        Ok(Remembered {
            key: random()?,
            until: Mutex::default(),
        })
    }

    /// Returns the tag of these parts. The user's stored hash is one of them, so a changed password
    /// changes the tag.
    pub(crate) fn tag(&self, parts: &[&str]) -> Tag {
        let mut mac = hmac(&self.key);
        for part in parts {
            // The length keeps (`ab`, `c`) and (`a`, `bc`) apart.
            mac.update(&part.len().to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    pub(crate) fn holds(&self, tag: &Tag, now: Instant) -> bool {
        // The time of a lookup by a keyed hash reveals nothing about the password.
        self.until.lock().get(tag).is_some_and(|until| now < *until)
    }

    pub(crate) fn insert(&self, tag: Tag, now: Instant) {
        let mut until = self.until.lock();
        if until.len() >= MAX_REMEMBERED {
            until.retain(|_, end| now < *end);
        }
        if until.len() >= MAX_REMEMBERED
            && let Some(oldest) = until
                .iter()
                .min_by_key(|(_, end)| **end)
                .map(|(tag, _)| *tag)
        {
            until.remove(&oldest);
        }
        until.insert(tag, now + MEMORY);
    }
}

/// HMAC-SHA-256 (RFC 2104).
pub(crate) fn hmac(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("an HMAC key may have any length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_remembered_for_minutes_and_only_that_one() {
        let (remembered, now) = (Remembered::new().unwrap(), Instant::now());
        let tag = remembered.tag(&["ada", "secret", "hash"]);
        remembered.insert(tag, now);
        assert!(remembered.holds(&tag, now + MEMORY - Duration::from_millis(1)));
        assert!(!remembered.holds(&tag, now + MEMORY));
        for other in [
            ["ada", "secret", "other"],
            ["ad", "asecret", "hash"],
            ["ada", "secrethash", ""],
        ] {
            assert!(!remembered.holds(&remembered.tag(&other), now), "{other:?}");
        }
        assert_ne!(
            tag,
            Remembered::new().unwrap().tag(&["ada", "secret", "hash"]),
            "every process has its key"
        );
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes_first() {
        let (remembered, now) = (Remembered::new().unwrap(), Instant::now());
        let tag = |number: usize| remembered.tag(&[&number.to_string()]);
        for number in 0..=MAX_REMEMBERED {
            remembered.insert(tag(number), now + Duration::from_millis(number as u64));
        }
        assert_eq!(remembered.until.lock().len(), MAX_REMEMBERED);
        assert!(
            !remembered.holds(&tag(0), now)
                && remembered.holds(&tag(1), now)
                && remembered.holds(&tag(MAX_REMEMBERED), now)
        );
    }
}
