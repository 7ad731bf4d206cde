//! How fast a peer must be within a message: the stall timeout and the minimum rate.
//!
//! Only time in which the server waits for the peer counts. A handler that computes for a minute
//! between two reads does not make its client slow.
//!
//! The minimum rate is measured over windows of [`Timeouts::RATE_WINDOW`]. A window in which bytes
//! moved, but too few, is a violation. A window in which nothing moved is not: the stall timeout is
//! responsible for silence.

use std::time::{Duration, Instant};

use crate::clock::deadline;
use crate::config::Timeouts;

/// A check that comes this much later than it was due shows that the process stood still (SIGSTOP,
/// a suspended machine, a paused container). The peer may have sent everything in time, so the
/// window is not judged.
pub(crate) const MAX_OVERSLEEP: Duration = Duration::from_secs(1);

/// Watches one direction of one message.
#[derive(Debug)]
pub(crate) struct Pace {
    stall: Option<Duration>,
    /// Bytes per second; 0 is off.
    min_rate: u64,
    /// In a box, as most connections are idle: for them it does not exist.
    wait: Option<Box<PaceWait>>,
}

/// A message for which the peer was waited.
#[derive(Debug, Default)]
struct PaceWait {
    /// Since when nothing has moved.
    stalled_since: Option<Instant>,
    /// Start of the wait that is not yet added to `waited`.
    blocked_since: Option<Instant>,
    /// When the current wait must be checked, as [`block`](Pace::block) returned it.
    check_due: Option<Instant>,
    /// Time of the current window in which the peer was waited for.
    waited: Duration,
    /// Bytes that moved in the current window.
    bytes: u64,
}

/// How a peer was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PaceViolation {
    /// No byte moved for the whole stall timeout.
    Stalled,
    /// Fewer bytes moved in a window than the minimum rate requires.
    TooSlow,
}

impl Pace {
    pub(crate) fn new(stall: Option<Duration>, min_rate: u64) -> Pace {
        Pace {
            stall,
            min_rate,
            wait: None,
        }
    }

    pub(crate) fn set_stall(&mut self, stall: Option<Duration>) {
        self.stall = stall;
    }

    /// The message is over.
    pub(crate) fn reset(&mut self) {
        self.wait = None;
    }

    /// Whether the peer was waited for since the message began.
    pub(crate) fn is_blocked(&self) -> bool {
        self.wait.is_some()
    }

    /// The server begins to wait, or goes on waiting. Returns when [`check`](Pace::check) is due.
    pub(crate) fn block(&mut self, now: Instant) -> Option<Instant> {
        let wait = self.wait.get_or_insert_default();
        let stalled = *wait.stalled_since.get_or_insert(now);
        let blocked = *wait.blocked_since.get_or_insert(now);
        let stall = deadline(stalled, self.stall);
        let left = Timeouts::RATE_WINDOW.saturating_sub(wait.waited);
        let window = (self.min_rate > 0).then(|| blocked + left);
        wait.check_due = stall.into_iter().chain(window).min();
        wait.check_due
    }

    /// The peer has done something at `at`. Time until the connection gets a thread does not count.
    pub(crate) fn resume(&mut self, at: Instant) {
        if let Some(wait) = &mut self.wait {
            let overslept = wait.overslept(at);
            wait.end(at);
            if overslept {
                wait.begin_window();
            }
        }
    }

    /// `count` bytes moved.
    pub(crate) fn moved(&mut self, count: usize, now: Instant) -> Result<(), PaceViolation> {
        let Some(wait) = &mut self.wait else {
            return Ok(());
        };
        let overslept = wait.overslept(now);
        wait.bytes = wait.bytes.saturating_add(count as u64);
        wait.stalled_since = None;
        wait.end(now);
        if overslept {
            wait.begin_window();
        }
        wait.judge_window(self.min_rate)
    }

    /// The moment that [`block`](Pace::block) returned has come, and the socket was not ready.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), PaceViolation> {
        let Some(wait) = &mut self.wait else {
            return Ok(());
        };
        let stalled = wait.stalled_since.and_then(|at| deadline(at, self.stall));
        if stalled.is_some_and(|at| at <= now) {
            return Err(PaceViolation::Stalled);
        }
        wait.end(now);
        let verdict = wait.judge_window(self.min_rate);
        wait.blocked_since = Some(now); // the wait goes on
        verdict
    }
}

