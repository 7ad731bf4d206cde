//! Parses the head of a part (RFC 7578 §4), and finds the name under which its file is stored.

use percent_encoding::percent_decode;
use socketserver_http::protocol::head::is_token;
use socketserver_http::protocol::target::is_reachable;

use super::parameters::Parameters;
use super::parser::FormError;

/// A part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The sender's name of the file. `None` if the part is not a file; empty if the user has not
    /// chosen a file.
    pub filename: Option<String>,
}

impl Part {
    /// Parses a head without the blank line after it.
    pub(super) fn parse(head: &[u8]) -> Result<Part, FormError> {
        let mut disposition = None;
        for line in Lines(Some(head)) {
            let (name, value) =
                field(line).ok_or(FormError::bad("the head of a part can't be read"))?;
            if name.eq_ignore_ascii_case(b"content-disposition") {
                if disposition.replace(value).is_some() {
                    return Err(FormError::bad("a part has two Content-Dispositions"));
                }
            } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") && !is_plain(value) {
                // RFC 7578 §4.7: this header is deprecated, and clients do not send it. The file
                // would be stored in its encoded form.
                return Err(FormError::bad("a part has a Content-Transfer-Encoding"));
            }
        }
        let disposition = disposition.ok_or(FormError::bad("a part has no Content-Disposition"))?;
        let parameters = Parameters::parse(disposition)
            .filter(|parameters| parameters.essence.eq_ignore_ascii_case(b"form-data"))
            .ok_or(FormError::bad("a part's Content-Disposition can't be read"))?;
        let filename = match (parameters.get("filename"), parameters.get("filename*")) {
            (Some(plain), _) => Some(text(unescaped(plain))?),
            // RFC 7578 §4.2 forbids `filename*`, but some senders send only it if the name is not
            // ASCII.
            (None, Some(extended)) => Some(of_extended(extended)?),
            (None, None) => None,
        };
        Ok(Part { filename })
    }

    /// Whether the part is a file, according to its head.
    pub fn is_file(&self) -> bool {
        self.filename
            .as_deref()
            .is_some_and(|name| !name.is_empty())
    }
}

/// The lines of a head, without their ends.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let end = memchr::memmem::find(rest, b"\r\n");
        self.0 = end.map(|end| &rest[end + 2..]);
        Some(&rest[..end.unwrap_or(rest.len())])
    }
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_field = !name.is_empty()
        && name.iter().all(|&byte| is_token(byte))
        && value
            .iter()
            .all(|&byte| byte == b'\t' || !byte.is_ascii_control());
    is_field.then(|| (name, value.trim_ascii()))
}

fn is_plain(coding: &[u8]) -> bool {
    [&b"7bit"[..], b"8bit", b"binary"]
        .iter()
        .any(|plain| plain.eq_ignore_ascii_case(coding))
}

/// Decodes the escapes in a name. Browsers escape only quotes and line ends, and not even `%` (the
/// HTML standard, "multipart/form-data encoding algorithm").
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [byte, behind @ ..] = rest {
        let (byte, behind) = match rest {
            [b'%', b'2', b'2', behind @ ..] => (b'"', behind),
            [b'%', b'0', b'D' | b'd', behind @ ..] => (b'\r', behind),
            [b'%', b'0', b'A' | b'a', behind @ ..] => (b'\n', behind),
            _ => (*byte, behind),
        };
        plain.push(byte);
        rest = behind;
    }
    plain
}

/// Parses a name such as `UTF-8''na%C3%AFve` (RFC 8187 §3.2).
fn of_extended(value: &[u8]) -> Result<String, FormError> {
    let mut parts = value.splitn(3, |&byte| byte == b'\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(name)) if charset.eq_ignore_ascii_case(b"utf-8") => {
            text(percent_decode(name).collect())
        }
        _ => Err(FormError::bad("a `filename*` can't be read")),
    }
}

fn text(name: Vec<u8>) -> Result<String, FormError> {
    String::from_utf8(name).map_err(|_| FormError::bad("a file's name isn't UTF-8"))
}

