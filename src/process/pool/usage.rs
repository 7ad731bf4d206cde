//! What turns take, and for how much of that their threads slept.

use std::time::Duration;

use crate::clock::Clock;
use crate::sys::ThreadUsage;

/// A turn that takes so long is worth the two system calls that tell what its thread did meanwhile.
const MIN_MEASURED_TURN: Duration = Duration::from_micros(500);

/// What a turn took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TurnUsage {
    pub(crate) turn: Duration,
    /// For so long its thread slept: in a `read`, on a lock, on a disk. `None` if nobody looked. To
    /// wait for a core isn't to sleep: more threads would only make it worse.
    pub(crate) asleep: Option<Duration>,
}

/// Measures the turns of one thread; its short ones at no other cost than the clock's.
#[derive(Debug)]
pub(crate) struct TurnMeter {
    /// The next turn may well be a long one: the last was.
    watches: bool,
}

impl TurnMeter {
    pub(crate) fn new() -> TurnMeter {
        TurnMeter { watches: true }
    }

    pub(crate) fn measure(&mut self, clock: &Clock, turn: impl FnOnce()) -> TurnUsage {
        let before = self.watches.then(ThreadUsage::now);
        let begun = clock.now();
        turn();
        let took = clock.now().saturating_duration_since(begun);
        self.watches = took >= MIN_MEASURED_TURN;
        let asleep = if self.watches {
            before.map(|before| before.slept(took))
        } else {
            Some(Duration::ZERO)
        };
        TurnUsage { turn: took, asleep }
    }
}
