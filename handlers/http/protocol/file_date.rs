//! Parses the time of a file's last change that a client sends with an upload.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first second of the year 10000, in seconds since 1970. HTTP dates end before it (RFC 9110
/// §5.6.7).
const END: u64 = 253_402_300_800;
/// Number of fractional digits of a second that a file system can store.
const NANOSECOND: usize = 9;

/// Parses seconds since 1970 with an optional fraction. `None` if `text` has another format.
pub fn seconds(text: &[u8]) -> Option<SystemTime> {
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b"0"[..]),
    };
    digits(fraction)?;
    let mut exact = [b'0'; NANOSECOND];
    let known = fraction.len().min(NANOSECOND);
    exact[..known].copy_from_slice(&fraction[..known]);
    since_1970(
        Duration::from_secs(number(whole)?).checked_add(Duration::from_nanos(number(&exact)?))?,
    )
}

/// Parses milliseconds since 1970. `None` if `text` has another format.
pub fn milliseconds(text: &[u8]) -> Option<SystemTime> {
    since_1970(Duration::from_millis(number(text)?))
}

fn since_1970(since: Duration) -> Option<SystemTime> {
    if since.as_secs() < END {
        UNIX_EPOCH.checked_add(since)
    } else {
        None
    }
}

fn number(text: &[u8]) -> Option<u64> {
    digits(text)?.parse().ok()
}

fn digits(text: &[u8]) -> Option<&str> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_number_of_seconds_or_milliseconds() {
        let at = |nanoseconds| Some(UNIX_EPOCH + Duration::from_nanos(nanoseconds));
        assert_eq!(seconds(b"0"), at(0));
        assert_eq!(seconds(b"1700000000"), at(1_700_000_000_000_000_000));
        assert_eq!(seconds(b"1700000000.25"), at(1_700_000_000_250_000_000));
        assert_eq!(seconds(b"1.0000000019"), at(1_000_000_001));
        assert_eq!(
            milliseconds(b"1700000000250"),
            at(1_700_000_000_250_000_000)
        );
        assert!(
            seconds(b"253402300799.999").is_some() && milliseconds(b"253402300799999").is_some()
        );
    }

    #[test]
    fn whatever_else_stands_there_is_none() {
        for text in [
            "", "now", "-1", "+1", " 1", "1 ", "1,5", ".5", "1.", "1.5.5", "1e9", "0x1", "1, 2",
            "\u{663}",
        ] {
            assert_eq!(
                (seconds(text.as_bytes()), milliseconds(text.as_bytes())),
                (None, None),
                "{text}"
            );
        }
        assert_eq!(milliseconds(b"1.5"), None);
        for text in [
            "253402300800",
            "18446744073709551615",
            "18446744073709551616",
        ] {
            assert_eq!(seconds(text.as_bytes()), None, "{text}");
        }
        assert_eq!(milliseconds(b"253402300800000"), None);
    }
}
