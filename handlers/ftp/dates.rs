//! The formats of times, all in UTC: `YYYYMMDDHHMMSS` (RFC 3659 §2.3), `ls -l`, and the transfer
//! logs.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::decimal::push_right;

/// Number of seconds in a day.
const DAY: i64 = 86_400;

/// A date and a time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

/// The names of months in `ls -l` and xferlog.
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Age in seconds up to which `ls -l` shows the time of day of a file instead of the year.
const RECENT: i64 = 180 * DAY;

impl Date {
    /// Converts a number of seconds since 1970 to a date.
    pub fn of_seconds(seconds: i64) -> Date {
        let (days, time) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        // Counts years that begin in March, in periods of 400 years. The algorithm is from Howard
        // Hinnant's "chrono-compatible low-level date algorithms".
        let days = days + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Date {
            year,
            month: month as u8,
            day: day as u8,
            hour: (time / 3600) as u8,
            minute: (time / 60 % 60) as u8,
            second: (time % 60) as u8,
        }
    }

    /// Converts a date to a number of seconds since 1970.
    fn seconds(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let month = i64::from(self.month);
        let march_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * march_month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let (hour, minute) = (i64::from(self.hour), i64::from(self.minute));
        days * DAY + hour * 3600 + minute * 60 + i64::from(self.second)
    }

    /// Appends the date as `ls -l` shows it. A date that is at most half a year before `now` has
    /// the time of day. Another date has the year.
    pub fn push_for_list(seconds: i64, now: i64, to: &mut Vec<u8>) {
        let date = Date::of_seconds(seconds);
        // `month` is from 1 to 12 in every date.
        to.extend_from_slice(MONTHS[usize::from(date.month - 1)].as_bytes());
        to.push(b' ');
        push_right(date.day.into(), 2, b'0', to);
        // A file may come from a machine with a clock that is ahead, so its date may be up to a day
        // in the future.
        if (now - RECENT..=now + DAY).contains(&seconds) {
            to.push(b' ');
            push_right(date.hour.into(), 2, b'0', to);
            to.push(b':');
            push_right(date.minute.into(), 2, b'0', to);
        } else if let Ok(year) = u64::try_from(date.year) {
            to.extend_from_slice(b"  ");
            push_right(year, 4, b'0', to);
        } else {
            to.extend_from_slice(format!("  {:04}", date.year).as_bytes());
        }
    }

    /// The date for a line of xferlog(5), without the weekday: `Nov 28 12:00:00 2026`.
    pub fn for_xferlog(self) -> impl fmt::Display {
        // `month` is from 1 to 12 in every date.
        let month = MONTHS[usize::from(self.month - 1)];
        let Date {
            year,
            day,
            hour,
            minute,
            second,
            ..
        } = self;
        format!("{month} {day:02} {hour:02}:{minute:02}:{second:02} {year:04}")
    }

    /// The date in the JSON log (RFC 3339): `2026-11-28T12:00:00Z`.
    pub fn for_json(self) -> impl fmt::Display {
        let Date {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// Parses the time in the argument of MFMT: `YYYYMMDDHHMMSS`, with or without a fraction.
    /// Returns `None` if the text is malformed, or the time is before 1970.
    pub fn parse(text: &[u8]) -> Option<SystemTime> {
        let (digits, fraction) = match text.iter().position(|byte| *byte == b'.') {
            Some(dot) => (&text[..dot], Some(&text[dot + 1..])),
            None => (text, None),
        };
        let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        if digits.len() != 14 || !is_number(digits) || !fraction.is_none_or(is_number) {
            return None;
        }
        let number = |range: std::ops::Range<usize>| {
            let digits = digits[range].iter();
            digits.fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'))
        };
        let date = Date {
            year: number(0..4),
            month: number(4..6) as u8,
            day: number(6..8) as u8,
            hour: number(8..10) as u8,
            minute: number(10..12) as u8,
            second: number(12..14).min(59) as u8,
        };
        let is_month = (1..=12).contains(&date.month) && date.day >= 1;
        let is_leap_second = number(12..14) == 60;
        if !is_month || number(12..14) > 59 && !is_leap_second {
            return None;
        }
        let seconds = date.seconds();
        // A date that does not exist, such as February 30, is converted to another date.
        if Date::of_seconds(seconds) != date {
            return None;
        }
        let nanos = fraction.unwrap_or_default().iter().chain([b'0'; 9].iter());
        let nanos = nanos
            .take(9)
            .fold(0_u32, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
        let since = Duration::new(u64::try_from(seconds).ok()?, nanos);
        UNIX_EPOCH.checked_add(since)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        write!(
            f,
            "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"
        )
    }
}

/// The number of seconds since 1970; negative before 1970.
pub fn seconds_since_1970(time: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "19700101000000"),
            (-1, "19691231235959"),
            (951_827_696, "20000229123456"),
            (1_000_000_000, "20010909014640"),
            (4_102_444_800, "21000101000000"),
            (-9_000_000_000, "16841019080000"),
        ] {
            assert_eq!(Date::of_seconds(seconds).to_string(), date);
            assert_eq!(Date::of_seconds(seconds).seconds(), seconds);
        }
    }

    #[test]
    fn a_time_is_fourteen_digits_of_a_date_that_exists() {
        let at = |text: &str| Date::parse(text.as_bytes()).map(seconds_since_1970);
        assert_eq!(at("20010909014640"), Some(1_000_000_000));
        assert_eq!(at("20010909014640.25"), Some(1_000_000_000));
        assert_eq!(at("20161231235960"), at("20161231235959"));
        for wrong in [
            "",
            "20170921",
            "B017092101341A",
            "20170230000000",
            "20171301000000",
            "20170001000000",
            "20170100000000",
            "20170101240000",
            "20170101006000",
            "20170101000061",
            "20170101000000.",
            "20170101000000.x",
            "19600101000000",
            "201701010000000",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ls_shows_the_time_of_recent_files_and_the_year_of_others() {
        let now = 1_000_000_000;
        let shown = |seconds| {
            let mut text = Vec::new();
            Date::push_for_list(seconds, now, &mut text);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(shown(now), "Sep 09 01:46");
        assert_eq!(shown(now - RECENT - 1), "Mar 13  2001");
        assert_eq!(shown(now + 2 * DAY), "Sep 11  2001");
        assert_eq!(shown(-60_000_000_000), "Sep 03  0068");
        assert_eq!(shown(-63_000_000_000), "Aug 11  -027");
    }
}
