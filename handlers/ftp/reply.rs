//! Replies (RFC 959 §4.2). A reply has a code of three digits, and a text for people.
//!
//! The text may contain the name of a file, and a name may contain any byte except `/` and NUL.
//! Bytes that end a line are replaced, so that no name can forge a reply.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// A reply of one line or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// All lines but the last one.
    lines: Vec<Vec<u8>>,
    /// The last line.
    last: Vec<u8>,
}

/// A reply to a command that is refused or has failed. It is used as an error.
pub type Refused = Reply;

impl Reply {
    /// A reply of one line.
    pub fn new(code: u16, text: impl Into<Text>) -> Reply {
        Reply {
            code,
            lines: Vec::new(),
            last: text.into().0,
        }
    }

    /// A reply with a text of one or several lines, such as the text of `--banner`.
    pub fn of_lines(code: u16, text: &str) -> Reply {
        let mut lines: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
        let last = lines.pop().unwrap_or_default();
        Reply { code, lines, last }
    }

    /// A reply of several lines. The first and the last line begin with the code. [`Reply::line`]
    /// adds the lines between them.
    pub fn list(code: u16, first: impl Into<Text>, last: impl Into<Text>) -> Reply {
        Reply {
            code,
            lines: vec![first.into().0],
            last: last.into().0,
        }
    }

    /// Adds a line before the last line of a [list](Reply::list). A line that begins with a digit
    /// is sent with a space before it.
    pub fn line(mut self, line: impl Into<Text>) -> Reply {
        self.lines.push(line.into().0);
        self
    }

    /// The code of three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The text of the last line.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.last)
    }

    /// The bytes of the reply on the network.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.last.len() + 6);
        for (index, line) in self.lines.iter().enumerate() {
            if index == 0 {
                bytes.extend_from_slice(format!("{}-", self.code).as_bytes());
            } else if line.first().is_some_and(u8::is_ascii_digit) {
                // Without the space, the client could take a number for the code (RFC 959 §4.2).
                bytes.push(b' ');
            }
            push_line(line, &mut bytes);
        }
        bytes.extend_from_slice(format!("{} ", self.code).as_bytes());
        push_line(&self.last, &mut bytes);
        bytes
    }
}

fn push_line(line: &[u8], to: &mut Vec<u8>) {
    push_printable(line, to);
    to.extend_from_slice(b"\r\n");
}

/// Appends a name or a text to `to`. Bytes that could end the line are replaced by `?`, as in `ls`.
pub fn push_printable(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend(bytes.iter().map(|byte| match byte {
        b'\r' | b'\n' | 0 => b'?',
        other => *other,
    }));
}

/// A path in quotes, for replies with the code 257. Quotes in the path are doubled (RFC 959,
/// appendix II).
pub fn quoted(path: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in path {
        quoted.push(*byte);
        if *byte == b'"' {
            quoted.push(b'"');
        }
    }
    quoted.push(b'"');
    quoted
}

/// The text of a reply.
#[derive(Clone, Debug, Default)]
pub struct Text(Vec<u8>);

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.as_bytes().to_vec())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text.into_bytes())
    }
}

impl From<Vec<u8>> for Text {
    fn from(text: Vec<u8>) -> Text {
        Text(text)
    }
}

impl<const N: usize> From<[&[u8]; N]> for Text {
    fn from(parts: [&[u8]; N]) -> Text {
        Text(parts.concat())
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text())
    }
}

/// The reply to an operation on a file that the system refused: 452 for a full disk, 552 for an
/// exceeded quota of the system, 451 for a shortage of memory or descriptors, otherwise 550.
impl From<io::Error> for Reply {
    fn from(error: io::Error) -> Reply {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let code = match error.kind() {
            StorageFull => 452,
            QuotaExceeded => 552,
            _ if is_shortage(&error) => 451,
            _ => 550,
        };
        Reply::new(code, format!("{}.", reason(&error)))
    }
}

/// Whether the process or the system has too few descriptors or too little memory.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|shortage| errno == Some(*shortage))
}

/// The text of an error of the system, without its number.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => {
            let text = error.to_string();
            let end = text.find(" (os error").unwrap_or(text.len());
            text[..end].to_owned()
        }
        None if error.kind() == io::ErrorKind::PermissionDenied => "Permission denied".to_owned(),
        None if error.kind() == io::ErrorKind::NotFound => "No such file or directory".to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reply: &Reply) -> String {
        String::from_utf8(reply.to_bytes()).unwrap()
    }

    #[test]
    fn a_reply_has_its_code_on_the_first_and_the_last_line() {
        assert_eq!(shown(&Reply::new(200, "Done.")), "200 Done.\r\n");
        let list = Reply::list(211, "Features:", "End")
            .line(" SIZE")
            .line("123 x");
        assert_eq!(
            shown(&list),
            "211-Features:\r\n SIZE\r\n 123 x\r\n211 End\r\n"
        );
        assert_eq!(
            shown(&Reply::of_lines(220, "a\nb\nc")),
            "220-a\r\nb\r\n220 c\r\n"
        );
        assert_eq!(shown(&Reply::of_lines(220, "")), "220 \r\n");
    }

    #[test]
    fn no_name_forges_a_line() {
        let name = b"x\r\n226 done\n\0";
        let reply = Reply::new(257, [&quoted(name)[..], b" is it."]);
        assert_eq!(shown(&reply), "257 \"x??226 done??\" is it.\r\n");
        assert_eq!(quoted(b"a\"b"), b"\"a\"\"b\"");
    }

    #[test]
    fn errors_of_the_system_have_a_code_and_no_number() {
        let not_found = Reply::from(io::Error::from_raw_os_error(2));
        assert_eq!(shown(&not_found), "550 No such file or directory.\r\n");
        assert_eq!(Reply::from(io::Error::from_raw_os_error(28)).code(), 452);
        assert_eq!(Reply::from(io::Error::from_raw_os_error(24)).code(), 451);
    }
}
