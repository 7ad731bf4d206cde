//! The statistics of a server. The counters are relaxed atomics, spread over a few cache lines so
//! that threads do not share one.

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

/// What is counted for every message. Each shard belongs to a few threads.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    /// Connections that became active on this shard's threads, minus those that became inactive.
    /// The number of one shard may be negative (wrapped). The sum of all shards is the number of
    /// active connections.
    active: AtomicU64,
    waiting: Buckets,
    running: Buckets,
}

impl Stats {
    /// A call of `handle` took `running`, after the message had waited in the queue for `waiting`.
    #[inline]
    pub(crate) fn handled(&self, waiting: Duration, running: Duration) {
        let shard = &self.shards[shard_of_thread()];
        shard.waiting.record(waiting);
        shard.running.record(running);
    }

    /// A connection has become active or inactive.
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
            active = active.wrapping_add(shard.active.load(Relaxed));
            shard.waiting.add_to(&mut snapshot.waiting);
            shard.running.add_to(&mut snapshot.running);
        }
        // Each call is in the histogram, so it needs no counter of its own.
        snapshot.handled = snapshot.running.count();
        // The shards are not read at the same moment, so the sum may miss changes that happen
        // meanwhile.
        snapshot.active = usize::try_from(active.cast_signed()).unwrap_or(0);
        snapshot
    }
}

fn shard_of_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Relaxed) % SHARDS));
    SHARD.get()
}

/// The statistics of a server at one moment, from
/// [`ServerHandle::stats`](crate::ServerHandle::stats).
///
/// ```
/// use std::io::Write;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Next, Refusal, StreamRequest, Timeout};
///
/// let echo = |request: &mut StreamRequest| {
///     request.wfile.write_all(request.rfile.take_all())?;
///     Ok(Next::Wait)
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| echo);
/// client.send(b"hello");
/// let stats = client.server().stats();
/// assert_eq!((stats.handled, stats.failed, stats.panics), (1, 0, 0));
/// assert_eq!((stats.refused(Refusal::Denied), stats.refused_total()), (0, 0));
/// assert_eq!((stats.timeouts(Timeout::Idle), stats.timeouts_total()), (0, 0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsSnapshot {
    /// Connections accepted, including those that were refused, and datagrams received. Under
    /// [`ForkingMixIn`](crate::ForkingMixIn) all counters include the child processes.
    pub accepted: u64,
    /// Calls of `handle` that returned or panicked.
    pub handled: u64,
    /// Open connections.
    pub open: usize,
    /// Open connections that are idle and hold no thread.
    pub parked: usize,
    /// Open connections that are within a message, parked or on a thread.
    pub active: usize,
    /// Open connections that are ready and wait for a thread of the pool.
    pub queued: usize,
    /// Threads of the pool; 0 for the other concurrency models.
    pub threads: usize,
    /// Threads of the pool that the system refused, since the pool was made; 0 for the other
    /// concurrency models.
    pub thread_failures: u64,
    /// Connections and datagrams that ended with an error, without panics. A peer that disconnects
    /// is not an error.
    pub failed: u64,
    /// Panics of handlers and hooks.
    pub panics: u64,
    /// Connections in flight that were aborted at the end of the grace time, and datagrams that
    /// were then dropped while they waited for an earlier one of their peer.
    pub aborted: u64,
    /// Datagrams that the system dropped before the server could receive them (`SK_MEMINFO_DROPS`,
    /// the count of `SO_RXQ_OVFL` in socket(7)), since the server has the socket. The usual reason
    /// is a full [receive buffer](crate::Builder::receive_buffer): datagrams arrive faster than
    /// handlers serve them. A wrong checksum is another. Always 0 on systems other than Linux, and
    /// for Unix sockets, whose senders get an error instead.
    pub datagrams_dropped: u64,
    refused: [u64; Refusal::COUNT],
    timeouts: [u64; Timeout::COUNT],
    /// Times between the moment at which a message was ready and the call of `handle`.
    pub waiting: Histogram,
    /// Run times of `handle`.
    pub running: Histogram,
}

impl StatsSnapshot {
    /// Number of connections and datagrams that were refused for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused[why as usize]
    }

    /// Number of connections and datagrams that were refused for any reason.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Number of connections that ended at this deadline.
    pub fn timeouts(&self, what: Timeout) -> u64 {
        self.timeouts[what as usize]
    }

    /// Number of connections that ended at any deadline.
    pub fn timeouts_total(&self) -> u64 {
        self.timeouts.iter().sum()
    }
}

/// Four buckets per octave of nanoseconds: a quantile is exact to 25 %.
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

/// The upper end of bucket `index`.
fn bucket_end(index: usize) -> Duration {
    let (octave, quarter) = ((index / 4) as u32, (index % 4) as u64);
    Duration::from_nanos(((4 + quarter + 1) << octave) >> 2)
}

/// A distribution of durations.
///
/// ```
/// use std::time::Duration;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let ignore = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     Ok(Next::Wait)
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| ignore);
/// client.send(b"a").send(b"b");
/// let running = client.server().stats().running;
/// assert_eq!(running.count(), 2);
/// let (median, slowest) = (running.quantile(0.5), running.quantile(1.0));
/// assert!(median <= slowest && slowest < Duration::from_secs(1));
/// for (up_to, count) in running.buckets() {
///     println!("at most {up_to:?}: {count}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram([u64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; BUCKETS])
    }
}

impl Histogram {
    /// Number of recorded durations.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration that the share `q` of the recorded ones does not exceed, rounded up to the end
    /// of its bucket (at most 25 % more). Range of `q`: 0.0 to 1.0; other values are moved into it.
    /// Zero if nothing was recorded.
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

    /// The upper end and the count of each bucket that is not empty, for an export.
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
