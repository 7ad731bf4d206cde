//! The loop of the client. One thread sends requests and waits for replies, timeouts and signals.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socketserver::Address;

use super::PingClient;
use super::report::{Report, Source};
use super::sequences::Sequences;
use super::signals::{Signals, has_come};
use super::statistics::Statistics;
use crate::client::datagram::{DatagramConnection, MAX_DATAGRAM};
use crate::ping::packet::{Reply, Request};

/// Maximum time that a flood waits for a reply before it sends the next request.
const FLOOD_PAUSE: Duration = Duration::from_millis(10);
/// Maximum number of replies of one server that are read before timeouts and other servers are
/// handled.
const REPLIES_PER_TURN: usize = 64;

/// A server that is measured.
#[derive(Debug)]
pub(super) struct Target {
    source: Source,
    connection: DatagramConnection,
    sequences: Sequences,
    statistics: Statistics,
    session: Option<u32>,
    next_send: Instant,
    /// Whether the last operation failed. A lasting error is reported once.
    failing: bool,
}

impl Target {
    /// `wait` is the timeout of a request. `split` is whether the server is asked to count.
    pub(super) fn new(
        address: &Address,
        connection: DatagramConnection,
        wait: Duration,
        split: bool,
    ) -> io::Result<Target> {
        connection.stop_waiting()?;
        let number = RandomState::new().hash_one(()).to_le_bytes();
        Ok(Target {
            source: Source {
                target: address.to_string(),
                from: connection.peer()?,
            },
            connection,
            sequences: Sequences::new(wait),
            statistics: Statistics::default(),
            session: split
                .then(|| u32::from_le_bytes([number[0], number[1], number[2], number[3]])),
            next_send: Instant::now(),
            failing: false,
        })
    }
}

/// Measures several servers at the same time.
pub(super) struct Pinger<O, E> {
    options: PingClient,
    targets: Vec<Target>,
    report: Report<O, E>,
    signals: Signals,
    buffer: Vec<u8>,
    end: Option<Instant>,
}

impl<O: io::Write, E: io::Write> Pinger<O, E> {
    pub(super) fn new(
        options: PingClient,
        targets: Vec<Target>,
        report: Report<O, E>,
        signals: Signals,
    ) -> Pinger<O, E> {
        let end = options.deadline.map(|deadline| Instant::now() + deadline);
        Pinger {
            options,
            targets,
            report,
            signals,
            buffer: vec![0; MAX_DATAGRAM],
            end,
        }
    }

