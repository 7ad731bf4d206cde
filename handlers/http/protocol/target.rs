//! Converts a request target to the path of a file below the root, and such a path back to a URL.
//!
//! The path is decoded exactly once, and all checks use the decoded bytes. The resulting path has
//! no `..` and can't leave the root. The directory handle that opens the path also guards against
//! symlinks.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};

#[cfg(test)]
mod tests;

/// Characters that are encoded in a path: all except the unreserved characters of RFC 3986 and `/`.
/// So an encoded name is also safe in an HTML attribute, and a colon in it can't end a scheme.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Characters that must be encoded in a query (RFC 3986 §3.4). `%` is not one of them, because the
/// query is already encoded.
const IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// A request target in origin form (RFC 9112 §3.2.1), decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The path below the root: segments joined by `/`, without `/` at either end. It is empty for
    /// the root itself. It contains no control bytes and no `\`, and is not always UTF-8.
    pub path: Cow<'a, [u8]>,
    /// Whether the path names a directory: it ended in `/`, `/.` or `/..`.
    pub trailing_slash: bool,
    /// The part after the first `?`, not decoded.
    pub query: Option<&'a [u8]>,
}

impl Target<'_> {
    /// The path for the file system, relative to the root. It is empty for the root itself.
    pub fn relative_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// The target with a slash at the end of its path and with the same query. It is the `Location`
    /// that redirects a client from `/directory` to `/directory/`.
    pub fn location_of_directory(&self) -> String {
        let slash = if self.path.is_empty() { "" } else { "/" };
        let mut location = format!("/{}{slash}", encode_path(&self.path));
        if let Some(query) = self.query {
            location.push('?');
            location.push_str(&encode_query(query));
        }
        location
    }
}

/// Why a target is refused. The response has the status 400 (Bad Request).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// The target does not begin with `/`.
    NotOriginForm,
    /// A `%` without two hexadecimal digits after it.
    BadEscape,
    /// A control byte, space, `#`, `\` or encoded `/` in a place where it is not allowed.
    ForbiddenByte,
    /// The segments `..` lead out of the root.
    OutsideRoot,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TargetError::NotOriginForm => "the target doesn't begin with a slash",
            TargetError::BadEscape => "malformed percent escape in the target",
            TargetError::ForbiddenByte => "forbidden byte in the target",
            TargetError::OutsideRoot => "the target leads out of the root",
        })
    }
}

impl std::error::Error for TargetError {}

/// Parses a raw target. Escapes are decoded once, `//` counts as `/`, and then `.` and `..` are
/// removed (RFC 3986 §5.2.4). Merging slashes before that is what nginx does, too.
///
/// # Errors
/// See [`TargetError`].
pub fn parse(raw: &[u8]) -> Result<Target<'_>, TargetError> {
    let (raw_path, query) = split(raw);
    parse_parts(raw_path, query)
}

/// Splits a raw target into path and query.
pub fn split(raw: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', raw) {
        Some(at) => (&raw[..at], Some(&raw[at + 1..])),
        None => (raw, None),
    }
}

/// Like [`parse`], for a raw target that is already split into path and query.
///
/// # Errors
/// See [`TargetError`].
pub fn parse_parts<'a>(
    raw_path: &'a [u8],
    query: Option<&'a [u8]>,
) -> Result<Target<'a>, TargetError> {
    if raw_path.first() != Some(&b'/') {
        return Err(TargetError::NotOriginForm);
    }
    // The parser of heads refuses these bytes too. They are checked again here because the query
    // becomes part of `Location`.
    let is_visible = |byte: &u8| *byte > b' ' && *byte != 0x7f && *byte != b'#';
    if !raw_path
        .iter()
        .chain(query.unwrap_or_default())
        .all(is_visible)
    {
        return Err(TargetError::ForbiddenByte);
    }
    let (path, trailing_slash) = match plain(raw_path) {
        Some((path, trailing_slash)) => (Cow::Borrowed(path), trailing_slash),
        None => {
            let (path, trailing_slash) = normalize(raw_path)?;
            (Cow::Owned(path), trailing_slash)
        }
    };
    Ok(Target {
        path,
        trailing_slash,
        query,
    })
}

