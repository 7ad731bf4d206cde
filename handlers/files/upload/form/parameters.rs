//! Parses a header's value with parameters, such as `form-data; name="a"` or
//! `multipart/form-data; boundary=b` (RFC 9110 §5.6.6, RFC 2183 §2).

use std::borrow::Cow;

/// The part before the first `;`, and the parameters. No parameter occurs twice.
#[derive(Debug)]
pub(crate) struct Parameters<'a> {
    pub(crate) essence: &'a [u8],
    list: Vec<(&'a [u8], Cow<'a, [u8]>)>,
}

impl<'a> Parameters<'a> {
    /// Parses a value. `None` if it is malformed or has a parameter twice.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Parameters<'a>> {
        let (essence, mut rest) = split_at_semicolon(value);
        let mut list: Vec<(&[u8], Cow<'_, [u8]>)> = Vec::new();
        loop {
            rest = rest.trim_ascii_start();
            let Some(parameter) = rest.strip_prefix(b";") else {
                return rest.is_empty().then_some(Parameters {
                    essence: essence.trim_ascii(),
                    list,
                });
            };
            let parameter = parameter.trim_ascii_start();
            if parameter.is_empty() || parameter[0] == b';' {
                rest = parameter; // empty: some senders put a `;` at the end
                continue;
            }
            let equals = memchr::memchr(b'=', parameter)?;
            let (name, value) = (&parameter[..equals], &parameter[equals + 1..]);
            let is_new = !list
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name));
            if !is_new
                || name.is_empty()
                || !name
                    .iter()
                    .all(|&byte| socketserver_http::protocol::head::is_token(byte))
            {
                return None;
            }
            let (value, behind) = match value.strip_prefix(b"\"") {
                Some(quoted) => unquote(quoted)?,
                None => unquoted(value)?,
            };
            list.push((name, value));
            rest = behind;
        }
    }

    /// The parameter with this name. `name` must be in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.list
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| &**value)
    }
}

fn split_at_semicolon(value: &[u8]) -> (&[u8], &[u8]) {
    value.split_at(memchr::memchr(b';', value).unwrap_or(value.len()))
}

/// Parses a value without quotes. It may contain more than a token, because some senders do not
/// quote spaces, for example. Quotes within the value are ambiguous and are refused.
fn unquoted(value: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let (value, behind) = split_at_semicolon(value);
    (!value.contains(&b'"')).then(|| (Cow::Borrowed(value.trim_ascii()), behind))
}

/// Parses a quoted value. Returns the value and the rest after the closing quote. A backslash
/// escapes only a quote or a backslash, because browsers send other backslashes unescaped.
fn unquote(value: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let special = memchr::memchr2(b'"', b'\\', value)?;
    if value[special] == b'"' {
        return Some((Cow::Borrowed(&value[..special]), &value[special + 1..]));
    }
    let (mut text, mut rest) = (value[..special].to_vec(), &value[special..]);
    loop {
        rest = match rest {
            [b'\\', escaped @ (b'"' | b'\\'), rest @ ..] => {
                text.push(*escaped);
                rest
            }
            [b'"', rest @ ..] => return Some((Cow::Owned(text), rest)),
            [byte, rest @ ..] => {
                text.push(*byte);
                rest
            }
            [] => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(value: &'a str, name: &str) -> Option<String> {
        let parameters: Parameters<'a> = Parameters::parse(value.as_bytes())?;
        parameters
            .get(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn parameters_are_quoted_or_not() {
        for (value, expected) in [
            ("form-data; a=b", "b"),
            ("form-data;A=\"b\"", "b"),
            ("form-data ; x=\"a=c; a=d\" ; a=\"b\" ;", "b"),
            ("form-data; a=two words ; x=y", "two words"),
            ("form-data; a=", ""),
            ("form-data; a=\"\"", ""),
            (r#"form-data; a="b\"c\\d""#, r#"b"c\d"#),
            (r#"form-data; a="C:\x\y.txt""#, r"C:\x\y.txt"),
            ("form-data;;; a==b==", "=b=="),
        ] {
            assert_eq!(get(value, "a").as_deref(), Some(expected), "{value}");
            assert_eq!(
                Parameters::parse(value.as_bytes()).unwrap().essence,
                b"form-data",
                "{value}"
            );
        }
        assert!(get("form-data", "a").is_none() && Parameters::parse(b"form-data").is_some());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for value in [
            "f; a=b; A=c",
            "f; a",
            "f; =b",
            "f; a =b",
            "f; a=\"b",
            r#"f; a="b\""#,
            "f; a=\"b\"c",
            "f; a=b\"c\"",
            "f; a=\"b\" c=d",
        ] {
            assert!(Parameters::parse(value.as_bytes()).is_none(), "{value}");
        }
    }
}
