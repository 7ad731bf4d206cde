//! Formats sizes and dates for people and for programs.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Formats a size with up to three digits: `734 bytes`, `1.5 KiB`, `23 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1000 {
        return exact(bytes);
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    // 999.5 would be rounded to four digits.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if value < 9.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// Formats the exact size: `1,572,864 bytes`.
pub(crate) fn exact(bytes: u64) -> String {
    let digits = bytes.to_string();
    let mut text = String::with_capacity(digits.len() + 13);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + if bytes == 1 { " byte" } else { " bytes" }
}

/// The time of a file's last change, from seconds since 1970. Only the years 0 to 9999 are
/// possible, because the formats here cannot express other years.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Date {
    utc: Timestamp,
}

impl Date {
    pub(crate) fn new(seconds: i64) -> Option<Date> {
        const YEAR_0: i64 = -62_167_219_200;
        // The range of the crate jiff ends a little before the year 10000, so that every time zone
        // fits.
        (seconds >= YEAR_0 + 86_400).then_some(())?;
        Timestamp::from_second(seconds).ok().map(|utc| Date { utc })
    }

    /// Formats the time as `2023-04-19T17:04:30Z` (RFC 3339).
    pub(crate) fn rfc_3339(self) -> String {
        self.utc.to_string()
    }

    /// Formats the time in a time zone as `2023-04-19 19:04`.
    pub(crate) fn local(self, zone: &TimeZone) -> String {
        let local = zone.to_datetime(self.utc);
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}",
            local.year(),
            local.month(),
            local.day(),
            local.hour(),
            local.minute()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_at_most_and_exact_ones_all() {
        for (bytes, short, long) in [
            (0, "0 bytes", "0 bytes"),
            (1, "1 byte", "1 byte"),
            (999, "999 bytes", "999 bytes"),
            (1000, "1.0 KiB", "1,000 bytes"),
            (1536, "1.5 KiB", "1,536 bytes"),
            (10_188, "9.9 KiB", "10,188 bytes"),
            (10_189, "10 KiB", "10,189 bytes"),
            (1_023_487, "999 KiB", "1,023,487 bytes"),
            (1_023_488, "1.0 MiB", "1,023,488 bytes"),
            (5 << 30, "5.0 GiB", "5,368,709,120 bytes"),
            (u64::MAX, "16 EiB", "18,446,744,073,709,551,615 bytes"),
        ] {
            assert_eq!((&*size(bytes), &*exact(bytes)), (short, long));
        }
    }

    #[test]
    fn dates_have_a_form_for_people_and_one_for_programs() {
        let date = Date::new(1_681_923_870).unwrap();
        assert_eq!(date.rfc_3339(), "2023-04-19T17:04:30Z");
        assert_eq!(date.local(&TimeZone::UTC), "2023-04-19 17:04");
        assert_eq!(
            date.local(&TimeZone::fixed(jiff::tz::offset(2))),
            "2023-04-19 19:04"
        );
        assert_eq!(Date::new(-1).unwrap().rfc_3339(), "1969-12-31T23:59:59Z");
        assert!(
            Date::new(i64::MAX).is_none()
                && Date::new(i64::MIN).is_none()
                && Date::new(1 << 40).is_none()
        );
    }
}
