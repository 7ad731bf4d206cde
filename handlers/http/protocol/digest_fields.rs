//! The headers of RFC 9530. `Content-Digest` and `Repr-Digest` contain digests of the sent bytes.
//! With `Want-Content-Digest` and `Want-Repr-Digest` a client requests digests.

use std::fmt;

use base64_simd::STANDARD;

mod algorithm;
#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;

/// The highest preference that a client can state for an algorithm (RFC 9530 §4).
const HIGHEST: u64 = 10;

/// Why a digest header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestFieldError {
    /// The value is not a dictionary of byte sequences (RFC 9651 §3.2, §3.3.5). If it were ignored,
    /// content would be stored without the verification that the client asked for.
    Malformed,
    /// The member `sha-256` does not have 32 bytes.
    Length,
}

impl fmt::Display for DigestFieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DigestFieldError::Malformed => "it isn't a list of `algorithm=:base64:`",
            DigestFieldError::Length => "a SHA-256 has 32 bytes",
        })
    }
}

impl std::error::Error for DigestFieldError {}

/// The member `sha-256` of a digest header. `field` has the values of all headers with the same
/// name, joined by commas. `None` if it has only other algorithms, which may be ignored (RFC 9530
/// §2). If there are several members `sha-256`, the last one counts (RFC 9651 §3.2).
///
/// # Errors
/// See [`DigestFieldError`].
pub fn sha_256(field: &[u8]) -> Result<Option<[u8; 32]>, DigestFieldError> {
    let mut found = None;
    for_each_member(field, bytes, |key, value| {
        if key == b"sha-256" {
            found = Some(value.try_into().map_err(|_| DigestFieldError::Length)?);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The supported algorithm that a client prefers, from the value of `Want-Repr-Digest` or
/// `Want-Content-Digest` (several headers joined by commas). `None` if the value names no supported
/// algorithm, or is not a dictionary of integers from 0 to 10: the server may ignore such a value
/// (RFC 9530 §4).
pub fn wanted(field: &[u8]) -> Option<Algorithm> {
    let mut preferences = [0; Algorithm::ALL.len()];
    for_each_member(field, preference, |key, value| {
        let known = Algorithm::ALL
            .iter()
            .position(|known| known.key().is_some_and(|name| name.as_bytes() == key));
        if let Some(at) = known {
            preferences[at] = value;
        }
        Ok(())
    })
    .ok()?;
    // If two preferences are equal, the first algorithm of `Algorithm::ALL` wins.
    let best = preferences.into_iter().max().filter(|best| *best > 0)?;
    Algorithm::ALL
        .into_iter()
        .zip(preferences)
        .find(|(_, preference)| *preference == best)
        .map(|(known, _)| known)
}

/// The value of `Repr-Digest` or `Content-Digest` for a digest. `None` if the algorithm has no key
/// for these headers.
pub fn member(algorithm: Algorithm, digest: &[u8]) -> Option<String> {
    Some(format!(
        "{}=:{}:",
        algorithm.key()?,
        STANDARD.encode_to_string(digest)
    ))
}

/// Calls `each` for the members of a dictionary (RFC 9651 §3.2). `value` parses a value with its
/// `=` from the beginning of its argument, and returns the value and the rest of the argument.
fn for_each_member<'a, V>(
    field: &'a [u8],
    value: impl Fn(&'a [u8]) -> Option<(V, &'a [u8])>,
    mut each: impl FnMut(&'a [u8], V) -> Result<(), DigestFieldError>,
) -> Result<(), DigestFieldError> {
    let mut rest = skip(field, b" ");
    while !rest.is_empty() {
        let (key, behind) = key(rest).ok_or(DigestFieldError::Malformed)?;
        let (value, mut behind) = value(behind).ok_or(DigestFieldError::Malformed)?;
        while let Some(parameter) = behind.strip_prefix(b";") {
            behind = skip_parameter(skip(parameter, b" ")).ok_or(DigestFieldError::Malformed)?;
        }
        each(key, value)?;
        rest = match skip(behind, b" \t") {
            [] => break,
            [b',', next @ ..] => skip(next, b" \t"),
            _ => return Err(DigestFieldError::Malformed),
        };
        if rest.is_empty() {
            return Err(DigestFieldError::Malformed); // a comma at the end
        }
    }
    Ok(())
}

/// Parses `=` and a byte sequence (RFC 9651 §3.3.5). Returns the bytes and the rest of `text`.
fn bytes(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let text = text.strip_prefix(b"=:")?;
    let length = memchr::memchr(b':', text)?;
    let value = STANDARD.decode_to_vec(&text[..length]).ok()?;
    Some((value, &text[length + 1..]))
}

/// Parses `=` and a preference, which is an integer (RFC 9651 §3.3.1). Returns it and the rest of
/// `text`.
fn preference(text: &[u8]) -> Option<(u64, &[u8])> {
    const MAX_DIGITS: usize = 15;
    let text = text.strip_prefix(b"=")?;
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    let value = std::str::from_utf8(digits)
        .ok()
        .filter(|_| length <= MAX_DIGITS)?
        .parse()
        .ok()?;
    (value <= HIGHEST).then_some((value, rest))
}

/// Parses a key (RFC 9651 §3.1.2): lower-case letters, digits and `_-.*`, beginning with a letter
/// or `*`. Returns the key and the rest of `bytes`.
fn key(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let in_key =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(byte);
    let begins = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'*';
    let length = bytes.iter().take_while(|byte| in_key(byte)).count();
    bytes
        .first()
        .is_some_and(begins)
        .then(|| bytes.split_at(length))
}

/// Skips a parameter, which has no meaning here. Returns the rest of `bytes`.
fn skip_parameter(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = key(bytes)?;
    let Some(value) = rest.strip_prefix(b"=") else {
        return Some(rest);
    };
    let Some(text) = value.strip_prefix(b"\"") else {
        let length = value
            .iter()
            .take_while(|byte| byte.is_ascii_graphic() && !b",;\"".contains(byte))
            .count();
        return (length > 0).then(|| &value[length..]);
    };
    let mut at = 0;
    loop {
        at += match text.get(at..)? {
            [b'\\', b'"' | b'\\', ..] => 2,
            [b'"', rest @ ..] => return Some(rest),
            [b' '..=b'[' | b']'..=b'~', ..] => 1,
            _ => return None,
        };
    }
}

fn skip<'a>(bytes: &'a [u8], which: &[u8]) -> &'a [u8] {
    let length = bytes.iter().take_while(|byte| which.contains(byte)).count();
    &bytes[length..]
}

/// Panics if `data` breaks a property that holds for all input. For fuzzing.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    if let Ok(Some(digest)) = sha_256(data) {
        let again = format!("sha-256=:{}:", STANDARD.encode_to_string(digest));
        assert_eq!(sha_256(again.as_bytes()), Ok(Some(digest)));
        // A preceding member with another algorithm has no effect.
        assert_eq!(
            sha_256(format!("md5=:AAAA:;a=\"\\\"\" ,\t{again}").as_bytes()),
            Ok(Some(digest))
        );
    }
    if let Some(wish) = wanted(data) {
        let key = wish.key().unwrap_or_default();
        assert_eq!(wanted(format!("{key}=1").as_bytes()), Some(wish));
        assert_eq!(wanted(&[b"unknown=10;a=1,\t", data].concat()), Some(wish));
    }
}
