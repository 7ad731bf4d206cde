//! Dates in the format of HTTP headers (IMF-fixdate, RFC 9110 §5.6.7), and the value of `Date`.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

/// An HTTP-date in ASCII, like `Sun, 06 Nov 1994 08:49:37 GMT`.
pub type DateText = [u8; 29];

/// The first second of the year 10000, in seconds since 1970. The format has only four digits for
/// the year.
const YEAR_10000: u64 = 253_402_300_800;

const EPOCH: DateText = *b"Thu, 01 Jan 1970 00:00:00 GMT";

/// The value of `Date` (§6.6.1): the current time. Each thread formats it at most once per second,
/// so that it is cheap for every response.
pub fn now() -> DateText {
    thread_local! {
        static LAST: Cell<(u64, DateText)> = const { Cell::new((0, EPOCH)) };
    }
    LAST.with(|last| cached(last, SystemTime::now()))
}

fn cached(last: &Cell<(u64, DateText)>, time: SystemTime) -> DateText {
    let (second, text) = last.get();
    match seconds(time) {
        Some(now) if now != second => {
            let text = format(now);
            last.set((now, text));
            text
        }
        // The same second, or a system clock that is far out of range. The last valid date is used
        // in both cases.
        _ => text,
    }
}

/// Formats `time` for `Last-Modified`. `None` before 1970 and after 9999.
pub fn http_date(time: SystemTime) -> Option<DateText> {
    seconds(time).map(format)
}

fn seconds(time: SystemTime) -> Option<u64> {
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    (seconds < YEAR_10000).then_some(seconds)
}

/// `seconds` must be less than `YEAR_10000`.
fn format(seconds: u64) -> DateText {
    let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds));
    let mut text = EPOCH;
    let written = write!(&mut text[..], "{date}");
    debug_assert!(written.is_ok(), "every HTTP-date has 29 bytes");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_date_has_the_preferred_form() {
        for (seconds, text) in [
            (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, b"Tue, 29 Feb 2000 00:00:00 GMT"),
            (YEAR_10000 - 1, b"Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(at(seconds)).as_ref(), Some(text));
        }
    }

    #[test]
    fn years_that_the_form_cannot_hold_have_no_date() {
        assert_eq!(http_date(UNIX_EPOCH - Duration::from_nanos(1)), None);
        assert_eq!(http_date(at(YEAR_10000)), None);
    }

    #[test]
    fn the_text_changes_with_the_second_and_only_then() {
        let last = Cell::new((0, EPOCH));
        assert_eq!(
            &cached(&last, at(784_111_777)),
            b"Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(last.get().0, 784_111_777);

        let marked = *b"Sun, 06 Nov 1994 08:49:37 ...";
        last.set((784_111_777, marked));
        let later = at(784_111_777) + Duration::from_millis(999);
        assert_eq!(cached(&last, later), marked);
        assert_eq!(
            &cached(&last, at(784_111_778)),
            b"Sun, 06 Nov 1994 08:49:38 GMT"
        );
    }

    #[test]
    fn a_clock_that_is_set_back_is_followed() {
        let last = Cell::new((784_111_778, EPOCH));
        assert_eq!(
            &cached(&last, at(784_111_777)),
            b"Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }

    #[test]
    fn an_impossible_clock_keeps_the_last_date() {
        let last = Cell::new((0, EPOCH));
        assert_eq!(cached(&last, UNIX_EPOCH - Duration::from_secs(1)), EPOCH);
        assert_eq!(cached(&last, at(YEAR_10000)), EPOCH);
    }

    #[test]
    fn now_is_the_present_second() {
        let before = seconds(SystemTime::now());
        let text = String::from_utf8(now().to_vec()).unwrap();
        let after = seconds(SystemTime::now());
        let told = seconds(httpdate::parse_http_date(&text).unwrap());
        assert!(before <= told && told <= after, "{text}");
    }
}
