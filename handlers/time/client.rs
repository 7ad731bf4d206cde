//! `client time`: prints the time of a server, or the offset of its clock from the local clock.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use socketserver::Address;

use super::format::{Format, Style};
use super::sntp::{self, Estimate, Reply, Useless};
use crate::client::datagram::DatagramConnection;
use crate::client::output::{Output, quietly};
use crate::client::{Client, ClientOptions, Connection};
use crate::service::{Failure, refusal_in};

/// Maximum length of a text in bytes. Without it, a server that never closes the connection could
/// fill the memory.
const MAX_TEXT_LENGTH: usize = 4096;

/// The options of `client time`.
#[derive(Debug, Args)]
pub struct TimeClient {
    /// Use UDP
    #[arg(long)]
    udp: bool,
    /// Use SNTP (implies --udp)
    #[arg(long)]
    sntp: bool,
    /// Print the estimated offset of the server's clock from this one, and the delay, in seconds
    #[arg(long)]
    offset: bool,
    /// Read the server's text as UTC, and print UTC
    #[arg(long)]
    utc: bool,
}

impl Client for TimeClient {
    fn run(self, address: &Address, options: &ClientOptions) -> Result<u8, Failure> {
        let zone = super::zone(self.utc);
        let line = if self.sntp {
            let server = DatagramConnection::open(address, options)?;
            let exchange = ask_sntp(&server, options.timeout)?;
            if self.offset {
                describe(exchange.estimate(), None)
            } else {
                plain(exchange.time(), &zone)?
            }
        } else {
            let answer = if self.udp {
                ask_by_datagram(&DatagramConnection::open(address, options)?)
            } else {
                // The server sends the time as soon as the connection is open, so connecting is the
                // request.
                let begun = Instant::now();
                ask(&mut Connection::open(address, options)?, begun)
            }
            .map_err(Failure::run)?;
            if let Some(reason) = refusal_in(&answer.bytes) {
                return Err(Failure::run(format!(
                    "the server refused the connection: {reason}"
                )));
            }
            match (answer.bytes.is_empty(), self.offset) {
                (true, _) => return Err(Failure::run("the server sent nothing")),
                (_, true) => answer.offset(&zone)?,
                (_, false) => answer.text(&zone)?,
            }
        };
        let mut output = Output::lock();
        quietly(
            writeln!(output, "{line}")
                .and_then(|()| output.flush())
                .map(|()| 0),
            Failure::run,
        )
    }
}

fn describe(estimate: Estimate, uncertain: Option<f64>) -> String {
    let uncertain = uncertain.map_or_else(String::new, |seconds| format!(" ± {seconds} s"));
    format!(
        "offset {:+.6}s{uncertain} delay {:.6}s",
        estimate.offset, estimate.delay
    )
}

