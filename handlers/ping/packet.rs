//! The datagrams: `Ping SEQ UNIXTIME` with padding, and the count that a server with `--split`
//! writes into them.
//!
//! A client that wants to distinguish lost requests from lost replies sends `Ping SEQ UNIXTIME
//! split=SESSION:0000000000`. A server that counts replaces the zeros by the number of requests of
//! this session that it has received. So the reply is as long as the request. Any other server
//! returns the zeros.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

const MARKER: &[u8] = b"SPLIT=";
/// Number of hexadecimal digits of a session.
const SESSION_DIGITS: usize = 8;
/// Number of decimal digits of a count, enough for each `u32`.
const COUNT_DIGITS: usize = 10;
const FIELD: usize = MARKER.len() + SESSION_DIGITS + 1 + COUNT_DIGITS;

/// A request of `client ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The number of the request. The first one is 1.
    pub sequence: u64,
    /// The time since 1970 when the request was sent. Its resolution is a microsecond.
    pub time: Duration,
    /// The session in which the server is asked to count; `None` without `--split`.
    pub session: Option<u32>,
}

impl Request {
    /// Formats the datagram. It has at least `size` bytes.
    pub fn to_datagram(self, size: usize) -> Vec<u8> {
        let (seconds, micros) = (self.time.as_secs(), self.time.subsec_micros());
        let mut text = format!("Ping {} {seconds}.{micros:06}", self.sequence);
        if let Some(session) = self.session {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                " split={session:0SESSION_DIGITS$x}:{:0COUNT_DIGITS$}",
                0
            );
        }
        let mut datagram = text.into_bytes();
        if datagram.len() < size {
            datagram.push(b' ');
            datagram.resize(size, b'x');
        }
        datagram
    }
}

/// A server's reply to `client ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The number of the request.
    pub sequence: u64,
    /// The time since 1970 when the request was sent.
    pub time: Duration,
    /// Number of requests that had reached the server when it replied; `None` if the server does
    /// not count.
    pub count: Option<u32>,
}

impl Reply {
    /// Parses a reply; `None` for any other datagram.
    pub fn parse(datagram: &[u8]) -> Option<Reply> {
        let mut words = datagram.split(|byte| *byte == b' ');
        if !words.next()?.eq_ignore_ascii_case(b"PING") {
            return None;
        }
        let sequence = number(words.next()?)?;
        let mut parts = words.next()?.split(|byte| *byte == b'.');
        let (seconds, micros) = (number(parts.next()?)?, parts.next()?);
        if micros.len() != 6 || parts.next().is_some() {
            return None;
        }
        let time = Duration::from_secs(seconds) + Duration::from_micros(number(micros)?);
        let count = Field::find(datagram).and_then(|field| number(&datagram[field.count]));
        let count = count
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count > 0);
        Some(Reply {
            sequence,
            time,
            count,
        })
    }
}

/// The field in a datagram that asks the server to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The session whose requests are counted together.
    pub session: u32,
    count: Range<usize>,
}

impl Field {
    /// Finds the field: it is the fourth word, in upper or lower case.
    pub fn find(datagram: &[u8]) -> Option<Field> {
        let start = memchr::memchr_iter(b' ', datagram).nth(2)? + 1;
        let field = datagram.get(start..start + FIELD)?;
        if datagram
            .get(start + FIELD)
            .is_some_and(|next| *next != b' ')
        {
            return None;
        }
        let (marker, rest) = field.split_at(MARKER.len());
        let (session, count) = rest.split_at(SESSION_DIGITS);
        let digits = count.split_first().filter(|(colon, _)| **colon == b':')?.1;
        if !marker.eq_ignore_ascii_case(MARKER)
            || !session.iter().all(u8::is_ascii_hexdigit)
            || !digits.iter().all(u8::is_ascii_digit)
        {
            return None;
        }
        let session = u32::from_str_radix(std::str::from_utf8(session).ok()?, 16).ok()?;
        Some(Field {
            session,
            count: start + FIELD - COUNT_DIGITS..start + FIELD,
        })
    }

    /// Writes the count into the datagram in which the field was found. The length of the datagram
    /// does not change.
    pub fn write(self, datagram: &mut [u8], count: u32) {
        if let Some(place) = datagram.get_mut(self.count) {
            place.copy_from_slice(format!("{count:0COUNT_DIGITS$}").as_bytes());
        }
    }
}

