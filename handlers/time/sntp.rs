//! SNTP packets (RFC 4330, RFC 5905 §14): parses, answers and checks their bytes without a socket.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Length in bytes of a packet without extension fields and authentication, and of every reply.
pub const LENGTH: usize = 48;

/// Seconds from 1900, where NTP's first era begins, to 1970.
const UNIX_SECONDS: i128 = 2_208_988_800;
/// 2025-01-01. A server clock with an earlier time was never set, for example after the start of a
/// machine without a battery-backed clock.
const NEVER_SET: Duration = Duration::from_secs(1_735_689_600);

const CLIENT: u8 = 3;
const SERVER: u8 = 4;
const ALARM: u8 = 3;
/// Resolution of the server's clock, as a power of two in seconds: about a microsecond.
const PRECISION: i8 = -20;
/// Maximum error of the server's clock, in units of 2^-16 s: a millisecond.
const ROOT_DISPERSION: u32 = 66;

/// A timestamp of NTP: seconds since 1900 in the upper 32 bits, and their fraction in the lower 32
/// bits. It wraps around every 136 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Converts a time of the system, of any era.
    pub fn at(time: SystemTime) -> Timestamp {
        // The conversion drops the upper half, the era, which packets do not contain.
        Timestamp(fixed_point(time) as u64)
    }

    /// Returns the whole seconds in network order, which is the time of RFC 868.
    pub fn seconds(self) -> [u8; 4] {
        ((self.0 >> 32) as u32).to_be_bytes()
    }

    /// Converts a time of RFC 868.
    pub fn from_seconds(bytes: [u8; 4]) -> Timestamp {
        Timestamp(u64::from(u32::from_be_bytes(bytes)) << 32)
    }

    /// Converts the timestamp to a time, in the era that makes it nearest to `pivot` (RFC 4330 §3
    /// describes two eras).
    pub fn near(self, pivot: SystemTime) -> SystemTime {
        let there = fixed_point(pivot) + i128::from(self.difference(Timestamp::at(pivot)));
        let since_unix = there - (UNIX_SECONDS << 32);
        let distance = since_unix.unsigned_abs();
        let fraction = distance & 0xffff_ffff;
        let whole = Duration::from_secs((distance >> 32) as u64);
        let nanos = Duration::from_nanos(((fraction * 1_000_000_000) >> 32) as u64);
        let near = match since_unix {
            0.. => UNIX_EPOCH.checked_add(whole + nanos),
            _ => UNIX_EPOCH.checked_sub(whole + nanos),
        };
        near.unwrap_or(pivot)
    }

    /// Returns the seconds from `earlier` to this timestamp. The result is correct across the end
    /// of an era.
    pub fn since(self, earlier: Timestamp) -> f64 {
        self.difference(earlier) as f64 / (1_u64 << 32) as f64
    }

    fn difference(self, earlier: Timestamp) -> i64 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// Returns the time since 1900, in units of 2^-32 s.
fn fixed_point(time: SystemTime) -> i128 {
    // The value is rounded up, so that nanoseconds are the same after a conversion and back.
    let fixed = |span: Duration| {
        (i128::from(span.as_secs()) << 32)
            + ((i128::from(span.subsec_nanos()) << 32) + 999_999_999) / 1_000_000_000
    };
    (UNIX_SECONDS << 32)
        + time
            .duration_since(UNIX_EPOCH)
            .map_or_else(|error| -fixed(error.duration()), fixed)
}

/// The parts of a packet's header that a client or a server of SNTP uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    leap: u8,
    version: u8,
    mode: u8,
    stratum: u8,
    poll: u8,
    reference_id: [u8; 4],
    originate: Timestamp,
    receive: Timestamp,
    transmit: Timestamp,
}

impl Header {
    /// Parses a packet; `None` if it is too short.
    fn parse(packet: &[u8]) -> Option<Header> {
        let packet: &[u8; LENGTH] = packet.first_chunk()?;
        let timestamp = |at: usize| {
            Timestamp(
                packet[at..at + 8]
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            )
        };
        let [first, stratum, poll, ..] = *packet;
        Some(Header {
            leap: first >> 6,
            version: first >> 3 & 7,
            mode: first & 7,
            stratum,
            poll,
            reference_id: [packet[12], packet[13], packet[14], packet[15]],
            originate: timestamp(24),
            receive: timestamp(32),
            transmit: timestamp(40),
        })
    }

    /// Builds a packet. `others` is bytes 3 to 12 (root delay, precision, …), and `reference` is
    /// the reference timestamp.
    fn build(&self, others: [u8; 9], reference: Timestamp) -> [u8; LENGTH] {
        let mut packet = [0; LENGTH];
        packet[..3].copy_from_slice(&[
            self.leap << 6 | self.version << 3 | self.mode,
            self.stratum,
            self.poll,
        ]);
        packet[3..12].copy_from_slice(&others);
        packet[12..16].copy_from_slice(&self.reference_id);
        let stamps = [reference, self.originate, self.receive, self.transmit];
        for (place, stamp) in packet[16..].chunks_exact_mut(8).zip(stamps) {
            place.copy_from_slice(&stamp.0.to_be_bytes());
        }
        packet
    }
}