/// Formats a time that was received as a number in the default format of `serve time`.
fn plain(time: SystemTime, zone: &TimeZone) -> Result<String, Failure> {
    let mut text = Vec::new();
    Format::new(Style::Plain, zone.clone())
        .write(time, &mut text)
        .map_err(Failure::run)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The bytes that a server has sent, with the times of the exchange.
struct Answer {
    bytes: Vec<u8>,
    arrived: SystemTime,
    round_trip: Duration,
}

/// Reads the bytes that the server sends after the connection is open.
fn ask(server: &mut Connection, begun: Instant) -> io::Result<Answer> {
    server.flush()?; // begins the handshake of TLS
    let mut bytes = vec![0; MAX_TEXT_LENGTH];
    let mut length = server.read(&mut bytes)?;
    let (arrived, round_trip) = (SystemTime::now(), begun.elapsed());
    while length < bytes.len() {
        match server.read(&mut bytes[length..])? {
            0 => break,
            more => length += more,
        }
    }
    bytes.truncate(length);
    Ok(Answer {
        bytes,
        arrived,
        round_trip,
    })
}

fn ask_by_datagram(server: &DatagramConnection) -> io::Result<Answer> {
    let begun = Instant::now();
    server.send(b"")?;
    let mut bytes = vec![0; MAX_TEXT_LENGTH];
    let length = server.receive(&mut bytes)?;
    let (arrived, round_trip) = (SystemTime::now(), begun.elapsed());
    bytes.truncate(length);
    Ok(Answer {
        bytes,
        arrived,
        round_trip,
    })
}

impl Answer {
    /// Parses the four bytes of RFC 868. Text of four characters (`1704`) would be a time before
    /// 1931 or after 2052, so such a time is not accepted.
    fn seconds(&self) -> Option<SystemTime> {
        let bytes: [u8; 4] = self.bytes.as_slice().try_into().ok()?;
        let is_text = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
        (!is_text).then(|| sntp::Timestamp::from_seconds(bytes).near(self.arrived))
    }

    /// Formats the answer as text, without control characters, which could control the terminal.
    fn text(&self, zone: &TimeZone) -> Result<String, Failure> {
        if let Some(time) = self.seconds() {
            return plain(time, zone);
        }
        let text = String::from_utf8_lossy(&self.bytes);
        let harmless = |c: char| {
            if c.is_control() && c != '\n' && c != '\t' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        };
        Ok(text
            .trim_end()
            .replace("\r\n", "\n")
            .chars()
            .map(harmless)
            .collect())
    }

    /// Estimates the offset of the server's clock, assuming that the server read its clock after
    /// half the round trip. Times in whole seconds (RFC 867, RFC 868) are truncated: on average,
    /// the actual time was half a second later.
    fn offset(&self, zone: &TimeZone) -> Result<String, Failure> {
        const HALF: f64 = 0.5;
        let read = self
            .seconds()
            .and_then(|time| Timestamp::try_from(time).ok());
        let Some(theirs) =
            read.or_else(|| read_text(&String::from_utf8_lossy(&self.bytes), zone, self.arrived))
        else {
            return Err(Failure::run(format!(
                "invalid time in the server's answer: `{}`",
                self.text(zone)?
            )));
        };
        let ours = Timestamp::try_from(self.arrived).map_err(Failure::run)?;
        let delay = self.round_trip.as_secs_f64();
        let offset = theirs.duration_since(ours).as_secs_f64() + delay / 2.0;
        Ok(match theirs.subsec_nanosecond() {
            0 => describe(
                Estimate {
                    offset: offset + HALF,
                    delay,
                },
                Some(HALF),
            ),
            _ => describe(Estimate { offset, delay }, None),
        })
    }
}

/// Parses a time in any of the formats that servers send. A time without a zone is in `zone`.
fn read_text(text: &str, zone: &TimeZone, now: SystemTime) -> Option<Timestamp> {
    // The format of RFC 867, and that of ctime in C.
    const DAYTIMES: [&str; 2] = ["%A, %B %d, %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y"];
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let daytime = |pattern: &&str| {
        BrokenDownTime::parse_prefix(pattern, text)
            .ok()?
            .0
            .to_datetime()
            .ok()
    };
    let local = text
        .parse::<DateTime>()
        .ok()
        .or_else(|| DAYTIMES.iter().find_map(daytime))?;
    // The hour at the end of summer time occurs twice. The time that is nearer to `now` is used.
    let candidates = zone.to_ambiguous_timestamp(local);
    let now = Timestamp::try_from(now).ok()?;
    let candidates = [candidates.earlier(), candidates.later()];
    candidates
        .into_iter()
        .flatten()
        .min_by_key(|time| time.duration_since(now).abs())
}

/// The four timestamps of an SNTP exchange.
struct Exchange {
    sent: SystemTime,
    reply: Reply,
    arrived: SystemTime,
}

impl Exchange {
    fn estimate(&self) -> Estimate {
        self.reply.estimate(
            sntp::Timestamp::at(self.sent),
            sntp::Timestamp::at(self.arrived),
        )
    }

    fn time(&self) -> SystemTime {
        self.reply.transmit.near(self.arrived)
    }
}

/// Sends a request, and waits for its reply. Other datagrams to the port are ignored.
fn ask_sntp(server: &DatagramConnection, timeout: Duration) -> Result<Exchange, Failure> {
    let until = Instant::now() + timeout;
    let sent = SystemTime::now();
    let stamp = sntp::Timestamp::at(sent);
    server.send(&sntp::request(stamp)).map_err(Failure::run)?;
    let mut buffer = [0; 1024];
    let mut ignored = None;
    loop {
        let received = server.receive(&mut buffer);
        let arrived = SystemTime::now();
        match (
            received.map(|length| Reply::read(&buffer[..length], stamp)),
            ignored,
        ) {
            (Ok(Ok(reply)), _) => {
                return Ok(Exchange {
                    sent,
                    reply,
                    arrived,
                });
            }
            (Ok(Err(Useless::Refused(why))), _) => return Err(Failure::run(why)),
            (Ok(Err(Useless::NotOurs(why))), _) if Instant::now() < until => ignored = Some(why),
            (Ok(Err(Useless::NotOurs(why))), _) | (Err(_), Some(why)) => {
                return Err(Failure::run(format!(
                    "a packet came that can't be trusted: {why}"
                )));
            }
            (Err(error), None) => return Err(Failure::run(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, now: &str) -> Option<String> {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        read_text(text, &zone, now.parse::<Timestamp>().unwrap().into())
            .map(|time| time.to_string())
    }

    #[test]
    fn times_are_read_in_every_format_that_servers_send() {
        let now = "2023-04-19T15:00:00Z";
        for (text, expected) in [
            (
                "2023-04-19 17:04:30.293444",
                Some("2023-04-19T15:04:30.293444Z"),
            ),
            (
                "2023-04-19T17:04:30.5+02:00\n",
                Some("2023-04-19T15:04:30.5Z"),
            ),
            ("2023-04-19T15:04:30Z", Some("2023-04-19T15:04:30Z")),
            (
                "Wednesday, April 19, 2023 17:04:30-CEST\r\n",
                Some("2023-04-19T15:04:30Z"),
            ),
            ("Wed Apr 19 17:04:30 2023\r\n", Some("2023-04-19T15:04:30Z")),
            ("Wed Mar  1 17:04:30 2023", Some("2023-03-01T16:04:30Z")),
            ("half past three", None),
            ("", None),
        ] {
            assert_eq!(read(text, now).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_hour_that_comes_twice_is_the_one_nearer_to_now() {
        for (now, expected) in [
            ("2024-10-27T00:29:00Z", "2024-10-27T00:30:00Z"),
            ("2024-10-27T01:29:00Z", "2024-10-27T01:30:00Z"),
        ] {
            assert_eq!(read("2024-10-27 02:30:00", now).as_deref(), Some(expected));
        }
    }

    #[test]
    fn four_bytes_are_a_number_and_four_characters_are_text() {
        let answer = |bytes: &[u8]| {
            let arrived = "2036-02-07T06:28:20Z".parse::<Timestamp>().unwrap().into();
            Answer {
                bytes: bytes.to_vec(),
                arrived,
                round_trip: Duration::ZERO,
            }
            .text(&TimeZone::UTC)
            .unwrap()
        };
        assert_eq!(answer(&[0, 0, 0, 1]), "2036-02-07 06:28:17.000000");
        assert_eq!(answer(&[255; 4]), "2036-02-07 06:28:15.000000");
        assert_eq!(answer(b"1704"), "1704");
        assert_eq!(answer(b"\x1b[2J 17:04\r\n"), "\u{fffd}[2J 17:04");
    }
}
