//! How fast a peer must be within a message: the stall time-out and the least rate.
//!
//! Only the time in which we wait for the peer counts. A handler that thinks for a minute between
//! two reads doesn't make its client slow.

use std::time::{Duration, Instant};

use crate::config::Timeouts;

/// Watches one direction of one message.
#[derive(Debug)]
pub(crate) struct Pace {
    stall: Option<Duration>,
    min_rate: u64,
    /// Since when nothing has moved.
    stalled_since: Option<Instant>,
    /// Since when the waiting counts that isn't in `waited` yet.
    blocked_since: Option<Instant>,
    waited: Duration,
    bytes: u64,
}

/// How a peer was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PaceViolation {
    /// No byte moved for the whole stall time-out.
    Stalled,
    /// Fewer bytes moved than the least rate asks for.
    TooSlow,
}

impl Pace {
    pub(crate) fn new(stall: Option<Duration>, min_rate: u64) -> Pace {
        Pace {
            stall,
            min_rate,
            stalled_since: None,
            blocked_since: None,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    pub(crate) fn set_stall(&mut self, stall: Option<Duration>) {
        self.stall = stall;
    }

    /// The message is over.
    pub(crate) fn reset(&mut self) {
        *self = Pace::new(self.stall, self.min_rate);
    }

    /// Whether a message has had to wait for its peer.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked_since.is_some() || !self.waited.is_zero()
    }

    /// Nothing moves for now. Tells when [`check`](Pace::check) must be asked.
    pub(crate) fn block(&mut self, now: Instant) -> Option<Instant> {
        let stalled = *self.stalled_since.get_or_insert(now);
        let blocked = *self.blocked_since.get_or_insert(now);
        let stall = self.stall.map(|stall| stalled + stall);
        let window = (self.min_rate > 0)
            .then(|| blocked + Timeouts::RATE_WINDOW.saturating_sub(self.waited));
        stall.into_iter().chain(window).min()
    }

    /// `count` bytes moved.
    pub(crate) fn moved(&mut self, count: usize, now: Instant) -> Result<(), PaceViolation> {
        self.bytes += count as u64;
        self.stalled_since = None;
        self.settle(now)
    }

    /// The moment that [`block`](Pace::block) named has come.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), PaceViolation> {
        if let (Some(since), Some(stall)) = (self.stalled_since, self.stall)
            && now >= since + stall
        {
            return Err(PaceViolation::Stalled);
        }
        let judged = self.settle(now);
        self.blocked_since = Some(now); // it goes on waiting
        judged
    }

    /// Adds the time since the last block, and judges a window that is full.
    fn settle(&mut self, now: Instant) -> Result<(), PaceViolation> {
        if let Some(since) = self.blocked_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        if self.min_rate == 0 || self.waited < Timeouts::RATE_WINDOW {
            return Ok(());
        }
        let wanted = self.min_rate as f64 * self.waited.as_secs_f64();
        let moved = std::mem::take(&mut self.bytes) as f64;
        self.waited = Duration::ZERO;
        if moved < wanted {
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
    fn a_peer_that_moves_nothing_stalls_at_the_time_out() {
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
    fn the_time_in_which_nobody_waits_does_not_count() {
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
    fn a_stall_counts_once_in_the_rate_of_the_next_window() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(30 * SECOND), 100);
        pace.block(start);
        assert_eq!(pace.moved(50_000, start + SECOND), Ok(()));
        assert_eq!(pace.block(start + SECOND), Some(start + 10 * SECOND));
        assert_eq!(pace.check(start + 10 * SECOND), Ok(()));
        assert_eq!(pace.block(start + 10 * SECOND), Some(start + 20 * SECOND));
        assert_eq!(pace.check(start + 20 * SECOND), Err(PaceViolation::TooSlow));
    }

    #[test]
    fn a_fast_enough_peer_goes_on_for_ever() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(30 * SECOND), 100);
        for second in 0..100 {
            pace.block(start + second * SECOND);
            assert_eq!(pace.moved(101, start + (second + 1) * SECOND), Ok(()));
        }
    }
}