/// The path and whether it has a trailing slash, if it needs no decoding and no merging of slashes
/// and has no forbidden byte. Most requests have such a path, so most need no allocation.
fn plain(raw_path: &[u8]) -> Option<(&[u8], bool)> {
    let mut previous = 0;
    for &byte in raw_path {
        let segment_start = previous == b'/';
        if byte == b'%' || byte == b'\\' || (segment_start && (byte == b'/' || byte == b'.')) {
            return None;
        }
        previous = byte;
    }
    let path = raw_path.strip_prefix(b"/")?;
    match path.strip_suffix(b"/") {
        Some(directory) => Some((directory, true)),
        None => Some((path, path.is_empty())),
    }
}

fn normalize(raw_path: &[u8]) -> Result<(Vec<u8>, bool), TargetError> {
    let mut path = Vec::with_capacity(raw_path.len());
    let mut trailing_slash = true;
    for raw_segment in raw_path.split(|&byte| byte == b'/') {
        let start = path.len();
        if start > 0 {
            path.push(b'/');
        }
        let name_start = path.len();
        decode_segment(raw_segment, &mut path)?;
        trailing_slash = match &path[name_start..] {
            b"" | b"." => {
                path.truncate(start);
                true
            }
            b".." => {
                if start == 0 {
                    return Err(TargetError::OutsideRoot);
                }
                let parent = memchr::memrchr(b'/', &path[..start]);
                path.truncate(parent.unwrap_or(0));
                true
            }
            _ => false,
        };
    }
    Ok((path, trailing_slash))
}

fn decode_segment(raw: &[u8], into: &mut Vec<u8>) -> Result<(), TargetError> {
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        let decoded = match byte {
            b'%' => {
                let high = bytes.next().copied().and_then(hex_digit);
                let low = bytes.next().copied().and_then(hex_digit);
                high.zip(low)
                    .map(|(high, low)| high << 4 | low)
                    .ok_or(TargetError::BadEscape)?
            }
            _ => byte,
        };
        if is_forbidden(decoded) {
            return Err(TargetError::ForbiddenByte);
        }
        into.push(decoded);
    }
    Ok(())
}

/// Whether a byte is forbidden in every decoded segment.
fn is_forbidden(decoded: u8) -> bool {
    decoded.is_ascii_control() || decoded == b'\\' || decoded == b'/'
}

/// Whether a target can name a file of this name. A listing leaves out other files, because links
/// to them would not work.
pub fn is_reachable(name: &[u8]) -> bool {
    !name.iter().any(|&byte| is_forbidden(byte))
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Encodes a path for a URL, as in `href` and `Location`. Slashes are kept. It can also encode a
/// single name, because names contain no slashes.
pub fn encode_path(path: &[u8]) -> Cow<'_, str> {
    percent_encode(path, IN_PATH).into()
}

/// Encodes the characters that are not allowed in a query. Existing escapes are kept.
pub fn encode_query(query: &[u8]) -> Cow<'_, str> {
    percent_encode(query, IN_QUERY).into()
}

/// Panics if `data` breaks a property that holds for all input. For fuzzing.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    let Ok(target) = parse(data) else {
        return;
    };
    let named = |segment: &[u8]| !matches!(segment, b"" | b"." | b"..");
    let below_root = target.path.split(|&byte| byte == b'/').all(named);
    assert!(target.path.is_empty() || below_root);
    let forbidden = |byte: &u8| byte.is_ascii_control() || *byte == b'\\';
    assert!(!target.path.iter().any(forbidden));

    let location = target.location_of_directory();
    assert!(location.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!location.starts_with("//"));
    let again = parse(location.as_bytes());
    let again = again.expect("what was encoded here can be decoded");
    assert_eq!(again.path, target.path);
    assert!(again.trailing_slash);

    let raw_path = data.split(|&byte| byte == b'?').next().unwrap_or(data);
    let slowly = normalize(raw_path);
    assert_eq!(
        slowly,
        Ok((target.path.into_owned(), target.trailing_slash))
    );
}
