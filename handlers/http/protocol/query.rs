//! The query of a target in the format of HTML forms: `name=value&name=value`.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

/// A query as sent, without the `?`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a>(pub &'a [u8]);

impl<'a> Query<'a> {
    /// The decoded value of the first parameter with this name. It is empty for a parameter
    /// without `=`. Invalid UTF-8 becomes U+FFFD.
    pub fn get(self, name: &str) -> Option<String> {
        self.pairs()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// Whether the query has a parameter with this name, with or without a value.
    pub fn has(self, name: &str) -> bool {
        self.pairs().any(|(known, _)| known == name)
    }

    /// All parameters as decoded pairs of name and value.
    pub fn pairs(self) -> impl Iterator<Item = (String, String)> + use<'a> {
        let pairs = self.0.split(|&byte| byte == b'&');
        pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_at(memchr::memchr(b'=', pair).unwrap_or(pair.len()));
            (
                decode(name),
                decode(value.strip_prefix(b"=").unwrap_or(value)),
            )
        })
    }
}

/// Decodes the encoding of HTML forms (WHATWG URL, application/x-www-form-urlencoded), in which
/// `+` is a space.
fn decode(bytes: &[u8]) -> String {
    let spaced: Cow<'_, [u8]> = match memchr::memchr(b'+', bytes) {
        Some(_) => bytes
            .iter()
            .map(|&byte| if byte == b'+' { b' ' } else { byte })
            .collect(),
        None => bytes.into(),
    };
    percent_decode(&spaced).decode_utf8_lossy().into_owned()
}

/// Encodes a value for use in a query.
pub fn encode(value: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(value, NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_the_first_counts() {
        let query = Query(b"a=1&b=x+y%2B%2526&a=2&json&=&c=%ff");
        for (name, value) in [
            ("a", "1"),
            ("b", "x y+%26"),
            ("json", ""),
            ("", ""),
            ("c", "\u{FFFD}"),
        ] {
            assert_eq!(query.get(name).as_deref(), Some(value), "{name}");
        }
        assert!(query.has("json") && !query.has("d") && !Query(b"").has("json"));
        assert_eq!(query.get("d"), None);
    }

    #[test]
    fn what_was_encoded_is_decoded_to_the_same() {
        for value in ["", "a b", "&=+%#\"<>'", "é€😀"] {
            let text = format!("v={}", encode(value));
            assert_eq!(Query(text.as_bytes()).get("v").as_deref(), Some(value));
        }
    }
}
