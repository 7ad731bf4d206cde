//! Parses the lines of LIST. No standard describes them. Servers send the format of `ls -l` or the
//! format of Windows.

use std::time::SystemTime;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::{Entry, Kind, Line, without_line_end};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
/// Maximum number of days by which the clock of the server may be ahead. A date without a year that
/// would be further in the future is in the previous year.
const MAX_DAYS_AHEAD: i32 = 7;

/// Parses a line. `today` determines the year of dates without a year.
pub(in super::super) fn parse(line: &[u8], today: Date) -> Line {
    let line = without_line_end(line);
    let words = words(line);
    match words.first() {
        None => Line::Nothing,
        Some((_, b"total")) if words.len() == 2 => Line::Nothing,
        _ => unix(line, &words, today)
            .or_else(|| windows(line, &words))
            .unwrap_or(Line::Unknown),
    }
}

/// The words of a line, each with the index of its end in the line.
fn words(line: &[u8]) -> Vec<(usize, &[u8])> {
    let mut words = Vec::new();
    let mut end = 0;
    for word in line.split(|byte| *byte == b' ') {
        end += word.len();
        if !word.is_empty() {
            words.push((end, word));
        }
        end += 1;
    }
    words
}

fn text<'a>(words: &[(usize, &'a [u8])], at: usize) -> Option<&'a str> {
    std::str::from_utf8(words.get(at)?.1).ok()
}

/// Parses `-rw-r--r-- 1 user group 1234 Nov  5 13:46 name`. The date may be an ISO date, and the
/// group may be missing. The owner's name may contain spaces, so the date is not in a fixed column,
/// and this function searches for it. The number before the date is the size.
fn unix(line: &[u8], words: &[(usize, &[u8])], today: Date) -> Option<Line> {
    let mode = words.first()?.1;
    if mode.len() < 10 || !mode[1..10].iter().all(|byte| b"-rwxsStTlL".contains(byte)) {
        return None;
    }
    let kind = match mode[0] {
        b'-' => Kind::File,
        b'd' => Kind::Folder,
        b'l' => Kind::Link,
        b'b' | b'c' | b'p' | b's' => Kind::Other,
        _ => return None,
    };
    let found = (2..words.len()).find_map(|at| {
        let size: u64 = text(words, at - 1)?.parse().ok()?;
        let (length, modified) = month_date(words, at, today).or_else(|| iso_date(words, at))?;
        Some((size, at + length - 1, modified))
    });
    let (size, last, modified) = found?;
    // Exactly one space separates the date from the name. Further spaces are part of the name.
    let mut name = line.get(words.get(last)?.0 + 1..)?;
    if kind == Kind::Link
        && let Some(arrow) = name.windows(4).position(|part| part == b" -> ")
    {
        name = &name[..arrow];
    }
    if kind == Kind::Folder && matches!(name, b"." | b"..") {
        return Some(Line::Nothing);
    }
    let entry = Entry {
        kind,
        size: (kind == Kind::File).then_some(size),
        modified,
        is_exact: false,
    };
    Some(Line::Entry(name.to_vec(), entry))
}

/// Parses `Nov 5 13:46` or `Nov 5 2024`. Returns the number of words of the date, and the time.
fn month_date(
    words: &[(usize, &[u8])],
    at: usize,
    today: Date,
) -> Option<(usize, Option<SystemTime>)> {
    let month = text(words, at)?.to_ascii_lowercase();
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i8::try_from(month + 1).ok()?;
    let day: i8 = text(words, at + 1)?.parse().ok()?;
    let last = text(words, at + 2)?;
    if let Some(time) = clock(last) {
        let this_year = Date::new(today.year(), month, day).ok();
        let is_past = |date: &Date| (*date - today).get_days() <= MAX_DAYS_AHEAD;
        let date = this_year
            .filter(is_past)
            .or_else(|| Date::new(today.year() - 1, month, day).ok());
        return Some((3, date.and_then(|date| utc(date.to_datetime(time)))));
    }
    let year = last.parse::<i16>().ok().filter(|_| last.len() == 4)?;
    let date = Date::new(year, month, day).ok();
    Some((
        3,
        date.and_then(|date| utc(date.to_datetime(Time::midnight()))),
    ))
}

/// Parses `2024-11-05 13:46`. Returns the number of words of the date, and the time.
fn iso_date(words: &[(usize, &[u8])], at: usize) -> Option<(usize, Option<SystemTime>)> {
    let date: Date = text(words, at)?.parse().ok()?;
    let time = clock(text(words, at + 1)?)?;
    Some((2, utc(date.to_datetime(time))))
}

/// Parses `13:46` or `13:46:59`.
fn clock(text: &str) -> Option<Time> {
    let mut parts = text.splitn(3, ':');
    let mut number = || parts.next()?.get(..2)?.parse::<i8>().ok();
    let (hour, minute) = (number()?, number()?);
    Time::new(hour, minute, number().unwrap_or(0), 0).ok()
}

fn utc(date: DateTime) -> Option<SystemTime> {
    TimeZone::UTC.to_timestamp(date).ok().map(SystemTime::from)
}

