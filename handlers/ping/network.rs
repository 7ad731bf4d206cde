//! A simulated lossy network, which decides what happens to each datagram. The same seed leads to
//! the same decisions.

use std::time::Duration;

use super::random::SplitMix64;

/// The faults of the network. The default is no faults.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Period of lost datagrams: the 1st, N+1st, 2N+1st … datagram is lost.
    pub drop_every: Option<u64>,
    /// Number of the datagram at which the server ends.
    pub max_requests: Option<u64>,
    /// Fraction of datagrams that are lost, 0 to 1: half of the losses are requests, half are
    /// replies.
    pub loss: f64,
    /// Delay of each reply.
    pub delay: Duration,
    /// Maximum random deviation from the delay, in both directions, with a uniform distribution.
    /// The result is never below zero.
    pub jitter: Duration,
    /// Fraction of replies that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// Fraction of replies that the next reply overtakes, 0 to 1.
    pub reorder: f64,
}

impl Conditions {
    /// Whether the conditions affect no datagram.
    pub fn are_perfect(&self) -> bool {
        self.drop_every.is_none()
            && self.max_requests.is_none()
            && !self.are_random()
            && !self.take_time()
    }

    /// Whether any fault is random.
    pub fn are_random(&self) -> bool {
        self.loss > 0.0 || self.duplicate > 0.0 || self.reorder > 0.0 || !self.jitter.is_zero()
    }

    /// Whether replies are delayed, so that a thread must send them.
    pub fn take_time(&self) -> bool {
        !self.delay.is_zero() || !self.jitter.is_zero() || self.reorder > 0.0
    }
}

/// What happens to a datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// The request is lost on its way to the server.
    RequestLost,
    /// The request reaches the server, and the reply is lost.
    ReplyLost,
    /// The request is answered.
    Answered(Answer),
    /// The server ends without an answer.
    Last,
}

/// How a datagram is answered: the delays and order of its replies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    /// Delay of the reply.
    pub delay: Duration,
    /// Delay of the second copy; `None` if there is none.
    pub duplicate: Option<Duration>,
    /// The order of the reply among other replies.
    pub order: Order,
}

/// The order of a reply among other replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The order is unchanged.
    #[default]
    Kept,
    /// This reply waits until another has overtaken it.
    Held,
    /// This reply overtakes the one that is held.
    Overtakes,
}

/// Decides what happens to each datagram, in the order of arrival.
#[derive(Debug)]
pub struct Network {
    conditions: Conditions,
    random: SplitMix64,
    arrived: u64,
    holds: bool,
}

impl Network {
    /// Creates a network whose random decisions depend on the seed only.
    pub fn new(conditions: Conditions, seed: u64) -> Network {
        Network {
            conditions,
            random: SplitMix64::new(seed),
            arrived: 0,
            holds: false,
        }
    }

    /// Decides what happens to the next datagram.
    pub fn fate(&mut self) -> Fate {
        let Conditions {
            drop_every,
            max_requests,
            loss,
            duplicate,
            reorder,
            ..
        } = self.conditions;
        self.arrived += 1;
        if max_requests.is_some_and(|max| self.arrived >= max) {
            return Fate::Last;
        }
        // The same random numbers are drawn for each datagram, so that each fault is independent of
        // the settings of the others.
        let [lost, back, doubled, held] = [(); 4].map(|()| self.random.fraction());
        let [delay, second_delay] = [(); 2].map(|()| self.delay());
        if drop_every.is_some_and(|every| (self.arrived - 1).is_multiple_of(every)) {
            return Fate::RequestLost;
        }
        if lost < loss {
            return if back < 0.5 {
                Fate::RequestLost
            } else {
                Fate::ReplyLost
            };
        }
        let order = match (self.holds, held < reorder) {
            (true, _) => Order::Overtakes,
            (false, true) => Order::Held,
            (false, false) => Order::Kept,
        };
        self.holds = order == Order::Held;
        Fate::Answered(Answer {
            delay,
            duplicate: (doubled < duplicate).then_some(second_delay),
            order,
        })
    }

