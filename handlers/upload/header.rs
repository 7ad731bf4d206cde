//! The header of an upload: what the client announces about the file before its bytes.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::common::digest::{Digests, from_hex};

/// Maximum length of a header in bytes.
pub const LONGEST: usize = 64 * 1024;

/// The announcement of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The name as the client sent it.
    pub file_name: String,
    /// The length of the file in bytes.
    pub file_size: u64,
    /// The digests of the file that the client announced.
    pub digests: Digests,
    /// Whether to resume an earlier upload of the same file.
    pub resume: bool,
    /// The modification time of the client's file.
    pub modified: Option<SystemTime>,
}

/// Why a header is malformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderError(String);

/// Parses a header: a JSON object with `file_size` and `file_name`, and optionally `md5`, `sha256`,
/// `resume` and `mtime`. Other keys are ignored. A key that occurs twice is an error, because
/// different parsers would use different values.
///
/// # Errors
/// The error names the wrong key and the reason.
pub fn parse(json: &[u8]) -> Result<Header, HeaderError> {
    let Object(map) = serde_json::from_slice(json)
        .map_err(|error| HeaderError(format!("no header in JSON: {error}")))?;
    let fields = Fields(map);
    Ok(Header {
        file_name: fields.required("file_name", "text", |value| {
            value.as_str().map(str::to_owned)
        })?,
        file_size: fields.required(
            "file_size",
            "a whole number that isn't negative",
            Value::as_u64,
        )?,
        digests: Digests {
            md5: fields.digest("md5")?,
            sha256: fields.digest("sha256")?,
            ..Digests::default()
        },
        resume: fields
            .optional("resume", "true or false", Value::as_bool)?
            .unwrap_or(false),
        modified: fields.optional("mtime", "a number of seconds", |value| {
            value.as_f64().and_then(since_1970)
        })?,
    })
}

/// The members of the JSON object.
struct Fields(Map<String, Value>);

impl Fields {
    fn required<T>(
        &self,
        key: &str,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, HeaderError> {
        self.optional(key, what, read)?
            .ok_or_else(|| HeaderError(format!("the header has no `{key}`")))
    }

    fn optional<T>(
        &self,
        key: &str,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, HeaderError> {
        let Some(value) = self.0.get(key) else {
            return Ok(None);
        };
        read(value)
            .map(Some)
            .ok_or_else(|| HeaderError(format!("the header's `{key}` is not {what}")))
    }

    fn digest<const N: usize>(&self, key: &str) -> Result<Option<[u8; N]>, HeaderError> {
        let what = format!("{} hexadecimal digits", 2 * N);
        self.optional(key, &what, |value| {
            value.as_str().and_then(|text| from_hex(text).ok())
        })
    }
}

/// Converts seconds since 1970 to a time. `None` if the system cannot represent it.
fn since_1970(seconds: f64) -> Option<SystemTime> {
    let distance = Duration::try_from_secs_f64(seconds.abs()).ok()?;
    if seconds < 0.0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    }
}

/// A JSON object. Parsing it fails if a key occurs twice.
struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Map<String, Value>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let (mut seen, mut members) = (HashSet::new(), Map::new());
                while let Some((key, value)) = access.next_entry::<String, Value>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("the key {key:?} is there twice")));
                    }
                    members.insert(key, value);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Members).map(Object)
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HeaderError {}

