//! Parses values of the command line (contract: durations and sizes).

use std::time::Duration;

use log::LevelFilter;
use socketserver::Address;

use super::duration;

/// A century, which means no limit. Unlike [`Duration::MAX`], it can be added to an instant without
/// an overflow.
pub(crate) const FOREVER: Duration = Duration::from_secs(100 * 365 * 86400);

/// Parses a duration: `500ms`, `30s`, `2m`, `1h 30m`. A bare number is in seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || {
        format!(
            "invalid duration `{text}`: use a number with ms, s, m or h, or a number of seconds"
        )
    };
    let too_long =
        || format!("invalid duration `{text}`: it is too long, the maximum is 876000h (100 years)");
    let time = match text.parse::<f64>() {
        Ok(seconds) if seconds > FOREVER.as_secs_f64() => return Err(too_long()),
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| expected())?,
        Err(_) => duration::parse(text).ok_or_else(expected)?,
    };
    if time > FOREVER {
        Err(too_long())
    } else {
        Ok(time)
    }
}

/// Parses a log level.
pub(crate) fn log_level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| {
        format!("invalid log level `{text}`: use error, warn, info, debug, trace or off")
    })
}

/// Parses a duration as [`duration`] does; `off` means no limit.
pub(crate) fn time_out(text: &str) -> Result<TimeOut, String> {
    if is_off(text) {
        return Ok(TimeOut(None));
    }
    match duration(text)? {
        Duration::ZERO => {
            Err("0 would end every connection at once: use `off` for no limit".to_owned())
        }
        time => Ok(TimeOut(Some(time))),
    }
}

/// Parses a duration as [`duration`] does, but also 0; `off` is [`FOREVER`].
pub(crate) fn time_limit(text: &str) -> Result<Duration, String> {
    if is_off(text) {
        Ok(FOREVER)
    } else {
        duration(text)
    }
}

/// Parses a maximum waiting time as [`time_limit`] does, but not 0.
pub(crate) fn patience(text: &str) -> Result<Duration, String> {
    match time_limit(text)? {
        Duration::ZERO => Err("0 would give up at once: use `off` for no limit".to_owned()),
        time => Ok(time),
    }
}

/// Parses a rate in bytes per second; `off` is 0.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    if is_off(text) { Ok(0) } else { size(text) }
}

fn is_off(text: &str) -> bool {
    matches!(text, "off" | "none")
}

/// Formats a timeout as the command line accepts it.
pub(crate) fn shown(time: Option<Duration>) -> String {
    match time {
        Some(time) => duration::Shown(time).to_string(),
        None => "off".to_owned(),
    }
}

/// Parses addresses with commas between them. A path may contain commas, too: after `unix:`, only a
/// comma before the next `unix:` separates addresses.
pub(crate) fn addresses(text: &str) -> Result<Addresses, socketserver::Error> {
    let mut parts: Vec<String> = Vec::new();
    for part in text.split(',') {
        match parts.last_mut() {
            Some(path) if path.starts_with(UNIX) && !part.starts_with(UNIX) => {
                *path = format!("{path},{part}")
            }
            _ => parts.push(part.to_owned()),
        }
    }
    parts
        .iter()
        .map(|part| part.parse())
        .collect::<Result<_, _>>()
        .map(Addresses)
}

const UNIX: &str = "unix:";

/// A list of at least one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub Vec<Address>);

/// A timeout; `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOut(pub Option<Duration>);

/// Parses permission bits in octal, such as `022` or `0027`.
pub(crate) fn umask(text: &str) -> Result<u32, String> {
    let mask = u32::from_str_radix(text, 8).ok();
    let has_sign = text.starts_with('+');
    mask.filter(|mask| !has_sign && *mask <= 0o777)
        .ok_or_else(|| format!("invalid mask `{text}`: use an octal number up to 777, such as 022"))
}

/// Parses a size: `64KiB`, `10MB`, `10M`. A bare number is in bytes. K, M and G are powers of 1000,
/// and Ki, Mi and Gi are powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let expected = || {
        format!(
            "invalid size `{text}`: use a number of bytes, or a number with a unit such as KiB \
             or MB"
        )
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start().trim_end_matches(['b', 'B']);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1000,
        "m" => 1000 * 1000,
        "g" => 1000 * 1000 * 1000,
        "t" => 1000 * 1000 * 1000 * 1000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return Err(expected()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(expected)
}

/// Parses a number of at least 1.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("invalid number `{text}`: use a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_contract_says() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("5", 5000),
            ("0.25", 250),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "x",
            "-1",
            "1 parsec",
            "inf",
            "nan",
            "1e300",
            "99999999999999999999y",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(time_out("off"), Ok(TimeOut(None)));
        assert!(time_out("0").is_err());
        assert_eq!(time_limit("off"), Ok(FOREVER));
        assert_eq!(time_limit("0"), Ok(Duration::ZERO));
        assert!(std::time::Instant::now().checked_add(FOREVER).is_some());
        assert_eq!((rate("off"), rate("1k")), (Ok(0), Ok(1000)));
        for time in [Some(Duration::from_millis(1500)), None] {
            assert_eq!(time_out(&shown(time)), Ok(TimeOut(time)));
        }
    }

    #[test]
    fn commas_part_addresses_but_not_a_path() {
        for (text, expected) in [
            ("127.0.0.1:1", &["127.0.0.1:1"][..]),
            (":1,[::1]:2", &[":1", "[::1]:2"]),
            ("unix:/a,b", &["unix:/a,b"]),
            (":1,unix:/a,b:2,unix:/c", &[":1", "unix:/a,b:2", "unix:/c"]),
        ] {
            let expected = expected.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(addresses(text).unwrap(), Addresses(expected), "{text}");
        }
        for text in ["", ":1,", ",:1", "a,b"] {
            assert!(addresses(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_the_contract_says() {
        for (text, bytes) in [
            ("64KiB", 65_536),
            ("10MB", 10_000_000),
            ("10", 10),
            ("1k", 1000),
            ("2 GiB", 2 << 30),
            ("5B", 5),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "KiB",
            "-1",
            "1.5M",
            "1X",
            "99999999999999999999",
            "99999999999TiB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
