//! Limits of a user over all sessions of the user: the number of sessions, and the transfer rate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Limits of one user over all sessions of the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserLimits {
    /// Maximum number of sessions at the same time; `None` without a limit.
    pub max_sessions: Option<usize>,
    /// Maximum rate in bytes per second; `None` or 0 without a limit.
    pub rate: Option<u64>,
}

/// The users who are logged in.
#[derive(Debug)]
pub struct Registry {
    /// The limits of users without their own limits in the accounts file.
    defaults: UserLimits,
    users: Arc<Mutex<HashMap<String, UserState>>>,
}

/// The sessions of one user.
#[derive(Debug, Default)]
struct UserState {
    /// Number of sessions.
    sessions: usize,
    /// The rate limiter that all sessions of the user share; `None` without a limit.
    limiter: Option<Arc<Limiter>>,
}

/// Counts as one session of a user until it is dropped.
#[derive(Debug)]
pub struct SessionSlot {
    /// The user name.
    name: String,
    /// The limits of users without their own limits in the accounts file.
    defaults: UserLimits,
    users: Arc<Mutex<HashMap<String, UserState>>>,
    /// The rate limiter that all sessions of the user share; `None` without a limit.
    pub limiter: Option<Arc<Limiter>>,
}

impl Registry {
    /// Makes a registry in which no user is logged in. `defaults` are the limits of users without
    /// their own limits in the accounts file.
    pub fn new(defaults: UserLimits) -> Registry {
        Registry {
            defaults,
            users: Arc::default(),
        }
    }

    /// Adds a session of a user. The user's `own` limits override the defaults. Returns `None` if
    /// the user already has the maximum number of sessions.
    pub fn enter(&self, name: &str, own: UserLimits) -> Option<SessionSlot> {
        let limits = own.or(self.defaults);
        let mut users = self.users.lock();
        let sessions = users.get(name).map_or(0, |state| state.sessions);
        if limits.max_sessions.is_some_and(|max| sessions >= max) {
            return None;
        }
        let state = users.entry(name.to_owned()).or_default();
        state.sessions += 1;
        state.set_rate(limits.rate);
        Some(SessionSlot {
            name: name.to_owned(),
            defaults: self.defaults,
            users: Arc::clone(&self.users),
            limiter: state.limiter.clone(),
        })
    }
}

impl UserLimits {
    /// Takes each limit from `self`, or from `others` if `self` does not have the limit.
    fn or(self, others: UserLimits) -> UserLimits {
        UserLimits {
            max_sessions: self.max_sessions.or(others.max_sessions),
            rate: self.rate.or(others.rate),
        }
    }
}

impl UserState {
    /// Sets the rate; `None` or 0 without a limit. If the user already has a limiter, running
    /// transfers get the new rate as well.
    fn set_rate(&mut self, rate: Option<u64>) {
        match (&self.limiter, rate.filter(|rate| *rate > 0)) {
            (Some(limiter), Some(rate)) => limiter.set_rate(rate),
            (_, rate) => self.limiter = rate.map(|rate| Arc::new(Limiter::new(rate))),
        }
    }
}

impl SessionSlot {
    /// Applies the user's current transfer rate. Running transfers get it only if they already have
    /// a limiter. Open sessions stay open, even if there are more of them than the current maximum.
    pub fn renew(&mut self, own: UserLimits) {
        let mut users = self.users.lock();
        if let Some(state) = users.get_mut(&self.name) {
            state.set_rate(own.or(self.defaults).rate);
            self.limiter = state.limiter.clone();
        }
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        let mut users = self.users.lock();
        if let Some(state) = users.get_mut(&self.name) {
            // `enter` has added this session, so there is at least one.
            state.sessions -= 1;
            if state.sessions == 0 {
                users.remove(&self.name);
            }
        }
    }
}

/// Limits the rate in bytes per second. At most the bytes of a quarter of a second pass at a time.
#[derive(Debug)]
pub struct Limiter {
    state: Mutex<LimiterState>,
}

#[derive(Debug)]
struct LimiterState {
    /// Bytes per second, at least 1.
    rate: u64,
    /// Number of bytes that may pass now. The next bytes must wait while it is 0 or negative.
    credit: i64,
    /// When the credit was last increased.
    at: Option<Instant>,
}

impl Limiter {
    fn new(rate: u64) -> Limiter {
        Limiter {
            state: Mutex::new(LimiterState {
                rate: rate.max(1),
                credit: 0,
                at: None,
            }),
        }
    }

    fn set_rate(&self, rate: u64) {
        self.state.lock().rate = rate.max(1);
    }

