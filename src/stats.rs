//! What a server counts, always: relaxed atomics, spread over a few cache lines so that threads
//! don't share one.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::error::{Refusal, Timeout};

const SHARDS: usize = 16;

/// The counters of one server.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    shards: [Shard; SHARDS],
    pub(crate) accepted: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) aborted: AtomicU64,
    refused: [AtomicU64; Refusal::COUNT],
    timeouts: [AtomicU64; Timeout::COUNT],
}

/// What is counted for every message, a shard per few threads.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    handled: AtomicU64,
    /// Connections that became active on this shard's threads, less those that ceased to be. One
    /// shard's number may be negative (wrapped); the sum of all is the number of active ones.
    active: AtomicU64,
    waiting: Buckets,
    running: Buckets,
}

impl Stats {
    /// One message handled, after `waiting` in the queue, in `running`.
    #[inline]
    pub(crate) fn handled(&self, waiting: Duration, running: Duration) {
        let shard = &self.shards[shard_of_thread()];
        shard.handled.fetch_add(1, Relaxed);
        shard.waiting.record(waiting);
        shard.running.record(running);
    }

    /// A connection has become active, or has ceased to be.
    #[inline]
    pub(crate) fn note_active(&self, active: bool) {
        let change = if active { 1 } else { u64::MAX };
        self.shards[shard_of_thread()]
            .active
            .fetch_add(change, Relaxed);
    }

    pub(crate) fn refused(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn timed_out(&self, what: Timeout) {
        self.timeouts[what as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> StatsSnapshot {
        let mut snapshot = StatsSnapshot {
            accepted: self.accepted.load(Relaxed),
            failed: self.failed.load(Relaxed),
            panics: self.panics.load(Relaxed),
            aborted: self.aborted.load(Relaxed),
            refused: std::array::from_fn(|i| self.refused[i].load(Relaxed)),
            timeouts: std::array::from_fn(|i| self.timeouts[i].load(Relaxed)),
            ..StatsSnapshot::default()
        };
        let mut active = 0_u64;
        for shard in &self.shards {
            snapshot.handled += shard.handled.load(Relaxed);
            active = active.wrapping_add(shard.active.load(Relaxed));
            shard.waiting.add_to(&mut snapshot.waiting);
            shard.running.add_to(&mut snapshot.running);
        }
        // The shards are not read at one moment: the sum may be off by the changes meanwhile.
        snapshot.active = usize::try_from(active.cast_signed()).unwrap_or(0);
        snapshot
    }
}

fn shard_of_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Relaxed) % SHARDS));
    SHARD.get()
}

/// The state of a server at one moment, from [`ServerHandle::stats`](crate::ServerHandle::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsSnapshot {
    /// Connections accepted, the refused ones too, and datagrams received.
    pub accepted: u64,
    /// Calls of `handle` that ended.
    pub handled: u64,
    /// Open connections.
    pub open: usize,
    /// Of these: idle, without a thread.
    pub parked: usize,
    /// Of these: within a message, parked or in a thread's hands.
    pub active: usize,
    /// Ready, and waiting for a thread.
    pub queued: usize,
    /// Threads of the pool; 0 for the other concurrency models.
    pub threads: usize,
    /// Threads of the pool that the system refused, since the pool was made; 0 for the other
    /// concurrency models.
    pub thread_failures: u64,
    /// Connections that ended with an error of the handler or the peer; a peer that vanishes isn't
    /// one.
    pub failed: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Connections in flight that the end of the grace time cut.
    pub aborted: u64,
    refused: [u64; Refusal::COUNT],
    timeouts: [u64; Timeout::COUNT],
    /// How long messages were ready before a thread took them.
    pub waiting: Histogram,
    /// How long `handle` ran.
    pub running: Histogram,
}

impl StatsSnapshot {
    /// How many connections were refused for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused[why as usize]
    }

    /// How many connections were refused, for whatever reason.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// How many connections ended at this deadline.
    pub fn timeouts(&self, what: Timeout) -> u64 {
        self.timeouts[what as usize]
    }

    /// How many connections ended at a deadline, whichever.
    pub fn timeouts_total(&self) -> u64 {
        self.timeouts.iter().sum()
    }
}

/// Four buckets an octave of nanoseconds: a quantile is exact to 19 %.
const BUCKETS: usize = 160;

#[derive(Debug)]
struct Buckets([AtomicU64; BUCKETS]);

impl Default for Buckets {
    fn default() -> Buckets {
        Buckets(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Buckets {
    #[inline]
    fn record(&self, time: Duration) {
        self.0[bucket_of(time)].fetch_add(1, Relaxed);
    }

    fn add_to(&self, histogram: &mut Histogram) {
        for (sum, bucket) in histogram.0.iter_mut().zip(&self.0) {
            *sum += bucket.load(Relaxed);
        }
    }
}

#[inline]
fn bucket_of(time: Duration) -> usize {
    let nanos = (time.as_nanos() as u64).max(4);
    let octave = nanos.ilog2();
    let quarter = (nanos >> (octave - 2)) & 3;
    ((octave as usize) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// Where bucket `index` ends.
fn bucket_end(index: usize) -> Duration {
    let (octave, quarter) = ((index / 4) as u32, (index % 4) as u64);
    Duration::from_nanos(((4 + quarter + 1) << octave) >> 2)
}

/// How durations are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram([u64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; BUCKETS])
    }
}

impl Histogram {
    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// A duration that the share `q` (0.0 to 1.0) doesn't exceed; zero when nothing was recorded.
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = (q.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64;
        let mut seen = 0;
        for (index, &count) in self.0.iter().enumerate() {
            seen += count;
            if count > 0 && seen >= rank {
                return bucket_end(index);
            }
        }
        Duration::ZERO
    }

    /// The upper ends of the buckets that hold something, with their counts: for an export.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(|(i, n)| (bucket_end(i), *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_a_fifth_of_the_truth() {
        let buckets = Buckets::default();
        (1..=1000).for_each(|micros| buckets.record(Duration::from_micros(micros)));
        let mut histogram = Histogram::default();
        buckets.add_to(&mut histogram);
        assert_eq!(histogram.count(), 1000);
        for (q, micros) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let found = histogram.quantile(q).as_secs_f64() * 1e6;
            assert!(found >= micros && found <= micros * 1.26, "{q}: {found}");
        }
    }

    #[test]
    fn every_duration_ends_in_a_bucket_that_covers_it() {
        for nanos in [0, 1, 5, 1023, 1024, 1025, u64::MAX / 2] {
            let index = bucket_of(Duration::from_nanos(nanos));
            assert!(
                index == BUCKETS - 1 || bucket_end(index) > Duration::from_nanos(nanos),
                "{nanos}"
            );
        }
    }
}