/// Fuzz target: checks what must hold for every input.
///
/// # Panics
/// If a parsed header changes when it is formatted and parsed again.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    use crate::common::digest::to_hex;
    use crate::common::framing;
    let frame = match framing::parse(data, LONGEST) {
        Ok(framing::Status::Complete { payload, .. }) => payload,
        _ => data,
    };
    let Ok(header) = parse(frame) else { return };
    let mut again = serde_json::json!({
        "file_name": header.file_name, "file_size": header.file_size, "resume": header.resume,
    });
    if let Some(md5) = header.digests.md5 {
        again["md5"] = to_hex(&md5).into();
    }
    if let Some(sha256) = header.digests.sha256 {
        again["sha256"] = to_hex(&sha256).into();
    }
    let again = parse(again.to_string().as_bytes());
    assert_eq!(
        again,
        Ok(Header {
            modified: None,
            ..header
        }),
        "a header doesn't survive"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_what_comes() {
        let header = parse(br#"{"file_size": 3, "file_name": "a/\u00e9"}"#).unwrap();
        let plain = Header {
            file_name: "a/\u{e9}".into(),
            file_size: 3,
            digests: Digests::default(),
            resume: false,
            modified: None,
        };
        assert_eq!(header, plain);
        let json = format!(
            r#"{{"mtime": 1.5, "resume": true, "sha256": "{}", "md5": "{}", "file_name": "x",
            "file_size": 18446744073709551615, "more": [1, {{"file_size": 2}}]}}"#,
            "aB".repeat(32),
            "0f".repeat(16)
        );
        let header = parse(json.as_bytes()).unwrap();
        assert_eq!((header.file_size, header.resume), (u64::MAX, true));
        assert_eq!(
            header.digests,
            Digests {
                md5: Some([0x0f; 16]),
                sha256: Some([0xab; 32]),
                ..Digests::default()
            }
        );
        assert_eq!(
            header.modified,
            Some(UNIX_EPOCH + Duration::from_millis(1500))
        );
        let old = parse(br#"{"file_size": 0, "file_name": "", "mtime": -1}"#).unwrap();
        assert_eq!(old.modified, Some(UNIX_EPOCH - Duration::from_secs(1)));
    }

    #[test]
    fn what_is_no_header_is_refused_with_its_reason() {
        for (json, says) in [
            ("", "JSON"),
            ("null", "an object"),
            ("[]", "an object"),
            ("\"text\"", "an object"),
            ("{", "JSON"),
            ("{} {}", "trailing"),
            ("{\"file_name\": \"\u{0}\"}", "JSON"),
            ("{}", "file_name"),
            (r#"{"file_name": "a"}"#, "no `file_size`"),
            (r#"{"file_size": 1}"#, "no `file_name`"),
            (r#"{"file_name": 1, "file_size": 1}"#, "`file_name` is not"),
            (
                r#"{"file_name": null, "file_size": 1}"#,
                "`file_name` is not",
            ),
            (
                r#"{"file_name": "a", "file_size": "1"}"#,
                "`file_size` is not",
            ),
            (
                r#"{"file_name": "a", "file_size": -1}"#,
                "`file_size` is not",
            ),
            (
                r#"{"file_name": "a", "file_size": 1.0}"#,
                "`file_size` is not",
            ),
            (
                r#"{"file_name": "a", "file_size": true}"#,
                "`file_size` is not",
            ),
            (
                r#"{"file_name": "a", "file_size": 18446744073709551616}"#,
                "`file_size` is not",
            ),
            (
                r#"{"file_name": "a", "file_size": 1, "file_size": 1}"#,
                "twice",
            ),
            (
                r#"{"file_name": "a", "file_size": 1, "x": 1, "x": 2}"#,
                "twice",
            ),
            (
                r#"{"file_name": "a", "file_size": 1, "md5": 5}"#,
                "32 hexadecimal digits",
            ),
            (
                r#"{"file_name": "a", "file_size": 1, "md5": "0f"}"#,
                "32 hexadecimal digits",
            ),
            (
                r#"{"file_name": "a", "file_size": 1, "sha256": ""}"#,
                "64 hexadecimal digits",
            ),
            (
                r#"{"file_name": "a", "file_size": 1, "resume": 1}"#,
                "`resume` is not",
            ),
            (
                r#"{"file_name": "a", "file_size": 1, "mtime": "now"}"#,
                "`mtime` is not",
            ),
            (
                r#"{"file_name": "a", "file_size": 1, "mtime": 1e300}"#,
                "`mtime` is not",
            ),
        ] {
            let HeaderError(message) = parse(json.as_bytes()).unwrap_err();
            assert!(message.contains(says), "{json}: {message}");
        }
        assert!(parse(b"{\"file_name\": \"\xff\", \"file_size\": 1}").is_err());
        assert!(parse("[".repeat(60_000).as_bytes()).is_err());
        assert!(parse(format!("{{\"a\": {}", "[".repeat(60_000)).as_bytes()).is_err());
    }
}
