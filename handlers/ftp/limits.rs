//! Limits of a user over all sessions: how many there are, and how fast they transfer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The users who are logged in.
#[derive(Debug)]
pub struct Registry {
    max_sessions: Option<usize>,
    /// Bytes per second for each user.
    rate: Option<u64>,
    users: Arc<Mutex<HashMap<String, UserState>>>,
}

#[derive(Debug)]
struct UserState {
    sessions: usize,
    limiter: Option<Arc<Limiter>>,
}

/// A session's place among those of its user, given back when it is dropped.
#[derive(Debug)]
pub struct SessionSlot {
    name: String,
    users: Arc<Mutex<HashMap<String, UserState>>>,
    /// The rate that all sessions of the user share; `None` without limit.
    pub limiter: Option<Arc<Limiter>>,
}

impl Registry {
    /// `max_sessions` of one user at the same time, and `rate` bytes per second for all of them.
    pub fn new(max_sessions: Option<usize>, rate: Option<u64>) -> Registry {
        Registry {
            max_sessions,
            rate,
            users: Arc::default(),
        }
    }

    /// Counts a session of a user; `None` if there are too many already.
    pub fn enter(&self, name: &str) -> Option<SessionSlot> {
        let mut users = self.users.lock();
        let state = users.entry(name.to_owned()).or_insert_with(|| UserState {
            sessions: 0,
            limiter: self.rate.map(|rate| Arc::new(Limiter::new(rate))),
        });
        if self.max_sessions.is_some_and(|max| state.sessions >= max) {
            return None;
        }
        state.sessions += 1;
        Some(SessionSlot {
            name: name.to_owned(),
            users: Arc::clone(&self.users),
            limiter: state.limiter.clone(),
        })
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        let mut users = self.users.lock();
        if let Some(state) = users.get_mut(&self.name) {
            state.sessions -= 1;
            if state.sessions == 0 {
                users.remove(&self.name);
            }
        }
    }
}

/// Lets so many bytes per second pass, and a quarter of a second's worth at a time.
#[derive(Debug)]
pub struct Limiter {
    rate: u64,
    state: Mutex<LimiterState>,
}

#[derive(Debug)]
struct LimiterState {
    /// Bytes that may pass now. Negative after a piece that was larger.
    credit: i64,
    at: Option<Instant>,
}

impl Limiter {
    fn new(rate: u64) -> Limiter {
        Limiter {
            rate: rate.max(1),
            state: Mutex::new(LimiterState {
                credit: 0,
                at: None,
            }),
        }
    }

    fn burst(&self) -> i64 {
        i64::try_from(self.rate / 4).unwrap_or(i64::MAX).max(1)
    }

    /// How many of `wanted` bytes may pass now.
    ///
    /// # Errors
    /// None may; the time after which some may.
    pub fn take(&self, wanted: u64, now: Instant) -> Result<u64, Duration> {
        let mut state = self.state.lock();
        let since = state.at.map(|at| now.saturating_duration_since(at));
        let gained = match since {
            None => self.burst(),
            Some(since) => {
                let gained = since.as_nanos() * u128::from(self.rate) / 1_000_000_000;
                i64::try_from(gained).unwrap_or(i64::MAX)
            }
        };
        if gained > 0 {
            state.credit = state.credit.saturating_add(gained).min(self.burst());
            state.at = Some(now);
        }
        if state.credit <= 0 {
            // At least a tenth of a second's worth, so that no one asks for single bytes.
            let missing = state.credit.unsigned_abs() + (self.rate / 10).max(1);
            let wait = u128::from(missing) * 1_000_000_000 / u128::from(self.rate);
            return Err(Duration::from_nanos(
                u64::try_from(wait).unwrap_or(u64::MAX),
            ));
        }
        let granted = wanted.min(state.credit.unsigned_abs());
        state.credit -= i64::try_from(granted).unwrap_or(i64::MAX);
        Ok(granted)
    }

    /// Gives back what was granted and has not passed.
    pub fn give_back(&self, bytes: u64) {
        let mut state = self.state.lock();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        state.credit = state.credit.saturating_add(bytes).min(self.burst());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_sessions() {
        let registry = Registry::new(Some(2), None);
        let first = registry.enter("ada").unwrap();
        let _second = registry.enter("ada").unwrap();
        assert!(registry.enter("ada").is_none());
        assert!(registry.enter("bob").is_some());
        drop(first);
        assert!(registry.enter("ada").is_some());
    }

    #[test]
    fn all_sessions_of_a_user_share_the_rate() {
        let registry = Registry::new(None, Some(1000));
        let slots = [
            registry.enter("ada").unwrap(),
            registry.enter("ada").unwrap(),
        ];
        let limiters = slots.each_ref().map(|slot| slot.limiter.clone().unwrap());
        let mut now = Instant::now();
        let begun = now;
        let mut passed = 0;
        while passed < 10_000 {
            for limiter in &limiters {
                match limiter.take(700, now) {
                    Ok(count) => passed += count,
                    Err(wait) => now += wait,
                }
            }
        }
        let took = now.duration_since(begun).as_secs_f64();
        assert!((9.0..11.0).contains(&took), "{took}");
        limiters[0].give_back(10);
        assert!(limiters[1].take(10, now).is_ok());
    }
}
