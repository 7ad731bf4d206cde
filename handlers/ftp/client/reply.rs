//! Replies of a server (RFC 959 §4.2).

use super::path::shown;

/// Maximum length in bytes of one reply with all its lines.
pub(super) const MAX_REPLY: usize = 64 * 1024;

/// A complete reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// The lines without their line ends. The first line is without the code.
    pub(super) lines: Vec<Vec<u8>>,
}

impl Reply {
    /// Whether the code is 1xx: the command has begun, and another reply will follow.
    pub(super) fn is_preliminary(&self) -> bool {
        self.code / 100 == 1
    }

    /// Whether the code is 2xx: the command has succeeded.
    pub(super) fn is_done(&self) -> bool {
        self.code / 100 == 2
    }

    /// Whether the server does not know the command.
    pub(super) fn is_unknown_command(&self) -> bool {
        matches!(self.code, 500 | 502)
    }

    /// The code and the text on one line, without control characters.
    pub(super) fn text(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(|line| shown(line)).collect();
        let text = lines.join(" ");
        let text = text.trim();
        // The text becomes a part of an error message of one line.
        let short: String = text.chars().take(200).collect();
        format!("{} {short}", self.code)
    }
}

/// The result of parsing the bytes that were received so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A complete reply, and its length in bytes.
    Complete(Reply, usize),
    /// The beginning of a reply. Its other bytes were not received yet.
    Partial,
    /// The bytes are not a reply, or the reply is too long.
    Invalid,
}

/// Parses the reply at the beginning of `bytes`. In a reply of several lines, the last line repeats
/// the code, with a space or nothing after it.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut reply: Option<Reply> = None;
    let mut end = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            break;
        };
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        end += line.len();
        let (code, separator, rest) = split(text);
        match &mut reply {
            None => {
                let Some(code) = code else {
                    return Parsed::Invalid;
                };
                let first = Reply {
                    code,
                    lines: vec![rest.to_vec()],
                };
                match separator {
                    None | Some(b' ') => return Parsed::Complete(first, end),
                    Some(b'-') => reply = Some(first),
                    Some(_) => return Parsed::Invalid,
                }
            }
            Some(open) if code == Some(open.code) && matches!(separator, None | Some(b' ')) => {
                open.lines.push(rest.to_vec());
                return Parsed::Complete(open.clone(), end);
            }
            Some(open) => open.lines.push(text.to_vec()),
        }
    }
    if bytes.len() > MAX_REPLY {
        return Parsed::Invalid;
    }
    Parsed::Partial
}

/// Splits a line into its code, the byte after the code, and the rest. Without a code, the rest is
/// the whole line.
fn split(line: &[u8]) -> (Option<u16>, Option<u8>, &[u8]) {
    match line {
        [a @ b'1'..=b'6', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
            let digit = |byte: u8| u16::from(byte - b'0');
            let code = digit(*a) * 100 + digit(*b) * 10 + digit(*c);
            let (separator, rest) = match rest {
                [] => (None, rest),
                [separator, rest @ ..] => (Some(*separator), rest),
            };
            (Some(code), separator, rest)
        }
        _ => (None, None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, lines: &[&str]) -> Reply {
        let lines = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        Reply { code, lines }
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        for (text, expected) in [
            ("220 hello\r\n", reply(220, &["hello"])),
            ("220 hello\n", reply(220, &["hello"])),
            ("200\r\n", reply(200, &[""])),
            (
                "211-a\r\n MLST x*;\r\n211 End\r\n",
                reply(211, &["a", " MLST x*;", "End"]),
            ),
            (
                "211-a\r\n211-b\r\n212 c\r\n211 d\r\n",
                reply(211, &["a", "211-b", "212 c", "d"]),
            ),
            ("230-\r\n\r\n230 x\r\n", reply(230, &["", "", "x"])),
        ] {
            let whole = [text, "rest"].concat();
            assert_eq!(
                parse(whole.as_bytes()),
                Parsed::Complete(expected, text.len()),
                "{text}"
            );
            for cut in 0..text.len() {
                assert_eq!(
                    parse(&text.as_bytes()[..cut]),
                    Parsed::Partial,
                    "{text} at {cut}"
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_not_a_reply_are_invalid() {
        for text in [
            "hello\r\n",
            "22 x\r\n",
            "999 x\r\n",
            "220x\r\n",
            "\r\n",
            "099 x\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Parsed::Invalid, "{text}");
        }
        assert_eq!(parse(&vec![b'2'; MAX_REPLY + 1]), Parsed::Invalid);
        let endless = [b"220-x\r\n".to_vec(), b"a\r\n".repeat(MAX_REPLY)].concat();
        assert_eq!(parse(&endless), Parsed::Invalid);
    }

    #[test]
    fn the_text_is_short_and_has_no_control_characters() {
        let text = reply(550, &["\x1b[2Jno", &"x".repeat(5000)]).text();
        assert!(text.starts_with("550 \u{FFFD}[2Jno xxx") && text.chars().count() < 210);
    }
}
