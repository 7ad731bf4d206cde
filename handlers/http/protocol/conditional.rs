//! Conditional requests (RFC 9110 §13): whether the representation that a client has, or expects,
//! is still current.
//!
//! An invalid date is ignored (§13.1.3, §13.1.4). A malformed list of entity tags matches nothing.
//! If such a list is the condition of a change, the change is refused.

use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(test)]
mod tests;

/// The values of a request's conditional headers. Several headers with the same name are joined by
/// commas.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'a> {
    /// `If-Match`
    pub if_match: Option<&'a [u8]>,
    /// `If-Unmodified-Since`
    pub if_unmodified_since: Option<&'a [u8]>,
    /// `If-None-Match`
    pub if_none_match: Option<&'a [u8]>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<&'a [u8]>,
    /// `If-Range`
    pub if_range: Option<&'a [u8]>,
}

/// The validators of the current representation (§8.8).
#[derive(Debug, Clone, Copy, Default)]
pub struct Validators<'a> {
    /// The value of `ETag`, with its quotes, and `W/` if it is weak.
    pub etag: Option<&'a [u8]>,
    /// The time of the last change. Fractions of a second are ignored, and a time before 1970
    /// counts as unknown.
    pub last_modified: Option<SystemTime>,
}

/// The result of evaluating the conditions of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Perform the method.
    Proceed {
        /// Whether `If-Range`, if present, allows the use of `Range`. The caller must also
        /// check that the method is GET (§14.2).
        honour_range: bool,
    },
    /// Send status 304 (Not Modified).
    NotModified,
    /// Send status 412 (Precondition Failed).
    PreconditionFailed,
}

/// Evaluates the conditions in the order of §13.2.2. `current` is `None` if the target has no
/// representation. `is_get_or_head` decides between the status codes 304 and 412.
pub fn evaluate(
    conditions: &Conditions<'_>,
    current: Option<&Validators<'_>>,
    is_get_or_head: bool,
) -> Outcome {
    // Computed only when needed, because most requests have no date.
    let modified = || current.and_then(|current| seconds(current.last_modified?));
    let modified_since = |date: Option<&[u8]>| {
        let date = http_date(date?)?;
        Some(modified()? > date)
    };

    if let Some(list) = conditions.if_match {
        if matches(list, current, |a, b| a.strongly_equals(b)) != Some(true) {
            return Outcome::PreconditionFailed;
        }
    } else if modified_since(conditions.if_unmodified_since) == Some(true) {
        return Outcome::PreconditionFailed;
    }

    if let Some(list) = conditions.if_none_match {
        match matches(list, current, |a, b| a.weakly_equals(b)) {
            Some(true) if is_get_or_head => return Outcome::NotModified,
            Some(true) => return Outcome::PreconditionFailed,
            None if !is_get_or_head => return Outcome::PreconditionFailed,
            Some(false) | None => {}
        }
    } else if is_get_or_head && modified_since(conditions.if_modified_since) == Some(false) {
        return Outcome::NotModified;
    }

    let honour_range = conditions.if_range.is_none_or(|validator| {
        let tag = current.and_then(|current| EntityTag::whole(current.etag?));
        match EntityTag::whole(validator) {
            Some(asked) => tag.is_some_and(|tag| tag.strongly_equals(asked)),
            // §13.1.5: the date must equal `Last-Modified`. The client must make sure that the
            // date is a strong validator, that is, older than the response that contained it.
            None => modified().is_some_and(|date| http_date(validator) == Some(date)),
        }
    });
    Outcome::Proceed { honour_range }
}

/// Whether the header value `list` contains the current representation. `None` if the value is
/// malformed.
fn matches(
    list: &[u8],
    current: Option<&Validators<'_>>,
    equals: fn(EntityTag<'_>, EntityTag<'_>) -> bool,
) -> Option<bool> {
    if list == b"*" {
        return Some(current.is_some());
    }
    let tag = current.and_then(|current| EntityTag::whole(current.etag?));
    let mut rest = list;
    let mut empty = true;
    let mut matched = false;
    loop {
        // Empty elements of a list are skipped (§5.6.1.2).
        rest = skip_ows(rest);
        match rest {
            [] => return (!empty).then_some(matched),
            [b',', behind @ ..] => rest = behind,
            _ => {
                let (asked, behind) = EntityTag::first(rest)?;
                empty = false;
                matched |= tag.is_some_and(|tag| equals(tag, asked));
                rest = skip_ows(behind);
                if !matches!(rest, [] | [b',', ..]) {
                    return None;
                }
            }
        }
    }
}

/// An entity tag (§8.8.3).
#[derive(Clone, Copy)]
struct EntityTag<'a> {
    weak: bool,
    /// The quoted part, with its quotes.
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// The entity tag at the start of `bytes`, and what follows it.
    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, bytes) = match bytes.strip_prefix(b"W/") {
            Some(opaque) => (true, opaque),
            None => (false, bytes),
        };
        let inner = bytes.strip_prefix(b"\"")?;
        let length = memchr::memchr(b'"', inner)?;
        let visible = |&byte: &u8| byte > b' ' && byte != 0x7f;
        if !inner[..length].iter().all(visible) {
            return None;
        }
        let (opaque, rest) = bytes.split_at(length + 2);
        Some((EntityTag { weak, opaque }, rest))
    }

    /// Parses `bytes` as exactly one entity tag.
    fn whole(bytes: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::first(bytes)?;
        rest.is_empty().then_some(tag)
    }

    /// §8.8.3.2
    fn strongly_equals(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// §8.8.3.2
    fn weakly_equals(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

fn skip_ows(bytes: &[u8]) -> &[u8] {
    let ows = |&byte: &u8| byte == b' ' || byte == b'\t';
    let length = bytes.iter().take_while(|byte| ows(byte)).count();
    &bytes[length..]
}

/// Parses an HTTP-date in any of its three formats (§5.6.7). Returns seconds since 1970.
fn http_date(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    seconds(httpdate::parse_http_date(text).ok()?)
}

fn seconds(time: SystemTime) -> Option<u64> {
    let since_1970 = time.duration_since(UNIX_EPOCH).ok()?;
    Some(since_1970.as_secs())
}

/// Panics if `data` breaks a property that holds for all input. For fuzzing.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    let current = Validators {
        etag: Some(b"\"a\""),
        last_modified: Some(UNIX_EPOCH),
    };
    let evaluate = |conditions: Conditions<'_>| evaluate(&conditions, Some(&current), true);
    let if_match = evaluate(Conditions {
        if_match: Some(data),
        ..Conditions::default()
    });
    let if_none_match = evaluate(Conditions {
        if_none_match: Some(data),
        ..Conditions::default()
    });
    // A tag that matches strongly also matches weakly.
    if if_match != Outcome::PreconditionFailed {
        assert_eq!(if_none_match, Outcome::NotModified);
    }
    let if_range = evaluate(Conditions {
        if_range: Some(data),
        ..Conditions::default()
    });
    if if_range == (Outcome::Proceed { honour_range: true }) && data.starts_with(b"\"") {
        assert_eq!(data, b"\"a\"");
    }
    for conditions in [
        Conditions {
            if_modified_since: Some(data),
            ..Conditions::default()
        },
        Conditions {
            if_unmodified_since: Some(data),
            ..Conditions::default()
        },
    ] {
        // No date is before 1970, so the representation is never newer than a date.
        assert_ne!(evaluate(conditions), Outcome::PreconditionFailed);
    }
}
