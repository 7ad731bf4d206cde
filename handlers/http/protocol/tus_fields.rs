//! The headers of tus 1.0.0 requests: `Upload-Metadata`, `Upload-Checksum`, and headers with
//! numbers.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64_simd::STANDARD;

use crate::protocol::file_date;

#[cfg(test)]
mod tests;

/// The digest algorithms for the check of a chunk of an upload, best first.
pub const ALGORITHMS: &str = "sha256,sha1,md5";

/// The expected digest of a chunk of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Checksum {
    Md5([u8; 16]),
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

/// Why a header is refused. The response has the status 400 (Bad Request).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TusFieldError {
    /// The value is not a list of `key base64`.
    Metadata,
    /// A key occurs twice.
    TwoOfOneKey,
    /// A value that must be text is not UTF-8.
    NotText,
    /// The value is not `algorithm base64`.
    Checksum,
    /// `mtime` or `lastModified` is not a date.
    Date,
    /// The server does not compute this digest.
    Algorithm,
    /// A digest does not have the length of its algorithm.
    Length,
}

impl fmt::Display for TusFieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TusFieldError::Metadata => "Upload-Metadata isn't a list of `key base64`",
            TusFieldError::TwoOfOneKey => "Upload-Metadata has a key twice",
            TusFieldError::NotText => "a name in Upload-Metadata is no UTF-8",
            TusFieldError::Checksum => "Upload-Checksum isn't `algorithm base64`",
            TusFieldError::Date => {
                "`mtime` in Upload-Metadata isn't seconds since 1970, or `lastModified` isn't \
                 milliseconds"
            }
            TusFieldError::Algorithm => "Upload-Checksum names none of sha256, sha1 and md5",
            TusFieldError::Length => "Upload-Checksum has another length than its algorithm",
        })
    }
}

impl std::error::Error for TusFieldError {}

/// The name and the date in an upload's metadata. Other keys are ignored, but must be well-formed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The name of the file.
    pub filename: Option<String>,
    /// The path of the file: its name after the names of its folders.
    pub relative_path: Option<String>,
    /// The time of the last change: `mtime` in seconds since 1970, or `lastModified` in
    /// milliseconds, as browsers have it. If both are present, `mtime` counts.
    pub modified: Option<SystemTime>,
}

/// Parses the value of `Upload-Metadata`.
///
/// # Errors
/// See [`TusFieldError`].
pub fn metadata(field: &[u8]) -> Result<Metadata, TusFieldError> {
    let mut metadata = Metadata::default();
    let (mut mtime, mut last_modified) = (None, None);
    let mut keys = Vec::new();
    for pair in field.split(|&byte| byte == b',') {
        let pair = pair.trim_ascii();
        let (key, value) = match memchr::memchr(b' ', pair) {
            Some(space) => (&pair[..space], &pair[space + 1..]),
            None => (pair, &b""[..]),
        };
        if key.is_empty() {
            return Err(TusFieldError::Metadata);
        }
        if keys.contains(&key) {
            return Err(TusFieldError::TwoOfOneKey);
        }
        keys.push(key);
        let value = STANDARD
            .decode_to_vec(value)
            .map_err(|_| TusFieldError::Metadata)?;
        match key {
            b"filename" => metadata.filename = Some(text(value)?),
            b"relativePath" => metadata.relative_path = Some(text(value)?),
            b"mtime" => mtime = date(&value, file_date::seconds)?,
            b"lastModified" => last_modified = date(&value, file_date::milliseconds)?,
            _ => {}
        }
    }
    metadata.modified = mtime.or(last_modified);
    Ok(metadata)
}

fn text(value: Vec<u8>) -> Result<String, TusFieldError> {
    String::from_utf8(value).map_err(|_| TusFieldError::NotText)
}

/// Parses a date. The client Uppy sends `null` for an unknown date.
fn date(
    text: &[u8],
    read: fn(&[u8]) -> Option<SystemTime>,
) -> Result<Option<SystemTime>, TusFieldError> {
    match text {
        b"" | b"null" => Ok(None),
        text => read(text).map(Some).ok_or(TusFieldError::Date),
    }
}

/// Parses the value of `Upload-Checksum`.
///
/// # Errors
/// See [`TusFieldError`].
pub fn checksum(field: &[u8]) -> Result<Checksum, TusFieldError> {
    let space = memchr::memchr(b' ', field).ok_or(TusFieldError::Checksum)?;
    let (algorithm, value) = (&field[..space], &field[space + 1..]);
    let value = STANDARD
        .decode_to_vec(value)
        .map_err(|_| TusFieldError::Checksum);
    match algorithm {
        b"md5" => Ok(Checksum::Md5(exactly(value?)?)),
        b"sha1" => Ok(Checksum::Sha1(exactly(value?)?)),
        b"sha256" => Ok(Checksum::Sha256(exactly(value?)?)),
        _ => Err(TusFieldError::Algorithm),
    }
}

fn exactly<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], TusFieldError> {
    bytes.try_into().map_err(|_| TusFieldError::Length)
}

/// Parses the value of `Upload-Offset` or `Upload-Length`, which has only digits.
pub fn number(field: &[u8]) -> Option<u64> {
    let is_number = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(field)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

/// Panics if `data` breaks a property that holds for all input. For fuzzing.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    if let Ok(read) = metadata(data) {
        let mut again = b"other".to_vec();
        let since_1970 = read
            .modified
            .and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        let mtime =
            since_1970.map(|since| format!("{}.{:09}", since.as_secs(), since.subsec_nanos()));
        let values = [
            ("filename", &read.filename),
            ("relativePath", &read.relative_path),
            ("mtime", &mtime),
        ];
        for (key, value) in values {
            if let Some(value) = value {
                again.extend_from_slice(
                    format!(" , {key} {}", STANDARD.encode_to_string(value)).as_bytes(),
                );
            }
        }
        assert_eq!(metadata(&again), Ok(read));
    }
    if let Ok(read) = checksum(data) {
        let digest: &[u8] = match &read {
            Checksum::Md5(digest) => digest,
            Checksum::Sha1(digest) => digest,
            Checksum::Sha256(digest) => digest,
        };
        let space = memchr::memchr(b' ', data).unwrap_or(0);
        let again = STANDARD.encode_to_string(digest);
        assert_eq!(&data[space + 1..], again.as_bytes());
    }
    if let Some(read) = number(data) {
        assert_eq!(number(format!("0{read}").as_bytes()), Some(read));
    }
}
