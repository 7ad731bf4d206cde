//! Parses and formats durations such as `500ms`, `1h 30m`, `7days`.

use std::fmt;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

/// The names of each unit, and its length in nanoseconds. The first name is the one that [`Shown`]
/// writes.
const UNITS: [(&[&str], u64); 10] = [
    // 365.25 and 30.44 days.
    (&["year", "years", "yr", "yrs", "y"], 31_557_600 * SECOND),
    (&["month", "months", "M"], 2_630_016 * SECOND),
    (&["day", "days", "d"], DAY),
    (&["h", "hours", "hour", "hr", "hrs"], 3600 * SECOND),
    (&["m", "minutes", "minute", "min", "mins"], 60 * SECOND),
    (&["s", "seconds", "second", "secs", "sec"], SECOND),
    (&["ms", "millis", "msec"], 1_000_000),
    (&["us", "usec", "µs"], 1000),
    (&["ns", "nanos", "nsec"], 1),
    // The last entry, because [`Shown`] does not use weeks.
    (&["weeks", "week", "wk", "wks", "w"], 7 * DAY),
];

/// Reads one or more numbers with a unit. A number may have a fraction. `None` if the text is
/// anything else, or is longer than [`Duration::MAX`].
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split(after.trim_start(), |c| !c.is_alphabetic());
        let (_, nanos) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        total = total.checked_add(times(number, *nanos)?)?;
        rest = after.trim_start();
    }
    (!text.trim().is_empty()).then_some(total)
}

fn split(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// Multiplies a number with a unit. A fraction of a nanosecond is an error.
fn times(number: &str, unit: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // 18 digits and the longest unit fit into 128 bits.
    if fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let scale = 10u128.pow(fraction.len() as u32);
    let parts = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit);
    let whole = u128::from(whole.parse::<u64>().ok()?) * u128::from(unit);
    let nanos = whole.checked_add(parts / scale)?;
    let seconds = u64::try_from(nanos / u128::from(SECOND)).ok()?;
    (parts % scale == 0).then(|| Duration::new(seconds, (nanos % u128::from(SECOND)) as u32))
}

/// Formats a duration so that [`parse`] can read it.
pub(crate) struct Shown(pub(crate) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let mut left = self.0.as_nanos();
        let mut separator = "";
        // All units but weeks.
        for (names, unit) in &UNITS[..9] {
            let count = left / u128::from(*unit);
            left %= u128::from(*unit);
            if count > 0 {
                let plural = if *unit >= DAY && count > 1 { "s" } else { "" };
                write!(f, "{separator}{count}{}{plural}", names[0])?;
                separator = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_its_length() {
        for (text, seconds) in [
            ("1y", 31_557_600),
            ("2months", 2 * 2_630_016),
            ("1M 1m", 2_630_016 + 60),
            ("3 weeks", 3 * 7 * 86_400),
            ("1day 2h", 86_400 + 7200),
            (" 1h30m5s ", 5405),
            ("1.5h", 5400),
            ("0.5min", 30),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for (text, nanos) in [("1.5ms", 1_500_000), ("7us", 7000), ("3µs 2ns", 3002)] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            " ",
            "5",
            "h",
            "1parsec",
            "1 h m",
            "1..5s",
            "1.s",
            ".5s",
            "-1s",
            "1s,",
            "0.5ns",
            "1,5s",
            "1H",
            "99999999999999999999s",
            "18446744073709551615y",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse("18446744073709551615s 1s"), None);
    }

    #[test]
    fn a_shown_duration_is_read_again() {
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(1500), "1s 500ms"),
            (Duration::from_secs(7 * 86_400), "7days"),
            (
                Duration::from_secs(31_557_600 + 86_400 + 3661),
                "1year 1day 1h 1m 1s",
            ),
            (
                Duration::new(2 * 2_630_016, 1_002_003),
                "2months 1ms 2us 3ns",
            ),
        ] {
            assert_eq!(Shown(duration).to_string(), text);
            assert_eq!(parse(text), Some(duration), "{text}");
        }
    }
}
