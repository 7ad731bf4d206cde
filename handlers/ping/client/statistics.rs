//! The statistics of a run. This module uses neither clocks nor sockets.

use std::time::Duration;

use super::sequences::{Event, What};
use crate::ping::random::SplitMix64;

/// Number of round trips that are kept for the percentiles. Up to this number the percentiles are
/// exact. Beyond it they are computed from a uniform sample.
const SAMPLE: usize = 65_536;

/// The statistics of a run.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Number of requests that were sent.
    pub sent: u64,
    /// Number of requests that were answered, in time or late.
    pub received: u64,
    /// Number of requests that timed out and were not answered later.
    pub lost: u64,
    /// Number of replies to requests that were answered already.
    pub duplicates: u64,
    /// Number of replies that arrived after the reply to a later request.
    pub reordered: u64,
    /// Number of replies that arrived after the timeout.
    pub late: u64,
    /// The round-trip times of the answered requests.
    pub round_trips: RoundTrips,
    /// The highest sequence number that was answered.
    highest: u64,
    /// The highest count that the server has reported; `None` if it reported none.
    counted: Option<u64>,
}

impl Statistics {
    /// Adds an event of a request.
    pub fn record(&mut self, event: Event) {
        match event.what {
            What::TimedOut => self.lost += 1,
            What::Duplicate(_) => self.duplicates += 1,
            What::Reply(round_trip) => self.arrived(event.sequence, round_trip),
            What::Late(round_trip) => {
                self.lost -= 1;
                self.late += 1;
                self.arrived(event.sequence, round_trip);
            }
        }
    }

    fn arrived(&mut self, sequence: u64, round_trip: Duration) {
        self.received += 1;
        self.reordered += u64::from(sequence < self.highest);
        self.highest = self.highest.max(sequence);
        self.round_trips.add(round_trip);
    }

    /// Records the number of requests that the server has reported.
    pub fn record_count(&mut self, count: u32) {
        self.counted = self.counted.max(Some(count.into()));
    }

    /// Returns the number of requests that are neither answered nor lost yet.
    pub fn in_flight(&self) -> u64 {
        self.sent - self.received - self.lost
    }

    /// Returns the percentage of lost requests among those that are answered or lost; 0 if there
    /// are none.
    pub fn loss_percent(&self) -> f64 {
        match self.received + self.lost {
            0 => 0.0,
            known => self.lost as f64 * 100.0 / known as f64,
        }
    }

    /// Returns the losses per direction; `None` if the server does not count.
    pub fn directions(&self) -> Option<Directions> {
        let counted = self.counted?;
        // The last reply contains the number of requests that had arrived by then. The fate of
        // later requests is unknown.
        let known = (self.highest - self.received).min(self.lost);
        let requests = self.highest.saturating_sub(counted).min(known);
        Some(Directions {
            requests,
            replies: known - requests,
            unknown: self.lost - known,
        })
    }
}

/// The losses per direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directions {
    /// Number of requests that did not reach the server.
    pub requests: u64,
    /// Number of replies that did not reach the client.
    pub replies: u64,
    /// Number of losses after the last reply. Their direction is unknown.
    pub unknown: u64,
}

/// The statistics of the round trips, in milliseconds.
#[derive(Debug)]
pub struct RoundTrips {
    count: u64,
    min: f64,
    max: f64,
    mean: f64,
    /// The sum of squared differences from the mean. Welford's algorithm computes it without a loss
    /// of precision in long runs.
    squares: f64,
    last: Option<f64>,
    jitter: f64,
    sample: Vec<f64>,
    random: SplitMix64,
}

/// The round-trip times of a summary, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The minimum.
    pub min: f64,
    /// The mean.
    pub avg: f64,
    /// The maximum.
    pub max: f64,
    /// The standard deviation (`ping` calls it mdev).
    pub mdev: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: f64,
}

impl Default for RoundTrips {
    fn default() -> RoundTrips {
        RoundTrips {
            count: 0,
            min: f64::INFINITY,
            max: 0.0,
            mean: 0.0,
            squares: 0.0,
            last: None,
            jitter: 0.0,
            sample: Vec::new(),
            random: SplitMix64::new(0),
        }
    }
}

impl RoundTrips {
    /// Adds a round trip, in the order of arrival.
    pub fn add(&mut self, round_trip: Duration) {
        let time = round_trip.as_secs_f64() * 1000.0;
        self.count += 1;
        self.min = self.min.min(time);
        self.max = self.max.max(time);
        let from_mean = time - self.mean;
        self.mean += from_mean / self.count as f64;
        self.squares += from_mean * (time - self.mean);
        if let Some(last) = self.last.replace(time) {
            // The round-trip time replaces the transit time of RFC 3550, because only the client's
            // clock is available.
            self.jitter += ((time - last).abs() - self.jitter) / 16.0;
        }
        self.keep(time);
    }

    /// Keeps a sample with Vitter's algorithm R: each round trip is in the sample with the same
    /// probability.
    fn keep(&mut self, time: f64) {
        if self.sample.len() < SAMPLE {
            self.sample.push(time);
        } else if let Ok(place) = usize::try_from(self.random.next() % self.count)
            && let Some(kept) = self.sample.get_mut(place)
        {
            *kept = time;
        }
    }

    /// Returns the statistics; `None` without any round trip.
    pub fn figures(&self) -> Option<Figures> {
        let mut sorted = self.sample.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        Some(Figures {
            min: self.min,
            avg: self.mean,
            max: self.max,
            mdev: (self.squares / self.count as f64).sqrt(),
            p50: percentile(&sorted, 50)?,
            p90: percentile(&sorted, 90)?,
            p99: percentile(&sorted, 99)?,
            jitter: self.jitter,
        })
    }
}

