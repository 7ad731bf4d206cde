//! Delays the challenges of addresses that fail repeatedly.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures older than this are forgotten.
const MEMORY: Duration = Duration::from_secs(60);
/// From this number of failures within [`MEMORY`] on, challenges are delayed.
const FIRST_DELAYED: usize = 6;
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// Number of times that the delay doubles: 250 ms, 500 ms, 1 s, 2 s.
const DOUBLINGS: usize = 3;
/// Maximum number of failures that are remembered of one address. More would not change the delay.
const MAX_FAILURES: usize = FIRST_DELAYED + DOUBLINGS;
/// Maximum number of addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;

/// The failures of each address within the last minute. In a server that forks, each process
/// remembers only its own.
#[derive(Debug, Default)]
pub struct Backoff {
    /// The times of the failures of each address. Clients of Unix sockets have no address, and
    /// count as one.
    failures: Mutex<HashMap<Option<IpAddr>, VecDeque<Instant>>>,
}

impl Backoff {
    /// Returns the delay of the address's next challenge.
    pub fn delay(&self, client: Option<IpAddr>, now: Instant) -> Duration {
        let failures = self.failures.lock();
        let Some(times) = failures.get(&network(client)) else {
            return Duration::ZERO;
        };
        let recent = times.iter().filter(|time| is_recent(**time, now)).count();
        match recent.checked_sub(FIRST_DELAYED) {
            None => Duration::ZERO,
            Some(more) => FIRST_DELAY * (1 << more.min(DOUBLINGS)),
        }
    }

    /// Records a failure of the address.
    pub fn failed(&self, client: Option<IpAddr>, now: Instant) {
        let client = network(client);
        let mut failures = self.failures.lock();
        if !failures.contains_key(&client) && failures.len() >= MAX_ADDRESSES {
            make_room(&mut failures, now);
        }
        let times = failures.entry(client).or_default();
        if times.len() == MAX_FAILURES {
            times.pop_front();
        }
        times.push_back(now);
    }
}

/// Forgets addresses without a recent failure. If there are none, the address whose last failure is
/// the oldest is forgotten.
fn make_room(failures: &mut HashMap<Option<IpAddr>, VecDeque<Instant>>, now: Instant) {
    failures.retain(|_, times| times.back().is_some_and(|last| is_recent(*last, now)));
    if failures.len() >= MAX_ADDRESSES
        && let Some(quietest) = failures
            .iter()
            .min_by_key(|(_, times)| times.back())
            .map(|(client, _)| *client)
    {
        failures.remove(&quietest);
    }
}

fn is_recent(time: Instant, now: Instant) -> bool {
    now.saturating_duration_since(time) < MEMORY
}

/// Returns the address that failures are counted for. A client with one IPv6 address usually has
/// 2^64 of them (RFC 4291 §2.5.1), so its /64 network counts as one address.
fn network(client: Option<IpAddr>) -> Option<IpAddr> {
    client.map(|ip| match ip {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        v4 => v4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    #[test]
    fn the_sixth_failure_delays_and_each_further_one_doubles_up_to_two_seconds() {
        let backoff = Backoff::default();
        let now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..12 {
            backoff.failed(address(1), now);
            delays.push(backoff.delay(address(1), now).as_millis());
        }
        assert_eq!(
            delays,
            [0, 0, 0, 0, 0, 250, 500, 1000, 2000, 2000, 2000, 2000]
        );
        assert_eq!(backoff.delay(address(2), now), Duration::ZERO);
        assert_eq!(backoff.delay(None, now), Duration::ZERO);
    }

    #[test]
    fn failures_are_forgotten_after_a_minute() {
        let backoff = Backoff::default();
        let start = Instant::now();
        for second in 0..6 {
            backoff.failed(address(1), start + second * SECOND);
        }
        assert_eq!(backoff.delay(address(1), start + 59 * SECOND), FIRST_DELAY);
        assert_eq!(
            backoff.delay(address(1), start + 60 * SECOND),
            Duration::ZERO
        );
        backoff.failed(address(1), start + 60 * SECOND);
        assert_eq!(backoff.delay(address(1), start + 60 * SECOND), FIRST_DELAY);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_client() {
        let backoff = Backoff::default();
        let now = Instant::now();
        let host = |host: u16| {
            Some(IpAddr::V6(Ipv6Addr::new(
                0x2001, 0xdb8, 0, 1, host, 0, 0, host,
            )))
        };
        (0..6).for_each(|number| backoff.failed(host(number), now));
        assert_eq!(backoff.delay(host(100), now), FIRST_DELAY);
        assert_eq!(
            backoff.delay("2001:db8:0:2::".parse().ok(), now),
            Duration::ZERO
        );
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_quietest() {
        let backoff = Backoff::default();
        let now = Instant::now();
        let most = u32::try_from(MAX_ADDRESSES).unwrap();
        (0..6).for_each(|_| backoff.failed(address(0), now));
        for number in 1..most {
            backoff.failed(address(number), now + SECOND);
        }
        backoff.failed(address(0), now + 2 * SECOND);
        backoff.failed(address(most), now + 2 * SECOND);
        assert_eq!(backoff.failures.lock().len(), MAX_ADDRESSES);
        assert_eq!(backoff.delay(address(0), now + 2 * SECOND), 2 * FIRST_DELAY);
        backoff.failed(address(most + 1), now + 90 * SECOND);
        assert_eq!(backoff.failures.lock().len(), 1);
    }
}
