//! Tracks the requests to a server, and classifies replies: in time, late, or duplicate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ping::packet::Reply;

/// Maximum number of requests that are remembered, to recognise late and duplicate replies.
const REMEMBERED: usize = 65_536;

/// An event of a request, to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number of the request. The first one is 1.
    pub sequence: u64,
    /// What happened to it.
    pub what: What,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A reply arrived in time, after this duration.
    Reply(Duration),
    /// A reply arrived after the timeout, after this duration. The request does not count as lost
    /// any more.
    Late(Duration),
    /// Another reply to the same request arrived, after this duration.
    Duplicate(Duration),
    /// No reply arrived before the timeout.
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
    /// The time in the datagram. A datagram with another time is not a reply to this request.
    time: Duration,
    state: State,
}

/// The requests to a server.
#[derive(Debug)]
pub struct Sequences {
    timeout: Duration,
    sent: VecDeque<Sent>,
    /// The sequence number of the first request in `sent`.
    first: u64,
    /// All requests with a lower sequence number are answered or timed out.
    waiting_from: u64,
}

impl Sequences {
    /// Creates an empty list of requests. `timeout` is the maximum time to wait for a reply.
    pub fn new(timeout: Duration) -> Sequences {
        Sequences {
            timeout,
            sent: VecDeque::new(),
            first: 1,
            waiting_from: 1,
        }
    }

    /// Returns the number of the next request.
    pub fn next(&self) -> u64 {
        self.first + self.sent.len() as u64
    }

    /// Records that a request was sent at `at`. `time` is the time in the datagram, since 1970.
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

    /// Returns the time when the next request times out; `None` if no request waits for a reply.
    pub fn deadline(&self) -> Option<Instant> {
        self.get(self.waiting_from)
            .map(|sent| sent.at + self.timeout)
    }

    /// Returns the next request that has timed out, if there is one.
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

    /// Records a reply. `None` if it does not match a remembered request.
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

    /// Sends this many requests, one every 100 ms.
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