    /// Runs until all requests are answered or timed out, or a signal or an error ends it. Returns
    /// the exit code.
    pub(super) fn run(mut self) -> io::Result<u8> {
        // If standard output is closed, no one reads the results, and the program ends.
        match self.measure() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        let summary = self.summaries(Report::summary);
        summary.or_else(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                Ok(())
            } else {
                Err(error)
            }
        })?;
        Ok(u8::from(
            self.targets
                .iter()
                .all(|target| target.statistics.received == 0),
        ))
    }

    fn summaries(
        &mut self,
        write: fn(&mut Report<O, E>, &Source, &Statistics, split: bool) -> io::Result<()>,
    ) -> io::Result<()> {
        let (report, split) = (&mut self.report, self.options.split);
        self.targets
            .iter()
            .try_for_each(|target| write(report, &target.source, &target.statistics, split))
    }

    fn measure(&mut self) -> io::Result<()> {
        while let Some(until) = self.send_what_is_due()? {
            self.wait(until)?;
            for index in 0..self.targets.len() {
                self.receive(index)?;
                self.expire(index)?;
            }
            if has_come(&self.signals.end) || self.end.is_some_and(|end| end <= Instant::now()) {
                break;
            }
            if has_come(&self.signals.status) {
                self.summaries(Report::interim)?;
            }
        }
        Ok(())
    }

    /// Sends the requests that are due. Returns the time of the next request or timeout; `None` if
    /// the run is over.
    fn send_what_is_due(&mut self) -> io::Result<Option<Instant>> {
        let mut events = Vec::new();
        for index in 0..self.targets.len() {
            if self
                .next_send(index)
                .is_some_and(|due| due <= Instant::now())
            {
                self.send(index)?;
            }
            events.extend(self.next_send(index));
            events.extend(self.targets[index].sequences.deadline());
        }
        Ok(events
            .into_iter()
            .min()
            .map(|first| self.end.map_or(first, |end| first.min(end))))
    }

    /// Returns the time of the next request; `None` after the last one.
    fn next_send(&self, index: usize) -> Option<Instant> {
        let target = &self.targets[index];
        self.options
            .count
            .is_none_or(|count| target.statistics.sent < count)
            .then_some(target.next_send)
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let target = &mut self.targets[index];
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let time = Duration::new(now.as_secs(), now.subsec_micros() * 1000);
        let request = Request {
            sequence: target.sequences.next(),
            time,
            session: target.session,
        };
        let datagram = request.to_datagram(self.options.size as usize);
        let sent_at = Instant::now();
        let mut result = target.connection.send(&datagram);
        if result
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            // The error was about an earlier datagram. This one was not sent yet, so it is sent
            // again.
            let second = target.connection.send(&datagram);
            result = result.and(
                second
                    .as_ref()
                    .map(drop)
                    .map_err(|error| error.kind().into()),
            );
        }
        target.sequences.send(sent_at, time);
        target.statistics.sent += 1;
        let interval = if self.options.flood {
            FLOOD_PAUSE
        } else {
            self.options.interval
        };
        // After a stop (Ctrl-Z), missed requests are not sent later. A flood has no fixed interval.
        let steady =
            Some(target.next_send + interval).filter(|due| *due > sent_at && !self.options.flood);
        target.next_send = steady.unwrap_or(sent_at + interval);
        result.or_else(|error| self.tell(index, &error))
    }

    /// Reports an error of the network, such as "connection refused". It may be temporary, so the
    /// run continues.
    fn tell(&mut self, index: usize, error: &io::Error) -> io::Result<()> {
        let target = &mut self.targets[index];
        if std::mem::replace(&mut target.failing, true) {
            return Ok(());
        }
        let source = &target.source;
        self.report.notice(&match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nothing listens at {}: connection refused", source.target)
            }
            _ => format!("can't reach {}: {error}", source.target),
        })
    }

    fn wait(&self, until: Instant) -> io::Result<()> {
        let time = until.saturating_duration_since(Instant::now());
        // The value is a century at most, see `duration`.
        let time = Timespec {
            tv_sec: time.as_secs().cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        };
        let signals = [self.signals.end.as_fd(), self.signals.status.as_fd()];
        let sockets = self.targets.iter().map(|target| target.connection.as_fd());
        let mut all: Vec<PollFd<'_>> = signals
            .into_iter()
            .chain(sockets)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut all, Some(&time)) {
            Err(error) if error != rustix::io::Errno::INTR => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        for _ in 0..REPLIES_PER_TURN {
            let target = &mut self.targets[index];
            let length = match target.connection.receive(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                Err(error) => {
                    self.tell(index, &error)?;
                    continue;
                }
            };
            let now = Instant::now();
            let Some(reply) = Reply::parse(&self.buffer[..length]) else {
                continue;
            };
            let Some(event) = target.sequences.receive(&reply, now) else {
                continue;
            };
            target.failing = false;
            if self.options.flood && target.sequences.deadline().is_none() {
                target.next_send = now;
            }
            target.statistics.record(event);
            if let Some(count) = reply.count {
                target.statistics.record_count(count);
            }
            self.report.event(index, &target.source, event)?;
        }
        Ok(())
    }

    fn expire(&mut self, index: usize) -> io::Result<()> {
        let target = &mut self.targets[index];
        while let Some(event) = target.sequences.expire(Instant::now()) {
            target.statistics.record(event);
            self.report.event(index, &target.source, event)?;
        }
        Ok(())
    }
}