/// Returns the percentile by nearest rank: the smallest value that at least `percent` % of the
/// values do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(millis: &[u64]) -> Figures {
        let mut round_trips = RoundTrips::default();
        millis
            .iter()
            .for_each(|time| round_trips.add(Duration::from_millis(*time)));
        round_trips.figures().unwrap()
    }

    fn statistics(sent: u64, events: &[(u64, What)]) -> Statistics {
        let mut statistics = Statistics {
            sent,
            ..Statistics::default()
        };
        events.iter().for_each(|(sequence, what)| {
            statistics.record(Event {
                sequence: *sequence,
                what: *what,
            })
        });
        statistics
    }

    const REPLY: What = What::Reply(Duration::from_millis(1));
    const LATE: What = What::Late(Duration::from_millis(1500));
    const DUPLICATE: What = What::Duplicate(Duration::from_millis(2));

    #[track_caller]
    fn assert_close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn figures_are_those_of_the_textbook() {
        let of_eight = figures(&[2, 4, 4, 4, 5, 5, 7, 9]);
        assert_close(of_eight.min, 2.0);
        assert_close(of_eight.avg, 5.0);
        assert_close(of_eight.max, 9.0);
        assert_close(of_eight.mdev, 2.0);
        assert_close(of_eight.p50, 4.0);
        assert_close(of_eight.p90, 9.0);
        let of_one = figures(&[3]);
        for figure in [
            of_one.min, of_one.avg, of_one.max, of_one.p50, of_one.p90, of_one.p99,
        ] {
            assert_close(figure, 3.0);
        }
        assert_close(of_one.mdev, 0.0);
        assert_close(of_one.jitter, 0.0);
        assert!(RoundTrips::default().figures().is_none());
    }

    #[test]
    fn percentiles_are_by_nearest_rank_whatever_the_order() {
        let backwards: Vec<u64> = (1..=200).rev().collect();
        let figures = figures(&backwards);
        assert_close(figures.p50, 100.0);
        assert_close(figures.p90, 180.0);
        assert_close(figures.p99, 198.0);
    }

    #[test]
    fn jitter_follows_the_recurrence_of_rfc_3550() {
        assert_close(figures(&[10, 10, 10]).jitter, 0.0);
        assert_close(figures(&[10, 26]).jitter, 1.0);
        assert_close(figures(&[10, 26, 10]).jitter, 1.0 + (16.0 - 1.0) / 16.0);
    }

    #[test]
    fn a_long_run_keeps_a_fair_sample_in_bounded_memory() {
        let mut round_trips = RoundTrips::default();
        (0..4 * SAMPLE as u64).for_each(|micros| round_trips.add(Duration::from_micros(micros)));
        assert_eq!(round_trips.sample.len(), SAMPLE);
        let (figures, longest) = (round_trips.figures().unwrap(), 4.0 * SAMPLE as f64 / 1000.0);
        assert!(
            (figures.p50 / longest - 0.5).abs() < 0.02,
            "{}",
            figures.p50
        );
        assert!(
            (figures.p99 / longest - 0.99).abs() < 0.01,
            "{}",
            figures.p99
        );
    }

    #[test]
    fn a_late_reply_is_not_a_loss() {
        let statistics = statistics(2, &[(1, What::TimedOut), (2, What::TimedOut), (1, LATE)]);
        assert_eq!(
            (statistics.received, statistics.lost, statistics.late),
            (1, 1, 1)
        );
        assert_close(statistics.loss_percent(), 50.0);
    }

    #[test]
    fn what_is_in_flight_is_not_lost() {
        let statistics = statistics(4, &[(1, REPLY), (2, What::TimedOut)]);
        assert_eq!(statistics.in_flight(), 2);
        assert_close(statistics.loss_percent(), 50.0);
        assert_close(Statistics::default().loss_percent(), 0.0);
    }

    #[test]
    fn duplicates_and_replies_out_of_order_are_told_apart() {
        let statistics = statistics(
            4,
            &[
                (1, REPLY),
                (3, REPLY),
                (2, REPLY),
                (2, DUPLICATE),
                (4, REPLY),
                (1, DUPLICATE),
            ],
        );
        assert_eq!(
            (
                statistics.received,
                statistics.duplicates,
                statistics.reordered
            ),
            (4, 2, 1)
        );
    }

    #[test]
    fn the_servers_count_tells_which_way_the_lost_went() {
        let lost = [2, 3, 5, 7].map(|sequence| (sequence, What::TimedOut));
        let answered = [1, 4, 6].map(|sequence| (sequence, REPLY));
        let mut statistics = statistics(7, &[&answered[..], &lost[..]].concat());
        assert_eq!(statistics.directions(), None, "nobody counts");
        // Of the first six requests, four arrived: 1, 4, 6, and one with a lost reply.
        [4, 1, 2]
            .into_iter()
            .for_each(|count| statistics.record_count(count));
        assert_eq!(
            statistics.directions(),
            Some(Directions {
                requests: 2,
                replies: 1,
                unknown: 1
            })
        );
    }

    #[test]
    fn a_count_that_cannot_be_right_does_no_harm() {
        let mut statistics = statistics(3, &[(1, REPLY), (2, What::TimedOut), (3, REPLY)]);
        statistics.record_count(u32::MAX);
        assert_eq!(
            statistics.directions(),
            Some(Directions {
                requests: 0,
                replies: 1,
                unknown: 0
            })
        );
    }
}