/// Returns a server's reply (RFC 4330 §6), or `None` if the packet is too short, of an unknown
/// version, or not a request. A reply has never more bytes than the request, and is itself not a
/// request. So the server does not amplify, and two servers cannot answer each other forever.
///
/// The reply of a server whose clock was never set has the alarm, stratum 0 and the code `INIT`.
pub fn answer(
    request: &[u8],
    received: SystemTime,
    transmitted: SystemTime,
) -> Option<[u8; LENGTH]> {
    let request = Header::parse(request)?;
    // A request in symmetric active mode gets a reply in symmetric passive mode. Version 1 had no
    // mode for clients.
    let mode = match (request.version, request.mode) {
        (1..=4, CLIENT) | (1, 0) => SERVER,
        (1..=4, 1) => 2,
        _ => return None,
    };
    let set = received >= UNIX_EPOCH + NEVER_SET;
    let receive = Timestamp::at(received);
    let reply = Header {
        leap: if set { 0 } else { ALARM },
        version: request.version,
        mode,
        stratum: u8::from(set),
        poll: request.poll,
        reference_id: if set { *b"LOCL" } else { *b"INIT" },
        originate: request.transmit,
        receive,
        // A timestamp of zero means that there is no time. So the first instant of an era is sent
        // as 2^-32 s later.
        transmit: Timestamp(Timestamp::at(transmitted).0.max(1)),
    };
    let mut others = [0; 9];
    others[0] = PRECISION.cast_unsigned();
    others[5..].copy_from_slice(&ROOT_DISPERSION.to_be_bytes());
    Some(reply.build(others, receive))
}

/// Returns a client's request of version 4, sent at `now` (RFC 4330 §5).
pub fn request(now: Timestamp) -> [u8; LENGTH] {
    let none = Timestamp(0);
    let request = Header {
        leap: 0,
        version: 4,
        mode: CLIENT,
        stratum: 0,
        poll: 0,
        reference_id: [0; 4],
        originate: none,
        receive: none,
        transmit: now,
    };
    request.build([0; 9], none)
}

/// The timestamps in a server's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The time when the request reached the server, by the server's clock.
    pub receive: Timestamp,
    /// The time when the reply left the server, by the server's clock.
    pub transmit: Timestamp,
}

/// Why a reply cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Useless {
    /// The packet does not answer the request. The actual reply may still arrive.
    NotOurs(&'static str),
    /// The packet answers the request, but the server has no time or refuses to send it.
    Refused(String),
}

impl Reply {
    /// Parses the reply to a request of version 4 that was sent at `sent`, with the checks of RFC
    /// 4330 §5.
    ///
    /// # Errors
    /// The reply cannot be trusted, or the server refuses.
    pub fn read(packet: &[u8], sent: Timestamp) -> Result<Reply, Useless> {
        let Some(reply) = Header::parse(packet) else {
            return Err(Useless::NotOurs("it is too short for SNTP"));
        };
        if reply.mode != SERVER {
            return Err(Useless::NotOurs("it is no reply of a server"));
        }
        if reply.originate != sent {
            return Err(Useless::NotOurs("it answers another request"));
        }
        if !(1..=4).contains(&reply.version) {
            return Err(Useless::NotOurs("its version is unknown"));
        }
        let refused = |why: &str| Err(Useless::Refused(why.to_owned()));
        match reply.stratum {
            0 => return Err(Useless::Refused(kiss_of_death(reply.reference_id))),
            1..=15 => {}
            _ => return refused("the server's clock is not synchronised"),
        }
        if reply.leap == ALARM {
            return refused("the server's clock is not synchronised");
        }
        if reply.transmit == Timestamp(0) || reply.receive == Timestamp(0) {
            return refused("the server sent no time");
        }
        Ok(Reply {
            receive: reply.receive,
            transmit: reply.transmit,
        })
    }

    /// Returns the offset of the server's clock and the delay of the packets (RFC 4330 §5).
    pub fn estimate(&self, sent: Timestamp, arrived: Timestamp) -> Estimate {
        let offset = f64::midpoint(self.receive.since(sent), self.transmit.since(arrived));
        // The result may be negative if a clock has a coarse resolution.
        let delay = (arrived.since(sent) - self.transmit.since(self.receive)).max(0.0);
        Estimate { offset, delay }
    }
}

/// Returns the message for a code of RFC 5905 §7.4.
fn kiss_of_death(code: [u8; 4]) -> String {
    let meaning = match &code {
        b"DENY" | b"RSTR" => "access denied",
        b"RATE" => "asked too often",
        b"INIT" | b"STEP" | b"DROP" => "its clock is not set yet",
        _ => "kiss-o'-death",
    };
    let code = code.escape_ascii().to_string();
    format!(
        "the server gives no time: {meaning} ({})",
        code.trim_end_matches("\\x00")
    )
}

/// The result of an exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Number of seconds that the server's clock is ahead of the local clock. The error is at most
    /// half the delay.
    pub offset: f64,
    /// Number of seconds that the request and the reply took on the network.
    pub delay: f64,
}

/// Fuzz target: panics if a packet violates what must hold for every packet.
#[doc(hidden)]
pub fn check(packet: &[u8]) {
    let now = UNIX_EPOCH + NEVER_SET;
    let Some(header) = Header::parse(packet) else {
        assert_eq!(answer(packet, now, now), None, "a short packet is answered");
        return;
    };
    if let Some(reply) = answer(packet, now, now) {
        assert!(
            packet.len() >= reply.len(),
            "a reply is no longer than the request"
        );
        assert_eq!(answer(&reply, now, now), None, "a reply is answered");
        let read = Reply::read(&reply, header.transmit);
        assert!(
            reply[0] & 7 != SERVER || read.is_ok(),
            "our own reply is refused: {read:?}"
        );
    }
    for stamp in [header.originate, header.receive, header.transmit] {
        let error = Timestamp::at(stamp.near(now)).difference(stamp);
        assert!(
            error.abs() <= 5,
            "a nanosecond is 4.3 units: more is lost than that"
        );
        if let Ok(reply) = Reply::read(packet, stamp) {
            assert!(reply.estimate(stamp, Timestamp::at(now)).delay >= 0.0);
        }
    }
}

#[cfg(test)]
mod tests;