/// Parses `11-05-24  01:46PM       <DIR>          name`. A file has its size in place of `<DIR>`.
fn windows(line: &[u8], words: &[(usize, &[u8])]) -> Option<Line> {
    let (date, time) = (text(words, 0)?, text(words, 1)?);
    let mut parts = date.splitn(3, '-').map(str::parse::<i16>);
    let (month, day) = (parts.next()?.ok()?, parts.next()?.ok()?);
    let year = match parts.next()?.ok()? {
        year @ 0..70 => 2000 + year,
        year @ 70..100 => 1900 + year,
        year => year,
    };
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let half = time.get(5..)?.to_ascii_uppercase();
    let clock = clock(time.get(..5)?)?;
    let hour = match half.as_str() {
        "AM" => clock.hour() % 12,
        "PM" => clock.hour() % 12 + 12,
        _ => return None,
    };
    let time = Time::new(hour, clock.minute(), 0, 0).ok()?;
    let (kind, size) = match text(words, 2)? {
        "<DIR>" => (Kind::Folder, None),
        "<JUNCTION>" | "<SYMLINKD>" | "<SYMLINK>" => (Kind::Link, None),
        size => (Kind::File, Some(size.replace(',', "").parse().ok()?)),
    };
    let end = words.get(2)?.0;
    // The names of folders and files begin in the same column, so ten spaces come before the name
    // of a folder.
    let rest = line.get(end..)?;
    let spaces = if kind == Kind::File { 1 } else { 10 };
    let spaces = rest
        .iter()
        .take(spaces)
        .take_while(|byte| **byte == b' ')
        .count();
    let entry = Entry {
        kind,
        size,
        modified: utc(date.to_datetime(time)),
        is_exact: false,
    };
    Some(Line::Entry(rest[spaces..].to_vec(), entry))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::civil::date;

    use super::*;

    fn shown(line: &str) -> String {
        match parse(line.as_bytes(), date(2024, 3, 1)) {
            Line::Entry(name, entry) => {
                let time = entry
                    .modified
                    .map(|time| Timestamp::try_from(time).unwrap());
                format!(
                    "{:?} {:?} {} {}",
                    entry.kind,
                    entry.size,
                    time.map(|time| time.to_string()).unwrap_or_default(),
                    String::from_utf8_lossy(&name)
                )
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn lines_of_many_servers_are_read() {
        for (line, expected) in [
            (
                "-rw-r--r--    1 1000     1000           12 Feb 29 13:46 a b",
                "File Some(12) 2024-02-29T13:46:00Z a b",
            ),
            (
                "-rw-r--r--   1 Domain Users 5 x 7 Nov  5  2020   lead",
                "File Some(7) 2020-11-05T00:00:00Z   lead",
            ),
            (
                "drwxr-xr-x+ 3 root 4096 Nov 05 13:46 d",
                "Folder None 2023-11-05T13:46:00Z d",
            ),
            (
                "-rw-r--r-- 1 u g 5 Mar  4 00:00 near",
                "File Some(5) 2024-03-04T00:00:00Z near",
            ),
            (
                "lrwxrwxrwx 1 u g 5 Jan  1 00:00 l -> a b",
                "Link None 2024-01-01T00:00:00Z l",
            ),
            (
                "crw-rw-rw- 1 root root 1, 3 Jan  1 00:00 null",
                "Other None 2024-01-01T00:00:00Z null",
            ),
            (
                "-rw-r--r-- 1 u g 5 2024-01-02 03:04 iso\r\n",
                "File Some(5) 2024-01-02T03:04:00Z iso",
            ),
            (
                "-rwsr-sr-t 1 u g 5 Feb 30 10:00 no such day",
                "File Some(5)  no such day",
            ),
            (
                "11-05-24  01:46PM       <DIR>          d e",
                "Folder None 2024-11-05T13:46:00Z d e",
            ),
            (
                "11-05-2024  12:00AM          1,234  f",
                "File Some(1234) 2024-11-05T00:00:00Z  f",
            ),
            ("total 12", "Nothing"),
            ("", "Nothing"),
            ("drwxr-xr-x 3 u g 4096 Nov 05 13:46 .", "Nothing"),
            ("drwxr-xr-x 3 u g 4096 Nov 05 13:46 ..", "Nothing"),
            ("hello world", "Unknown"),
            ("-rw-r--r-- 1 u g", "Unknown"),
            ("-rw-r--r-- 1 u g 5 Nov 05", "Unknown"),
            ("-rw-r--r-- 1 u g 5 Nov 05 13:46", "Unknown"),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    fn no_line_makes_it_panic() {
        for line in [
            "-rw-r--r-- 1 u g 5 Nov 05 13:46 a -> b",
            "11-05-24  01:46PM       <DIR>          \u{e9}",
        ] {
            for end in 0..line.len() {
                parse(&line.as_bytes()[..end], date(2024, 3, 1));
                parse(
                    &[&line.as_bytes()[end..], b"\xff"].concat(),
                    date(2024, 3, 1),
                );
            }
        }
    }
}