/// The path of a file below the folder that the form is sent to. If a user uploads a folder,
/// browsers send relative paths, and these are kept. If a path could lead out of the folder, only
/// its last component is kept.
///
/// # Errors
/// The name is not possible in a URL, so no request could name the file.
pub fn place_of(filename: &str) -> Result<&str, &'static str> {
    let leads_down = !filename.contains('\\')
        && filename
            .split('/')
            .all(|name| !matches!(name, "" | "." | ".."));
    let place = match filename.rsplit(['/', '\\']).next() {
        Some(last) if !leads_down => last,
        _ => filename,
    };
    let is_possible = place.split('/').all(|name| is_reachable(name.as_bytes()));
    if is_possible {
        Ok(place)
    } else {
        Err("it holds control characters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filename(disposition: &str) -> Result<Option<String>, &'static str> {
        let head = format!("content-type: text/plain\r\nContent-Disposition:{disposition}");
        Part::parse(head.as_bytes())
            .map(|part| part.filename)
            .map_err(|error| error.reason)
    }

    #[test]
    fn file_names_are_read_as_browsers_send_them() {
        for (disposition, expected) in [
            (r#"form-data; name="f"; filename="a.txt""#, Some("a.txt")),
            (r#" form-data; name=f; filename=a.txt"#, Some("a.txt")),
            (r#" FORM-DATA; NAME=f; FileName="a""#, Some("a")),
            (
                r#" form-data; name="f"; filename="a%22b%0d%0Ac%20%25%""#,
                Some("a\"b\r\nc%20%25%"),
            ),
            (r#" form-data; name="f"; filename="a\"b""#, Some("a\"b")),
            (
                r#" form-data; name="f"; filename="naïve €.txt""#,
                Some("naïve €.txt"),
            ),
            (r#" form-data; filename=; name="f""#, Some("")),
            (r#" form-data; name="f"; filename="""#, Some("")),
            (r#" form-data; name="f""#, None),
            (
                r#" form-data; name="f"; filename*=utf-8''na%C3%AFve"#,
                Some("naïve"),
            ),
            (
                r#" form-data; name="f"; filename*=UTF-8'en'a; filename="b""#,
                Some("b"),
            ),
        ] {
            assert_eq!(
                filename(disposition).map(|name| name.unwrap_or("-".into())),
                Ok(expected.unwrap_or("-").into())
            );
        }
    }

    #[test]
    fn hostile_heads_are_refused() {
        for head in [
            &b""[..],
            b"Content-Type: text/plain",
            b"Content-Disposition: attachment; filename=a",
            b"Content-Disposition: form-data; filename=\"a",
            b"Content-Disposition: form-data; filename=a; filename=b",
            b"Content-Disposition: form-data; filename=\"a\xff\"",
            b"Content-Disposition: form-data; filename*=latin-1''a",
            b"Content-Disposition: form-data; filename*=a",
            b"Content-Disposition: form-data; filename*=utf-8''%ff",
            b"Content-Disposition: form-data; filename=a\nX: y",
            b"Content-Disposition: form-data; filename=a\rb",
            b"Content-Disposition: form-data; filename=a\0b",
            b"Content-Disposition: form-data;\r\n filename=a",
            b"Content-Disposition : form-data; filename=a",
            b"Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; filename=b",
            b"Content-Disposition: form-data; filename=a\r\nContent-Transfer-Encoding: base64",
            b"no colon\r\nContent-Disposition: form-data; filename=a",
        ] {
            assert!(Part::parse(head).is_err(), "{}", head.escape_ascii());
        }
        assert!(
            Part::parse(b"Content-Disposition: form-data\r\nContent-Transfer-Encoding: 8BIT")
                .is_ok()
        );
    }

    #[test]
    fn relative_paths_are_kept_only_if_they_lead_down() {
        for (filename, place) in [
            ("a.txt", "a.txt"),
            ("photos/2024/a.jpg", "photos/2024/a.jpg"),
            ("/etc/passwd", "passwd"),
            ("../../a", "a"),
            ("a/../b", "b"),
            ("./a", "a"),
            ("a//b", "b"),
            (r"C:\Users\ada\a.txt", "a.txt"),
            (r"..\a", "a"),
            (r"a/b\c", "c"),
            (r"\\server\share\a", "a"),
            ("a/", ""),
            ("..", ".."), // which no store takes
        ] {
            assert_eq!(place_of(filename), Ok(place), "{filename}");
        }
        for filename in ["a\nb", "a\r", "\0", "a\u{7f}", "a\u{1b}/b"] {
            assert!(place_of(filename).is_err(), "{filename:?}");
        }
        assert_eq!(place_of("a\n/../b"), Ok("b"));
    }
}