    /// The number of bytes that may pass now, at most `wanted`.
    ///
    /// # Errors
    /// No byte may pass now. The error is the time to wait.
    pub fn take(&self, wanted: u64, now: Instant) -> Result<u64, Duration> {
        let mut state = self.state.lock();
        let since = state.at.map(|at| now.saturating_duration_since(at));
        let gained = match since {
            None => state.burst(),
            Some(since) => {
                let gained = since.as_nanos() * u128::from(state.rate) / 1_000_000_000;
                i64::try_from(gained).unwrap_or(i64::MAX)
            }
        };
        if gained > 0 {
            state.credit = state.credit.saturating_add(gained).min(state.burst());
            state.at = Some(now);
        }
        if state.credit <= 0 {
            // The wait is long enough for the bytes of at least a tenth of a second. Otherwise a
            // transfer would be woken for single bytes.
            let missing = state.credit.unsigned_abs() + (state.rate / 10).max(1);
            let wait = u128::from(missing) * 1_000_000_000 / u128::from(state.rate);
            return Err(Duration::from_nanos(
                u64::try_from(wait).unwrap_or(u64::MAX),
            ));
        }
        let granted = wanted.min(state.credit.unsigned_abs());
        state.credit -= i64::try_from(granted).unwrap_or(i64::MAX);
        Ok(granted)
    }

    /// Gives back bytes that `take` has granted, but that were not transferred.
    pub fn give_back(&self, bytes: u64) {
        let mut state = self.state.lock();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        state.credit = state.credit.saturating_add(bytes).min(state.burst());
    }
}

impl LimiterState {
    /// Maximum number of bytes that may pass at a time: the bytes of a quarter of a second.
    fn burst(&self) -> i64 {
        i64::try_from(self.rate / 4).unwrap_or(i64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: UserLimits = UserLimits {
        max_sessions: None,
        rate: None,
    };

    fn max_sessions(max: usize) -> UserLimits {
        UserLimits {
            max_sessions: Some(max),
            ..NONE
        }
    }

    fn rate(rate: u64) -> UserLimits {
        UserLimits {
            rate: Some(rate),
            ..NONE
        }
    }

    #[test]
    fn the_number_of_sessions_of_a_user_is_limited() {
        let registry = Registry::new(max_sessions(2));
        let first = registry.enter("ada", NONE).unwrap();
        let _second = registry.enter("ada", NONE).unwrap();
        assert!(registry.enter("ada", NONE).is_none());
        assert!(registry.enter("ada", rate(1)).is_none());
        assert!(registry.enter("bob", NONE).is_some());
        let _third = registry.enter("ada", max_sessions(3)).unwrap();
        assert!(registry.enter("ada", max_sessions(3)).is_none());
        drop(first);
        assert!(registry.enter("ada", NONE).is_none());
        assert!(registry.enter("ada", max_sessions(3)).is_some());
        assert!(registry.enter("bob", max_sessions(1)).is_some());
    }

    /// The number of seconds for 10,000 bytes, which are taken from these limiters in turn.
    fn seconds(limiters: &[Arc<Limiter>], now: &mut Instant) -> f64 {
        let begun = *now;
        let mut passed = 0;
        while passed < 10_000 {
            for limiter in limiters {
                match limiter.take(700, *now) {
                    Ok(count) => passed += count,
                    Err(wait) => *now += wait,
                }
            }
        }
        now.duration_since(begun).as_secs_f64()
    }

    #[test]
    fn all_sessions_of_a_user_share_the_rate() {
        let registry = Registry::new(rate(1000));
        let slots = [(); 2].map(|()| registry.enter("ada", NONE).unwrap());
        let limiters = slots.each_ref().map(|slot| slot.limiter.clone().unwrap());
        let mut now = Instant::now();
        let took = seconds(&limiters, &mut now);
        assert!((9.0..11.0).contains(&took), "{took}");
        limiters[0].give_back(10);
        assert!(limiters[1].take(10, now).is_ok());
    }

    #[test]
    fn a_rate_of_the_user_overrides_that_of_the_server_and_may_change() {
        let registry = Registry::new(rate(1000));
        let mut first = registry.enter("ada", rate(5000)).unwrap();
        let limiters = [first.limiter.clone().unwrap()];
        let mut now = Instant::now();
        let took = seconds(&limiters, &mut now);
        assert!((1.8..2.2).contains(&took), "{took}");
        // Running transfers already have the limiter.
        first.renew(rate(2000));
        let took = seconds(&limiters, &mut now);
        assert!((4.5..5.5).contains(&took), "{took}");
        first.renew(rate(0));
        assert!(first.limiter.is_none(), "0 is no limit");
        assert!(registry.enter("ada", rate(0)).unwrap().limiter.is_none());
        first.renew(NONE);
        let took = seconds(&[first.limiter.clone().unwrap()], &mut now);
        assert!((9.0..11.0).contains(&took), "{took}");
        assert!(
            Registry::new(NONE)
                .enter("ada", NONE)
                .unwrap()
                .limiter
                .is_none()
        );
    }
}
