//! The `Range` header (RFC 9110 §14): the bytes of a representation that a client requests.

use std::ops::Range;

#[cfg(test)]
mod tests;

/// Maximum number of ranges in a request. A header with more ranges is ignored: §14.2 allows a
/// server to ignore suspicious ranges.
const MAX_RANGES: usize = 16;

/// The meaning of a `Range` header for a representation of known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// Respond as if there were no `Range`. The header is malformed, has another unit, has too
    /// many or overlapping ranges, or the representation is empty.
    Ignore,
    /// Send status 416 (Range Not Satisfiable). No range contains a byte of the representation.
    Unsatisfiable,
    /// Send status 206 (Partial Content) with 1 to 16 ranges, in the order of the request. Each
    /// range is within the representation and not empty, and no two overlap. Ends are exclusive.
    Satisfiable(Vec<Range<u64>>),
}

/// Parses the value of a `Range` header for a representation of `length` bytes.
///
/// Ranges that begin after the end are left out. One invalid range makes the whole header invalid,
/// so that it is ignored (§14.1.1). Numbers above the maximum of 64 bits count as the maximum.
pub fn parse(header: &[u8], length: u64) -> Ranges {
    // §14.2 allows a server to ignore `Range`. Status 416 would break clients that send `Range`
    // with every request.
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

/// The ranges that contain bytes of the representation. `None` if the header must be ignored.
fn satisfiable(header: &[u8], length: u64) -> Option<Vec<Range<u64>>> {
    let (unit, set) = header.split_at_checked(b"bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut count = 0;
    let mut ranges = Vec::new();
    // A recipient skips empty elements of a list (§5.6.1.2).
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

/// Parses one range-spec. Returns an empty range if the spec is valid but contains no byte of the
/// representation, and `None` if it is invalid.
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

/// Parses one or more digits. A number above the maximum becomes the maximum.
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

/// Whether two of the ranges overlap (§17.15). Without overlaps, the ranges together are at most
/// as long as the representation.
fn overlap(ranges: &[Range<u64>]) -> bool {
    let mut sorted: Vec<_> = ranges.iter().collect();
    sorted.sort_by_key(|range| range.start);
    sorted.windows(2).any(|pair| pair[1].start < pair[0].end)
}

/// Removes spaces and tabs at both ends (OWS, §5.6.3).
fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Panics if `data` breaks a property that holds for all input. For fuzzing.
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
