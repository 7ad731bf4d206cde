//! `Content-Digest` and `Repr-Digest` (RFC 9530): what a sender says its bytes hash to.

use std::fmt;

use base64_simd::STANDARD;

#[cfg(test)]
mod tests;

/// Why a digest field is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestFieldError {
    /// It isn't a dictionary of byte sequences (RFC 9651 §3.2, §3.3.5). Ignoring it would mean to store unverified what
    /// was to be verified.
    Malformed,
    /// The `sha-256` in it hasn't 32 bytes.
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

/// The `sha-256` of a field, its lines joined by commas; `None` if it names other algorithms only, which may be ignored
/// (RFC 9530 §2). Of several, the last one counts (RFC 9651 §3.2).
///
/// # Errors
/// See [`DigestFieldError`].
pub fn sha_256(field: &[u8]) -> Result<Option<[u8; 32]>, DigestFieldError> {
    let mut found = None;
    let mut rest = skip(field, b" ");
    while !rest.is_empty() {
        let (key, value, behind) = member(rest).ok_or(DigestFieldError::Malformed)?;
        let value = STANDARD.decode_to_vec(value).map_err(|_| DigestFieldError::Malformed)?;
        if key == b"sha-256" {
            found = Some(value.try_into().map_err(|_| DigestFieldError::Length)?);
        }
        rest = match skip(behind, b" \t") {
            [] => break,
            [b',', next @ ..] => skip(next, b" \t"),
            _ => return Err(DigestFieldError::Malformed),
        };
        if rest.is_empty() {
            return Err(DigestFieldError::Malformed); // a comma at the end
        }
    }
    Ok(found)
}

/// The key and the encoded value of the first member, and what follows it.
fn member(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = key(bytes)?;
    let rest = rest.strip_prefix(b"=:")?;
    let length = memchr::memchr(b':', rest)?;
    let (value, mut rest) = (&rest[..length], &rest[length + 1..]);
    while let Some(parameter) = rest.strip_prefix(b";") {
        rest = skip_parameter(skip(parameter, b" "))?;
    }
    Some((key, value, rest))
}

/// RFC 9651 §3.1.2: lower-case letters, digits and `_-.*`, beginning with a letter or `*`.
fn key(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let in_key = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(byte);
    let begins = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'*';
    let length = bytes.iter().take_while(|byte| in_key(byte)).count();
    bytes.first().is_some_and(begins).then(|| bytes.split_at(length))
}

/// What follows a parameter, whose meaning doesn't matter.
fn skip_parameter(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = key(bytes)?;
    let Some(value) = rest.strip_prefix(b"=") else { return Some(rest) };
    let Some(text) = value.strip_prefix(b"\"") else {
        let length = value.iter().take_while(|byte| byte.is_ascii_graphic() && !b",;\"".contains(byte)).count();
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

/// What must hold for any bytes; for the fuzzer.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    if let Ok(Some(digest)) = sha_256(data) {
        let again = format!("sha-256=:{}:", STANDARD.encode_to_string(digest));
        assert_eq!(sha_256(again.as_bytes()), Ok(Some(digest)));
        // Another member of another algorithm before it changes nothing.
        assert_eq!(sha_256(format!("md5=:AAAA:;a=\"\\\"\" ,\t{again}").as_bytes()), Ok(Some(digest)));
    }
}
