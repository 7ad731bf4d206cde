//! Time as the framework sees it: the system's clock, or one that a test sets by hand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The clock of a server's deadlines. Defaults to the system's monotonic clock.
///
/// A handler that measures time by the server's clock can be tested without waiting:
///
/// ```
/// use std::time::Duration;
/// use socketserver::{Clock, ManualClock};
///
/// fn is_over(clock: &Clock, began: std::time::Instant) -> bool {
///     clock.now() - began >= Duration::from_secs(60)
/// }
///
/// let hand = ManualClock::new();
/// let clock = hand.clock();
/// let began = clock.now();
/// assert!(!is_over(&clock, began));
/// hand.advance(Duration::from_secs(60));
/// assert!(is_over(&clock, began));
/// assert!(!is_over(&Clock::default(), Clock::default().now()));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock(ClockSource);

#[derive(Clone, Debug, Default)]
enum ClockSource {
    #[default]
    System,
    ManualTime(Arc<ManualTime>),
}

impl Clock {
    /// The present moment.
    #[inline]
    pub fn now(&self) -> Instant {
        match &self.0 {
            ClockSource::System => Instant::now(),
            ClockSource::ManualTime(manual) => manual.now(),
        }
    }

    /// The hand that sets this clock; `None` for the system's clock.
    pub(crate) fn manual(&self) -> Option<ManualClock> {
        match &self.0 {
            ClockSource::System => None,
            ClockSource::ManualTime(manual) => Some(ManualClock(Arc::clone(manual))),
        }
    }

    /// How long a thread may really sleep until `deadline`; `None` is until it is woken.
    /// A clock set by hand wakes its sleepers itself, so they never sleep by the system's time.
    pub(crate) fn sleep_until(&self, deadline: Option<Instant>) -> Option<Duration> {
        match &self.0 {
            ClockSource::System => deadline.map(|at| at.saturating_duration_since(Instant::now())),
            ClockSource::ManualTime(manual) => deadline
                .filter(|at| *at <= manual.now())
                .map(|_| Duration::ZERO),
        }
    }

    /// Calls `wake` after each change of a clock set by hand.
    pub(crate) fn on_advance(&self, wake: impl Fn() + Send + Sync + 'static) {
        if let ClockSource::ManualTime(manual) = &self.0 {
            manual.sleepers.lock().push(Box::new(wake));
        }
    }
}

/// The moment `after` has passed since `now`. `None` if `after` is `None` or too long for the
/// system's clock: both mean that there is no deadline.
pub(crate) fn deadline(now: Instant, after: Option<Duration>) -> Option<Instant> {
    after.and_then(|after| now.checked_add(after))
}

/// A clock that changes only when [`advance`](ManualClock::advance) is called, so that timeouts can
/// be tested without waiting.
///
/// ```
/// use std::time::Duration;
/// let hand = socketserver::ManualClock::new();
/// let clock = hand.clock();
/// let before = clock.now();
/// hand.advance(Duration::from_secs(60));
/// assert_eq!(clock.now() - before, Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<ManualTime>);

struct ManualTime {
    base: Instant,
    passed_nanos: AtomicU64,
    sleepers: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl Default for ManualTime {
    fn default() -> ManualTime {
        ManualTime {
            base: Instant::now(),
            passed_nanos: AtomicU64::new(0),
            sleepers: Mutex::default(),
        }
    }
}

impl ManualTime {
    fn now(&self) -> Instant {
        self.base + Duration::from_nanos(self.passed_nanos.load(Ordering::Acquire))
    }
}

impl fmt::Debug for ManualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualTime")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

impl ManualClock {
    /// A clock that starts at the system's present moment.
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// The reading side, for [`Builder::clock`](crate::Builder::clock) or
    /// [`testing`](crate::testing).
    pub fn clock(&self) -> Clock {
        Clock(ClockSource::ManualTime(Arc::clone(&self.0)))
    }

    /// Advances the time, and wakes the servers that wait for a deadline.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let later = |passed: u64| Some(passed.saturating_add(nanos));
        let _ = self
            .0
            .passed_nanos
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
        for wake in self.0.sleepers.lock().iter() {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_never_goes_back_however_far_it_is_advanced() {
        let hand = ManualClock::new();
        hand.advance(Duration::MAX);
        let far = hand.clock().now();
        hand.advance(Duration::MAX);
        assert_eq!(hand.clock().now(), far);
        assert_eq!(deadline(far, Some(Duration::MAX)), None);
    }
}
