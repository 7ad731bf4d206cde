//! How long turns take, and for how much of that time their threads sleep.

use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::sys::ThreadUsage;

/// Only turns of this length or more are worth the two system calls that return for how long the
/// thread slept.
const MIN_MEASURED_TURN: Duration = Duration::from_micros(500);

/// The time that one turn took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TurnUsage {
    pub(crate) turn: Duration,
    /// For how long its thread slept: in a `read`, on a lock, on a disk. `None` if that was not
    /// measured. Waiting for a core is not sleep: more threads would only make it worse.
    pub(crate) asleep: Option<Duration>,
}

/// Measures the turns of one thread. A short turn costs two readings of the clock.
#[derive(Debug)]
pub(crate) struct TurnMeter {
    /// Whether to measure the next turn's sleep: the last turn was long, so this one may be, too.
    watches: bool,
}

impl TurnMeter {
    pub(crate) fn new() -> TurnMeter {
        TurnMeter { watches: true }
    }

    /// `turn` gets the moment at which it begins, and returns how many connections it has served.
    /// Each counts as one turn.
    pub(crate) fn measure(
        &mut self,
        clock: &Clock,
        turn: impl FnOnce(Instant) -> u32,
    ) -> TurnUsage {
        let before = self.watches.then(ThreadUsage::now);
        let begun = clock.now();
        let count = turn(begun);
        let took = clock.now().saturating_duration_since(begun);
        // Most turns serve one connection, and a division of a time is slow.
        let share = |time: Duration| if count > 1 { time / count } else { time };
        let turn = share(took);
        self.watches = turn >= MIN_MEASURED_TURN;
        let asleep = if self.watches {
            before.map(|before| before.slept(took))
        } else {
            Some(Duration::ZERO)
        };
        TurnUsage {
            turn,
            asleep: asleep.map(share),
        }
    }
}