/// Parses a number that consists of decimal digits only.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().all(u8::is_ascii_digit).then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Fuzz target: checks what must hold for every datagram.
///
/// # Panics
/// If it doesn't hold.
#[doc(hidden)]
pub fn check(datagram: &[u8]) {
    let reply = Reply::parse(datagram);
    let mut upper = datagram.to_ascii_uppercase();
    assert_eq!(reply, Reply::parse(&upper), "the case matters");
    if let Some(field) = Field::find(datagram) {
        field.write(&mut upper, 77);
        assert_eq!(upper.len(), datagram.len());
        let changed = upper
            .iter()
            .zip(datagram)
            .filter(|(new, old)| **new != old.to_ascii_uppercase())
            .count();
        assert!(changed <= COUNT_DIGITS, "{changed} bytes changed");
        let counted = Reply::parse(&upper);
        assert_eq!(
            counted,
            reply.map(|reply| Reply {
                count: Some(77),
                ..reply
            })
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_micros(1_700_000_000_000_042);

    fn request(session: Option<u32>) -> Request {
        Request {
            sequence: 7,
            time: TIME,
            session,
        }
    }

    #[test]
    fn a_request_is_padded_and_never_cut() {
        assert_eq!(request(None).to_datagram(0), b"Ping 7 1700000000.000042");
        assert_eq!(request(None).to_datagram(25), b"Ping 7 1700000000.000042 ");
        assert_eq!(
            request(None).to_datagram(28),
            b"Ping 7 1700000000.000042 xxx"
        );
        assert_eq!(request(None).to_datagram(65_507).len(), 65_507);
        assert_eq!(
            request(Some(0xabc)).to_datagram(0),
            b"Ping 7 1700000000.000042 split=00000abc:0000000000"
        );
    }

    #[test]
    fn a_reply_is_read_in_either_case_with_whatever_follows() {
        let reply = Reply {
            sequence: 7,
            time: TIME,
            count: None,
        };
        for text in [
            "PING 7 1700000000.000042",
            "Ping 7 1700000000.000042 xxx",
            "ping 7 1700000000.000042  SPLIT=1",
        ] {
            assert_eq!(Reply::parse(text.as_bytes()), Some(reply), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_reply() {
        let bad = [
            "",
            "PING",
            "PING 7",
            "PONG 7 1.000000",
            "PING -7 1.000000",
            "PING 7 1",
            "PING 7 1.0",
            "PING 7 x.000000",
        ];
        for text in bad.into_iter().chain([
            "PING 99999999999999999999 1.000000",
            "PING 7 1.000000.1",
            "PING +7 1.000000",
        ]) {
            assert_eq!(Reply::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_server_counts_over_the_zeros() {
        let mut datagram = request(Some(0xfeed_beef)).to_datagram(100);
        let field = Field::find(&datagram).unwrap();
        assert_eq!(field.session, 0xfeed_beef);
        datagram.make_ascii_uppercase();
        assert_eq!(
            Reply::parse(&datagram).unwrap().count,
            None,
            "nobody has counted"
        );
        field.write(&mut datagram, u32::MAX);
        assert_eq!(datagram.len(), 100);
        assert_eq!(
            Reply::parse(&datagram),
            Some(Reply {
                sequence: 7,
                time: TIME,
                count: Some(u32::MAX)
            })
        );
    }

    #[test]
    fn what_only_resembles_the_field_is_left_alone() {
        for field in [
            "split=1:1",
            "split=0000000g:0000000000",
            "split=00000000 0000000000",
            "split=00000000:00000000000",
        ] {
            assert_eq!(
                Field::find(format!("Ping 1 1.000000 {field}").as_bytes()),
                None,
                "{field}"
            );
        }
        assert_eq!(
            Field::find(b"Ping 1 split=00000000:0000000000"),
            None,
            "not the fourth word"
        );
    }

    #[test]
    fn every_cut_of_a_reply_holds() {
        let datagram = request(Some(1)).to_datagram(80);
        (0..=datagram.len()).for_each(|cut| check(&datagram[..cut]));
    }
}