impl PaceWait {
    fn overslept(&self, now: Instant) -> bool {
        self.blocked_since.is_some()
            && self
                .check_due
                .is_some_and(|due| now.saturating_duration_since(due) > MAX_OVERSLEEP)
    }

    fn end(&mut self, now: Instant) {
        if let Some(since) = self.blocked_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    fn begin_window(&mut self) {
        self.waited = Duration::ZERO;
        self.bytes = 0;
    }

    /// Judges the window if it is complete, and begins the next one.
    fn judge_window(&mut self, min_rate: u64) -> Result<(), PaceViolation> {
        if min_rate == 0 || self.waited < Timeouts::RATE_WINDOW {
            return Ok(());
        }
        let required = min_rate as f64 * self.waited.as_secs_f64();
        let moved = self.bytes as f64;
        self.begin_window();
        if moved > 0.0 && moved < required {
            Err(PaceViolation::TooSlow)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_peer_that_moves_nothing_stalls_at_the_timeout() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(3 * SECOND), 0);
        assert_eq!(pace.block(start), Some(start + 3 * SECOND));
        assert_eq!(pace.check(start + 2 * SECOND), Ok(()));
        assert_eq!(pace.check(start + 3 * SECOND), Err(PaceViolation::Stalled));
    }

    #[test]
    fn a_byte_now_and_then_is_too_slow_though_it_never_stalls() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(30 * SECOND), 100);
        let verdicts: Vec<_> = (0..11)
            .map(|second| {
                pace.block(start + second * SECOND);
                pace.moved(1, start + (second + 1) * SECOND)
            })
            .collect();
        assert_eq!(verdicts[8], Ok(()));
        assert_eq!(verdicts[9], Err(PaceViolation::TooSlow));
    }

    #[test]
    fn time_in_which_nobody_waits_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::new(None, 100);
        pace.block(start);
        assert_eq!(pace.moved(1, start + SECOND), Ok(()));
        assert_eq!(pace.moved(1, start + 100 * SECOND), Ok(()));
        assert_eq!(pace.block(start + 100 * SECOND), Some(start + 109 * SECOND));
        assert_eq!(
            pace.check(start + 109 * SECOND),
            Err(PaceViolation::TooSlow)
        );
    }

    #[test]
    fn silence_is_the_business_of_the_stall_timeout_alone() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(30 * SECOND), 100);
        pace.block(start);
        assert_eq!(pace.moved(50_000, start + SECOND), Ok(()));
        assert_eq!(pace.block(start + SECOND), Some(start + 10 * SECOND));
        assert_eq!(pace.check(start + 10 * SECOND), Ok(()));
        assert_eq!(pace.block(start + 10 * SECOND), Some(start + 20 * SECOND));
        assert_eq!(pace.check(start + 20 * SECOND), Ok(()));
        assert_eq!(pace.block(start + 20 * SECOND), Some(start + 30 * SECOND));
        assert_eq!(pace.check(start + 30 * SECOND), Ok(()));
        assert_eq!(pace.block(start + 30 * SECOND), Some(start + 31 * SECOND));
        assert_eq!(pace.check(start + 31 * SECOND), Err(PaceViolation::Stalled));
    }

    #[test]
    fn without_a_stall_timeout_silence_never_ends() {
        let start = Instant::now();
        let mut pace = Pace::new(None, 100);
        for window in 0..100 {
            pace.block(start + window * 10 * SECOND);
            assert_eq!(pace.check(start + (window + 1) * 10 * SECOND), Ok(()));
        }
    }

    #[test]
    fn a_process_that_stood_still_does_not_blame_its_peer() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(30 * SECOND), 100);
        pace.block(start);
        assert_eq!(pace.moved(10, start + 31 * SECOND), Ok(()));
        pace.block(start + 31 * SECOND);
        assert_eq!(pace.moved(10, start + 36 * SECOND), Ok(()));
        pace.block(start + 36 * SECOND);
        assert_eq!(
            pace.moved(10, start + 41 * SECOND),
            Err(PaceViolation::TooSlow)
        );
    }

    #[test]
    fn a_timeout_without_end_is_no_deadline() {
        let start = Instant::now();
        assert_eq!(Pace::new(Some(Duration::MAX), 0).block(start), None);
    }

    #[test]
    fn a_peer_that_is_fast_enough_goes_on() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(30 * SECOND), 100);
        for second in 0..100 {
            pace.block(start + second * SECOND);
            assert_eq!(pace.moved(101, start + (second + 1) * SECOND), Ok(()));
        }
    }
}