    fn delay(&mut self) -> Duration {
        let Conditions { delay, jitter, .. } = self.conditions;
        (delay + jitter.mul_f64(2.0 * self.random.fraction())).saturating_sub(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(conditions: Conditions, seed: u64, count: usize) -> Vec<Fate> {
        let mut network = Network::new(conditions, seed);
        std::iter::repeat_with(|| network.fate())
            .take(count)
            .collect()
    }

    fn part(fates: &[Fate], is: impl Fn(&Fate) -> bool) -> f64 {
        fates.iter().filter(|fate| is(fate)).count() as f64 / fates.len() as f64
    }

    fn answers(fates: &[Fate]) -> impl Iterator<Item = Answer> {
        fates.iter().filter_map(|fate| {
            if let Fate::Answered(answer) = fate {
                Some(*answer)
            } else {
                None
            }
        })
    }

    #[test]
    fn a_perfect_network_answers_everything_at_once() {
        assert!(Conditions::default().are_perfect());
        assert_eq!(
            fates(Conditions::default(), 1, 100),
            vec![Fate::Answered(Answer::default()); 100]
        );
    }

    #[test]
    fn the_same_seed_brings_the_same_fates_and_another_seed_others() {
        let bad = || Conditions {
            loss: 0.2,
            duplicate: 0.1,
            reorder: 0.1,
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(20),
            ..Conditions::default()
        };
        assert_eq!(fates(bad(), 42, 1000), fates(bad(), 42, 1000));
        assert_ne!(fates(bad(), 42, 1000), fates(bad(), 43, 1000));
    }

    #[test]
    fn every_nth_is_lost_beginning_with_the_first() {
        for every in 1..5 {
            let fates = fates(
                Conditions {
                    drop_every: Some(every),
                    ..Conditions::default()
                },
                1,
                20,
            );
            for (index, fate) in (0..).zip(fates) {
                assert_eq!(
                    fate == Fate::RequestLost,
                    index % every == 0,
                    "{index} of every {every}"
                );
            }
        }
    }

    #[test]
    fn the_last_datagram_ends_the_server() {
        let fates = fates(
            Conditions {
                max_requests: Some(3),
                ..Conditions::default()
            },
            1,
            4,
        );
        let answered = Fate::Answered(Answer::default());
        assert_eq!(fates, [answered, answered, Fate::Last, Fate::Last]);
    }

    #[test]
    fn losses_are_as_many_as_asked_and_go_both_ways() {
        for (loss, least, most) in [
            (0.0, 0.0, 0.0),
            (0.1, 0.09, 0.11),
            (0.5, 0.48, 0.52),
            (1.0, 1.0, 1.0),
        ] {
            let fates = fates(
                Conditions {
                    loss,
                    ..Conditions::default()
                },
                7,
                10_000,
            );
            let requests = part(&fates, |fate| *fate == Fate::RequestLost);
            let replies = part(&fates, |fate| *fate == Fate::ReplyLost);
            assert!(
                (least..=most).contains(&(requests + replies)),
                "{loss}: {}",
                requests + replies
            );
            assert!(
                (requests - replies).abs() <= 0.03,
                "{loss}: {requests} in, {replies} back"
            );
        }
    }

    #[test]
    fn another_condition_does_not_change_which_datagrams_are_lost() {
        let lost = |conditions| {
            let is_lost = |fate: &Fate| !matches!(fate, Fate::Answered(_));
            fates(conditions, 5, 500)
                .iter()
                .map(is_lost)
                .collect::<Vec<_>>()
        };
        let alone = Conditions {
            loss: 0.3,
            ..Conditions::default()
        };
        let jitter = Duration::from_millis(9);
        assert_eq!(
            lost(alone.clone()),
            lost(Conditions {
                duplicate: 0.5,
                reorder: 0.5,
                jitter,
                ..alone
            })
        );
    }

    #[test]
    fn delays_spread_evenly_around_the_middle_and_never_below_zero() {
        let [delay, jitter] = [100, 30].map(Duration::from_millis);
        let all = fates(
            Conditions {
                delay,
                jitter,
                ..Conditions::default()
            },
            3,
            10_000,
        );
        let delays: Vec<f64> = answers(&all)
            .map(|answer| answer.delay.as_secs_f64() * 1000.0)
            .collect();
        assert!(delays.iter().all(|delay| (70.0..=130.0).contains(delay)));
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        assert!((mean - 100.0).abs() < 1.0, "{mean}");
        let short = Conditions {
            jitter,
            ..Conditions::default()
        };
        assert!(answers(&fates(short, 3, 1000)).all(|answer| answer.delay <= jitter));
    }

    #[test]
    fn duplicates_are_as_many_as_asked() {
        let all = fates(
            Conditions {
                duplicate: 0.25,
                ..Conditions::default()
            },
            9,
            10_000,
        );
        let doubled = answers(&all)
            .filter(|answer| answer.duplicate.is_some())
            .count();
        assert!((2300..2700).contains(&doubled), "{doubled}");
    }

    #[test]
    fn whoever_is_held_is_overtaken_by_the_next_that_is_answered() {
        let all = fates(
            Conditions {
                reorder: 1.0,
                ..Conditions::default()
            },
            1,
            4,
        );
        let orders: Vec<Order> = answers(&all).map(|answer| answer.order).collect();
        assert_eq!(
            orders,
            [Order::Held, Order::Overtakes, Order::Held, Order::Overtakes]
        );
        let all = fates(
            Conditions {
                reorder: 0.2,
                loss: 0.3,
                ..Conditions::default()
            },
            1,
            1000,
        );
        let orders: Vec<Order> = answers(&all).map(|answer| answer.order).collect();
        for pair in orders.windows(2) {
            assert_eq!(
                pair[0] == Order::Held,
                pair[1] == Order::Overtakes,
                "{pair:?}"
            );
        }
    }
}
