//! Parses the lines of MLSD, and the facts of MLST (RFC 3659 §7).

use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Entry, Kind, Line, without_line_end};

/// Parses a line such as `type=file;size=5;modify=20240102030405; name`.
pub(in super::super) fn parse(line: &[u8]) -> Line {
    let line = without_line_end(line);
    // According to the RFC, facts contain no space. But some servers send the target of a link as a
    // fact, and a target may contain spaces. So the facts end at the first `;` that is followed by
    // a space.
    let end = line
        .windows(2)
        .position(|pair| pair == b"; ")
        .map(|at| at + 1);
    let (facts, name) = match (line.first(), end) {
        (None, _) => return Line::Nothing,
        (Some(b' '), _) => (&b""[..], &line[1..]),
        (_, Some(end)) => (&line[..end], &line[end + 1..]),
        (_, None) => return Line::Unknown,
    };
    match read_facts(facts) {
        Some(entry) => Line::Entry(name.to_vec(), entry),
        None => Line::Nothing,
    }
}

/// Parses the facts to an entry; `None` for the folder itself and its parent.
fn read_facts(facts: &[u8]) -> Option<Entry> {
    let facts = String::from_utf8_lossy(facts);
    let mut entry = Entry {
        kind: Kind::File,
        size: None,
        modified: None,
        is_exact: true,
    };
    for fact in facts.split(';') {
        let Some((name, value)) = fact.split_once('=') else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "type" => entry.kind = kind(&value.to_ascii_lowercase())?,
            "size" => entry.size = value.parse().ok(),
            "modify" => entry.modified = time(value),
            _ => {}
        }
    }
    if entry.kind != Kind::File {
        entry.size = None;
    }
    Some(entry)
}

fn kind(value: &str) -> Option<Kind> {
    match value {
        "file" => Some(Kind::File),
        "dir" => Some(Kind::Folder),
        "cdir" | "pdir" => None,
        link if link.starts_with("os.unix=slink") || link.starts_with("os.unix=symlink") => {
            Some(Kind::Link)
        }
        "link" => Some(Kind::Link),
        _ => Some(Kind::Other),
    }
}

/// Parses a time in UTC: `YYYYMMDDHHMMSS`, with or without a fraction (RFC 3659 §2.3).
pub(in super::super) fn time(text: &str) -> Option<SystemTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() != 14 || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| whole[from..to].parse::<i16>().ok();
    let small = |from, to| number(from, to).and_then(|number| i8::try_from(number).ok());
    let (year, month, day) = (number(0, 4)?, small(4, 6)?, small(6, 8)?);
    // A leap second (60) is converted to the second before it (59).
    let second = small(12, 14)?.min(59);
    let date = DateTime::new(year, month, day, small(8, 10)?, small(10, 12)?, second, 0).ok()?;
    let timestamp = TimeZone::UTC.to_timestamp(date).ok()?;
    let fraction = fraction.get(..fraction.len().min(9))?;
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    SystemTime::from(timestamp).checked_add(Duration::from_nanos(nanos))
}

/// Formats a time as MFMT and MDTM use it.
pub(in super::super) fn time_text(time: SystemTime) -> Option<String> {
    let timestamp = jiff::Timestamp::try_from(time).ok()?;
    let seconds = timestamp.as_second();
    let floor = if timestamp.subsec_nanosecond() < 0 {
        seconds - 1
    } else {
        seconds
    };
    let timestamp = jiff::Timestamp::from_second(floor).ok()?;
    let date = TimeZone::UTC.to_datetime(timestamp);
    (0..=9999)
        .contains(&date.year())
        .then(|| date.strftime("%Y%m%d%H%M%S").to_string())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn entry(line: &str) -> (String, Entry) {
        match parse(line.as_bytes()) {
            Line::Entry(name, entry) => (String::from_utf8(name).unwrap(), entry),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn lines_are_read() {
        let (name, file) = entry("type=file;size=5;modify=19700101000100; a b;c=d; e\r\n");
        assert_eq!(
            (name.as_str(), file.kind, file.size),
            ("a b;c=d; e", Kind::File, Some(5))
        );
        assert_eq!(file.modified, Some(UNIX_EPOCH + Duration::from_secs(60)));
        assert_eq!(entry("Type=DIR;Size=4096;  lead").0, " lead");
        assert_eq!(entry("Type=DIR;Size=4096; x").1.size, None);
        assert_eq!(entry("type=OS.unix=slink:/a b; l").1.kind, Kind::Link);
        assert_eq!(entry("type=OS.unix=chr-1/3; null").1.kind, Kind::Other);
        assert_eq!(entry(" bare; x").0, "bare; x");
        assert_eq!(entry("size=x;modify=y; n").1.size, None);
        assert_eq!(entry("type=file; ").0, "");
        for line in ["", "\r\n", "type=cdir; .", "type=pdir; .."] {
            assert_eq!(parse(line.as_bytes()), Line::Nothing, "{line}");
        }
        for line in ["type=file;size=1", "hello"] {
            assert_eq!(parse(line.as_bytes()), Line::Unknown, "{line}");
        }
    }

    #[test]
    fn times_are_read_and_written() {
        let at = |seconds, nanos| Some(UNIX_EPOCH + Duration::new(seconds, nanos));
        assert_eq!(time("20240229235959"), at(1_709_251_199, 0));
        assert_eq!(time("20240229235959.25"), at(1_709_251_199, 250_000_000));
        assert_eq!(time("19700101000060"), at(59, 0));
        for text in [
            "",
            "2024",
            "20240230000000",
            "2024022923595x",
            "20240229235959.x",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
        let text = time_text(UNIX_EPOCH + Duration::new(1_709_251_199, 999)).unwrap();
        assert_eq!(text, "20240229235959");
        assert_eq!(
            time_text(UNIX_EPOCH - Duration::from_millis(1)).unwrap(),
            "19691231235959"
        );
    }
}
