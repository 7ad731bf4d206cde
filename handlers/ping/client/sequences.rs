//! Which requests are waited for, and what an arriving reply is: in time, late, or a duplicate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ping::packet::Reply;

/// Requests that are remembered, so that a late or second reply is known as such.
const REMEMBERED: usize = 65_536;

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The request's number, from 1 on.
    pub sequence: u64,
    /// What happened to it.
    pub what: What,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A reply came, after this time.
    Reply(Duration),
    /// A reply came although nobody waited any more: it isn't lost.
    Late(Duration),
    /// One more reply came.
    Duplicate(Duration),
    /// No reply came in time.
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    TimedOut,
    Answered,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    /// What the datagram says, so that a stranger's isn't taken for a reply.
    time: Duration,
    state: State,
}

/// The requests to one server.
#[derive(Debug)]
pub struct Sequences {
    timeout: Duration,
    sent: VecDeque<Sent>,
    /// The sequence of the first in `sent`.
    first: u64,
    /// No earlier sequence is waited for.
    waiting_from: u64,
}

impl Sequences {
    /// Each request is waited for so long.
    pub fn new(timeout: Duration) -> Sequences {
        Sequences {
            timeout,
            sent: VecDeque::new(),
            first: 1,
            waiting_from: 1,
        }
    }

    /// The number that the next request has.
    pub fn next(&self) -> u64 {
        self.first + self.sent.len() as u64
    }

    /// A request is sent, that says it is `time` since 1970.
    pub fn send(&mut self, at: Instant, time: Duration) {
        self.sent.push_back(Sent {
            at,
            time,
            state: State::Waiting,
        });
        while self.sent.len() > REMEMBERED && self.sent[0].state != State::Waiting {
            self.sent.pop_front();
            self.first += 1;
        }
        self.waiting_from = self.waiting_from.max(self.first);
    }

    /// When the next request times out; `None` when none is waited for.
    pub fn deadline(&self) -> Option<Instant> {
        self.get(self.waiting_from)
            .map(|sent| sent.at + self.timeout)
    }

    /// The next request that has timed out by now, if there is one.
    pub fn expire(&mut self, now: Instant) -> Option<Event> {
        if self.deadline()? > now {
            return None;
        }
        let sequence = self.waiting_from;
        self.set(sequence, State::TimedOut);
        Some(Event {
            sequence,
            what: What::TimedOut,
        })
    }

    /// A reply arrived; `None` if it answers nothing that is known here.
    pub fn receive(&mut self, reply: &Reply, now: Instant) -> Option<Event> {
        let sequence = reply.sequence;
        let sent = self.get(sequence).filter(|sent| sent.time == reply.time)?;
        let round_trip = now.saturating_duration_since(sent.at);
        let what = match sent.state {
            State::Waiting => What::Reply(round_trip),
            State::TimedOut => What::Late(round_trip),
            State::Answered => What::Duplicate(round_trip),
        };
        self.set(sequence, State::Answered);
        Some(Event { sequence, what })
    }

    fn get(&self, sequence: u64) -> Option<&Sent> {
        self.sent
            .get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    fn set(&mut self, sequence: u64, state: State) {
        if let Some(sent) = usize::try_from(sequence - self.first)
            .ok()
            .and_then(|index| self.sent.get_mut(index))
        {
            sent.state = state;
        }
        while self
            .get(self.waiting_from)
            .is_some_and(|sent| sent.state != State::Waiting)
        {
            self.waiting_from += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reply(sequence: u64) -> Reply {
        Reply {
            sequence,
            time: Duration::from_secs(sequence),
            count: None,
        }
    }

    /// So many requests, one every 100 ms.
    fn sent(count: u32) -> (Sequences, Instant) {
        let (mut sequences, begun) = (Sequences::new(SECOND), Instant::now());
        for number in 1..=count {
            assert_eq!(sequences.next(), u64::from(number));
            sequences.send(
                begun + Duration::from_millis(100) * (number - 1),
                Duration::from_secs(number.into()),
            );
        }
        (sequences, begun)
    }

    #[test]
    fn a_reply_in_time_is_followed_by_duplicates() {
        let (mut sequences, begun) = sent(2);
        let now = begun + Duration::from_millis(150);
        let event = |millis, what: fn(Duration) -> What| Event {
            sequence: 2,
            what: what(Duration::from_millis(millis)),
        };
        assert_eq!(
            sequences.receive(&reply(2), now),
            Some(event(50, What::Reply))
        );
        assert_eq!(
            sequences.receive(&reply(2), now),
            Some(event(50, What::Duplicate))
        );
        assert_eq!(
            sequences.deadline(),
            Some(begun + SECOND),
            "the first is still waited for"
        );
    }

    #[test]
    fn requests_time_out_in_their_order_and_may_be_answered_late() {
        let (mut sequences, begun) = sent(3);
        sequences.receive(&reply(2), begun + SECOND / 2).unwrap();
        assert_eq!(sequences.expire(begun + SECOND * 9 / 10), None);
        let late = begun + SECOND * 2;
        assert_eq!(
            sequences.expire(late),
            Some(Event {
                sequence: 1,
                what: What::TimedOut
            })
        );
        assert_eq!(
            sequences.expire(late),
            Some(Event {
                sequence: 3,
                what: What::TimedOut
            })
        );
        assert_eq!((sequences.expire(late), sequences.deadline()), (None, None));
        let event = sequences.receive(&reply(1), late).unwrap();
        assert_eq!(
            event,
            Event {
                sequence: 1,
                what: What::Late(SECOND * 2)
            }
        );
        assert!(matches!(
            sequences.receive(&reply(1), late).unwrap().what,
            What::Duplicate(_)
        ));
    }

    #[test]
    fn what_nobody_asked_for_is_no_reply() {
        let (mut sequences, now) = sent(2);
        for sequence in [0, 3, u64::MAX] {
            assert_eq!(sequences.receive(&reply(sequence), now), None, "{sequence}");
        }
        let of_another_run = Reply {
            time: SECOND * 77,
            ..reply(1)
        };
        assert_eq!(sequences.receive(&of_another_run, now), None);
    }

    #[test]
    fn a_long_run_takes_bounded_memory() {
        let (mut sequences, now) = (Sequences::new(SECOND), Instant::now());
        for number in 1..=REMEMBERED as u64 + 1000 {
            sequences.send(now, Duration::from_secs(number));
            assert!(sequences.receive(&reply(number), now).is_some());
        }
        sequences.send(now, SECOND);
        assert_eq!(sequences.sent.len(), REMEMBERED);
        assert_eq!(sequences.receive(&reply(1), now), None, "it is forgotten");
        assert_eq!(sequences.next(), REMEMBERED as u64 + 1002);
    }
}
