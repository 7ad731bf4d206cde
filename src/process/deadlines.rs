//! When the leader must look at which slot of the registry.

use std::time::Instant;

/// A slot that is not in the heap has this position.
const ABSENT: usize = usize::MAX;

/// A binary heap that holds each slot at most once, the earliest first.
///
/// A slot's moment can be changed in place. A heap that only grows by a new entry for each change
/// keeps the old entries until they are due. A connection that alternates a short alarm and a long
/// idle wait would then add one entry for each message.
#[derive(Default)]
pub(crate) struct DeadlineHeap {
    entries: Vec<(Instant, usize)>,
    /// The position of each slot's entry in `entries`, by the slot's index.
    positions: Vec<usize>,
}

impl DeadlineHeap {
    /// The earliest moment.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// How many slots have a moment.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Sets a slot's moment, in place of the one that it had. O(log n).
    pub(crate) fn set(&mut self, slot: usize, at: Instant) {
        if slot >= self.positions.len() {
            self.positions.resize(slot + 1, ABSENT);
        }
        let mut position = self.positions[slot];
        if position == ABSENT {
            position = self.entries.len();
            self.entries.push((at, slot));
        }
        self.entries[position].0 = at;
        self.positions[slot] = position;
        self.restore(position);
    }

    /// Takes the earliest entry out, if it is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, usize)> {
        let due = self.first().is_some_and(|at| at <= now);
        let (at, slot) = due.then(|| self.entries.swap_remove(0))?;
        self.positions[slot] = ABSENT;
        if let Some((_, moved)) = self.entries.first() {
            self.positions[*moved] = 0;
            self.restore(0);
        }
        Some((at, slot))
    }

    /// Moves the entry at `position` up or down, to where its moment belongs.
    fn restore(&mut self, mut position: usize) {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.entries[parent].0 <= self.entries[position].0 {
                break;
            }
            self.swap(parent, position);
            position = parent;
        }
        loop {
            let children = 2 * position + 1..self.entries.len().min(2 * position + 3);
            let Some(child) = children.min_by_key(|child| self.entries[*child].0) else {
                return;
            };
            if self.entries[position].0 <= self.entries[child].0 {
                return;
            }
            self.swap(position, child);
            position = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.entries.swap(a, b);
        self.positions[self.entries[a].1] = a;
        self.positions[self.entries[b].1] = b;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;

    #[test]
    fn slots_come_out_by_their_last_moment_and_each_once() {
        let start = Instant::now();
        let mut heap = DeadlineHeap::default();
        let mut expected = HashMap::new();
        let mut random: u64 = 1;
        for step in 0..20_000_u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let slot = (random >> 33) as usize % 100;
            let at = start + Duration::from_micros(step + (random >> 40) % 1000);
            heap.set(slot, at);
            expected.insert(slot, at);
            assert_eq!(heap.len(), expected.len());
            let now = start + Duration::from_micros(step);
            while let Some((at, slot)) = heap.pop_due(now) {
                assert_eq!(expected.remove(&slot), Some(at));
            }
            assert_eq!(heap.first(), expected.values().min().copied());
        }
    }
}
