//! The request target: from raw bytes to the name of a file below the root, and back to a URL.
//!
//! Every check happens on the decoded bytes, and they are decoded once. What comes out has no
//! way to leave the root; the directory handle that opens it guards against symlinks as well.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};

#[cfg(test)]
mod tests;

/// All but RFC 3986's unreserved characters and `/`; so an encoded name is safe in an HTML
/// attribute too, and a colon in it makes no scheme.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// What a query may not hold as it is (RFC 3986 §3.4); `%` stays, since it is encoded already.
const IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// A request target in origin form (RFC 9112 §3.2.1), decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The path below the root: its segments joined by `/`, with no `/` at either end. Empty
    /// for the root itself. Any bytes but control bytes and `\`; not always UTF-8.
    pub path: Cow<'a, [u8]>,
    /// Whether the path names a directory: it ended in `/`, `/.` or `/..`.
    pub trailing_slash: bool,
    /// What follows the first `?`, not decoded.
    pub query: Option<&'a [u8]>,
}

impl Target<'_> {
    /// The path as the file system takes it, relative to the root and empty for the root.
    pub fn relative_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// The same target with a slash at the end of its path and its query kept: the `Location`
    /// that sends a client from `/directory` to `/directory/`.
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

/// Why a target is refused; each is answered with 400 (Bad Request).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// It doesn't begin with `/`.
    NotOriginForm,
    /// A `%` without two hexadecimal digits behind it.
    BadEscape,
    /// A control byte, space, `#`, `\` or encoded `/` where none may stand.
    ForbiddenByte,
    /// Its `..` lead out of the root.
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

/// Takes a raw target apart. Escapes are decoded once, `//` counts as `/`, then `.` and `..`
/// are removed (RFC 3986 §5.2.4, after the merging of slashes as nginx does it).
///
/// # Errors
/// See [`TargetError`].
pub fn parse(raw: &[u8]) -> Result<Target<'_>, TargetError> {
    let (raw_path, query) = split(raw);
    parse_parts(raw_path, query)
}

/// The path and the query of a raw target.
pub fn split(raw: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', raw) {
        Some(at) => (&raw[..at], Some(&raw[at + 1..])),
        None => (raw, None),
    }
}

/// The same for a raw target whose path and query were split before.
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
    // The head parser refuses these too, but what goes into `Location` is checked twice.
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

/// The path as it stands, when there is nothing in it to decode, merge or refuse: what most
/// requests send, so it costs no allocation.
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

/// Whether a byte may stand in no decoded segment.
fn is_forbidden(decoded: u8) -> bool {
    decoded.is_ascii_control() || decoded == b'\\' || decoded == b'/'
}

/// Whether some target leads to a file of this name: the listing shows no dead link.
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

/// Encodes a path for a URL: `href`, `Location`. Its slashes stay; a name that may hold none
/// doesn't need any other function.
pub fn encode_path(path: &[u8]) -> Cow<'_, str> {
    percent_encode(path, IN_PATH).into()
}

/// Encodes what can't stand in a query as it is; what is encoded already stays so.
pub fn encode_query(query: &[u8]) -> Cow<'_, str> {
    percent_encode(query, IN_QUERY).into()
}

/// What must hold for any bytes; for the fuzzer.
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
