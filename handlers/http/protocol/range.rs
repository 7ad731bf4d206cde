//! The `Range` header (RFC 9110 §14): which bytes of a representation a client asks for.

use std::ops::Range;

#[cfg(test)]
mod tests;

/// A set with more ranges is ignored: §14.2 lets a server ignore what smells of an attack.
const MAX_RANGES: usize = 16;

/// What a `Range` header asks for, of a representation of known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// Answer as if there were no `Range`: it is malformed, in another unit, too much, asks for
    /// a byte twice, or the representation is empty and has no part that could be named.
    Ignore,
    /// Answer 416 (Range Not Satisfiable): no range has a byte of the representation in it.
    Unsatisfiable,
    /// Answer 206 (Partial Content): 1 to 16 ranges in the order of the request, none of them
    /// empty, no two overlapping, each within the representation. Ends are exclusive.
    Satisfiable(Vec<Range<u64>>),
}

/// Reads the value of a `Range` header for a representation of `length` bytes.
///
/// Ranges that begin behind the end are left out; one invalid range makes the whole set
/// invalid, hence ignored (§14.1.1). Numbers too big for 64 bits count as the greatest.
pub fn parse(header: &[u8], length: u64) -> Ranges {
    // §14.2 allows to ignore it; 416 fails clients that send a `Range` with every request.
    if length == 0 {
        return Ranges::Ignore;
    }
    satisfiable(header, length).map_or(Ranges::Ignore, |ranges| {
        if ranges.is_empty() {
            Ranges::Unsatisfiable
        } else {
            Ranges::Satisfiable(ranges)
        }
    })
}

/// The ranges that have bytes in them, or `None` if the header is to be ignored.
fn satisfiable(header: &[u8], length: u64) -> Option<Vec<Range<u64>>> {
    let (unit, set) = header.split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut count = 0;
    let mut ranges = Vec::new();
    // §5.6.1.2: a recipient skips empty elements of a list.
    let elements = set.split(|&byte| byte == b',').map(trim_ows);
    for spec in elements.filter(|spec| !spec.is_empty()) {
        count += 1;
        if count > MAX_RANGES {
            return None;
        }
        let range = one(spec, length)?;
        if !range.is_empty() {
            ranges.push(range);
        }
    }
    if count == 0 || overlap(&ranges) {
        return None;
    }
    Some(ranges)
}

/// One range-spec; an empty range when it is valid but has no byte in it, `None` if invalid.
fn one(spec: &[u8], length: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        return Some(length.saturating_sub(number(last)?)..length);
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some(first.min(length)..length);
    }
    let last = number(last)?;
    if last < first {
        return None;
    }
    Some(first.min(length)..last.saturating_add(1).min(length))
}

/// 1*DIGIT, saturating.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    };
    Some(digits.iter().fold(0, add))
}

/// Whether two of the ranges share bytes (§17.15). If none do, they are together no longer than the
/// representation.
fn overlap(ranges: &[Range<u64>]) -> bool {
    let mut sorted: Vec<_> = ranges.iter().collect();
    sorted.sort_by_key(|range| range.start);
    sorted.windows(2).any(|pair| pair[1].start < pair[0].end)
}

/// Without the spaces and tabs around it (OWS, §5.6.3).
fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// What must hold for any bytes; for the fuzzer.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    for length in [0, 1, 1000, u64::MAX] {
        let Ranges::Satisfiable(ranges) = parse(data, length) else {
            continue;
        };
        assert!((1..=MAX_RANGES).contains(&ranges.len()));
        let within = |range: &Range<u64>| range.start < range.end && range.end <= length;
        assert!(ranges.iter().all(within));
        let spec = |range: &Range<u64>| format!("{}-{}", range.start, range.end - 1);
        let written: Vec<String> = ranges.iter().map(spec).collect();
        let again = parse(format!("bytes={}", written.join(",")).as_bytes(), length);
        assert_eq!(again, Ranges::Satisfiable(ranges));
    }
}
