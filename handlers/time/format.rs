//! Formats a time: as text with a strftime pattern, or as the four bytes of RFC 868.

use std::io::{self, Write};
use std::str::FromStr;
use std::time::SystemTime;

use jiff::fmt::StdIoWrite;
use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::sntp;

/// The default format. It always includes microseconds, and has no line end.
const PLAIN: &str = "%Y-%m-%d %H:%M:%S%.6f";
const RFC3339: &str = "%Y-%m-%dT%H:%M:%S%.6f%:z";
const RFC3339_UTC: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";
/// RFC 867 does not define the syntax. This is the first of its two examples: `Tuesday, February
/// 22, 1982 17:37:43-PST`.
const RFC867: &str = "%A, %B %-d, %Y %H:%M:%S-%Z\r\n";

/// The value of `--format`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `2023-04-19 17:04:30.293444`
    #[default]
    Plain,
    /// `2023-04-19T17:04:30.293444+02:00`
    Rfc3339,
    /// A line of text, as daytime servers send it.
    Rfc867,
    /// Seconds since 1900, four bytes in network order.
    Rfc868,
    /// A pattern of strftime, which was checked.
    Strftime(String),
}

impl FromStr for Style {
    type Err = String;

    fn from_str(name: &str) -> Result<Style, String> {
        match name {
            "rfc3339" => Ok(Style::Rfc3339),
            "rfc867" => Ok(Style::Rfc867),
            "rfc868" => Ok(Style::Rfc868),
            // A pattern without a `%` would contain no time. It is more likely a misspelt name.
            _ if !name.contains('%') => {
                Err("neither rfc3339, rfc867, rfc868 nor a pattern with % signs".to_owned())
            }
            _ => match write_pattern(
                name,
                &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC),
                &mut io::sink(),
            ) {
                Ok(()) => Ok(Style::Strftime(name.to_owned())),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// Formats times in one style and one time zone.
#[derive(Clone, Debug)]
pub struct Format {
    /// The pattern; `None` for RFC 868, which has neither text nor time zone.
    pattern: Option<String>,
    zone: TimeZone,
}

impl Format {
    /// Creates a format for this zone. The rules of the zone are read here, so that no request must
    /// read them.
    pub fn new(style: Style, zone: TimeZone) -> Format {
        let pattern = match style {
            Style::Plain => PLAIN.to_owned(),
            Style::Rfc3339 if zone == TimeZone::UTC => RFC3339_UTC.to_owned(),
            Style::Rfc3339 => RFC3339.to_owned(),
            Style::Rfc867 => RFC867.to_owned(),
            Style::Rfc868 => {
                return Format {
                    pattern: None,
                    zone,
                };
            }
            Style::Strftime(pattern) => pattern,
        };
        Format {
            pattern: Some(pattern),
            zone,
        }
    }

    /// Writes `time`, rounded down to the resolution of the format.
    ///
    /// # Errors
    /// Those of `out`; `InvalidData` for a time after the year 9999.
    pub fn write(&self, time: SystemTime, out: &mut impl Write) -> io::Result<()> {
        let Some(pattern) = &self.pattern else {
            return out.write_all(&sntp::Timestamp::at(time).seconds());
        };
        let time = Timestamp::try_from(time)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        write_pattern(pattern, &time.to_zoned(self.zone.clone()), out)
    }
}

/// Writes a time with a pattern. `%c` and similar conversions use the POSIX locale.
fn write_pattern(pattern: &str, time: &Zoned, out: &mut impl Write) -> io::Result<()> {
    let config = Config::new().custom(PosixCustom::default());
    BrokenDownTime::from(time)
        .format_with_config(&config, pattern, &mut StdIoWrite(out))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(style: &str, zone: &str, time: &str) -> Vec<u8> {
        let style = if style.is_empty() {
            Style::Plain
        } else {
            style.parse().unwrap()
        };
        // In these tests, a zone is a name of the database or a POSIX string.
        let zone = TimeZone::get(zone)
            .or_else(|_| TimeZone::posix(zone))
            .unwrap();
        let mut out = Vec::new();
        Format::new(style, zone)
            .write(time.parse::<Timestamp>().unwrap().into(), &mut out)
            .unwrap();
        out
    }

    /// The rules of Central Europe, so that the tests do not need a database of time zones.
    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    #[test]
    fn each_style_writes_the_moment_in_its_zone() {
        for (style, zone, time, expected) in [
            (
                "",
                BERLIN,
                "2023-04-19T15:04:30.293444Z",
                "2023-04-19 17:04:30.293444",
            ),
            (
                "",
                "UTC",
                "2023-04-19T15:04:30Z",
                "2023-04-19 15:04:30.000000",
            ),
            (
                "",
                "UTC",
                "2023-04-19T15:04:30.999999999Z",
                "2023-04-19 15:04:30.999999",
            ),
            (
                "rfc3339",
                BERLIN,
                "2023-04-19T15:04:30.293444Z",
                "2023-04-19T17:04:30.293444+02:00",
            ),
            (
                "rfc3339",
                "UTC",
                "2023-04-19T15:04:30.5Z",
                "2023-04-19T15:04:30.500000Z",
            ),
            (
                "rfc3339",
                "<-0330>3:30",
                "2023-01-01T00:00:00Z",
                "2022-12-31T20:30:00.000000-03:30",
            ),
            (
                "rfc867",
                "PST8",
                "1982-02-23T01:37:43Z",
                "Monday, February 22, 1982 17:37:43-PST\r\n",
            ),
            (
                "rfc867",
                "UTC",
                "2024-03-05T01:02:03Z",
                "Tuesday, March 5, 2024 01:02:03-UTC\r\n",
            ),
            ("%H:%M:%S", BERLIN, "2023-04-19T15:04:30Z", "17:04:30"),
            (
                "%c",
                "UTC",
                "2024-03-05T01:02:03Z",
                "Tue Mar  5 01:02:03 2024",
            ),
            (
                "%s %j %% %z",
                "UTC",
                "1970-12-31T00:00:00Z",
                "31449600 365 % +0000",
            ),
        ] {
            let text = String::from_utf8(written(style, zone, time)).unwrap();
            assert_eq!(text, expected, "{style:?} in {zone} at {time}");
        }
    }

    #[test]
    fn summer_time_and_leap_years_are_those_of_the_calendar() {
        for (time, expected) in [
            (
                "2024-03-31T00:59:59.999999Z",
                "2024-03-31 01:59:59.999999 CET",
            ),
            ("2024-03-31T01:00:00Z", "2024-03-31 03:00:00.000000 CEST"),
            ("2024-10-27T00:59:59Z", "2024-10-27 02:59:59.000000 CEST"),
            ("2024-10-27T01:00:00Z", "2024-10-27 02:00:00.000000 CET"),
            ("2024-02-28T23:30:00Z", "2024-02-29 00:30:00.000000 CET"),
            ("2023-02-28T23:30:00Z", "2023-03-01 00:30:00.000000 CET"),
            ("2100-02-28T23:30:00Z", "2100-03-01 00:30:00.000000 CET"),
            ("2036-02-07T06:28:16Z", "2036-02-07 07:28:16.000000 CET"),
            ("1969-12-31T23:59:59.25Z", "1970-01-01 00:59:59.250000 CET"),
        ] {
            assert_eq!(
                written(&format!("{PLAIN} %Z"), BERLIN, time),
                expected.as_bytes(),
                "{time}"
            );
        }
    }

    #[test]
    fn rfc868_counts_seconds_since_1900_and_begins_anew_in_2036() {
        for (time, expected) in [
            // The examples of the RFC.
            ("1970-01-01T00:00:00Z", 2_208_988_800_u32),
            ("1976-01-01T00:00:00Z", 2_398_291_200),
            ("1980-01-01T00:00:00Z", 2_524_521_600),
            ("1983-05-01T00:00:00Z", 2_629_584_000),
            ("2036-02-07T06:28:15.999999999Z", u32::MAX),
            ("2036-02-07T06:28:16Z", 0),
            ("2036-02-07T06:28:17.5Z", 1),
        ] {
            assert_eq!(
                written("rfc868", BERLIN, time),
                expected.to_be_bytes(),
                "{time}"
            );
        }
    }

    #[test]
    fn what_is_no_format_is_refused() {
        for name in ["", "rfc", "RFC868", "utc", "%", "%!", "100%"] {
            assert!(name.parse::<Style>().is_err(), "{name:?}");
        }
    }
}
