//! Parses the commands on the control connection (RFC 959 §5.3), with the Telnet commands that they
//! may contain (RFC 854).
//!
//! A line ends with a line feed, with or without a carriage return before it. The verb ends at the
//! first space. All bytes after that space are the argument, because the name of a file may begin
//! or end with a space, and need not be UTF-8.

use std::str::FromStr;

/// Maximum length of a line in bytes, without its end.
pub const MAX_LINE: usize = 4096;

/// "Interpret as command", which begins a Telnet command (RFC 854).
const IAC: u8 = 255;
/// The Telnet commands that clients send before ABOR as urgent data: "data mark" and "interrupt
/// process". Their `IAC` may arrive separately.
const DATA_MARK: u8 = 242;
const INTERRUPT: u8 = 244;

/// A line that the client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A verb, in upper case, and its argument.
    Command(Command),
    /// A line longer than [`MAX_LINE`]. Its content is dropped.
    TooLong,
}

/// A verb with its argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The verb in upper case. An unknown verb may contain any byte.
    pub verb: Vec<u8>,
    /// The bytes after the first space; empty if there is no space.
    pub argument: Vec<u8>,
}

/// Splits the received bytes into lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parser {
    /// Whether the current line is already too long, so that the rest of it is dropped.
    is_too_long: bool,
}

impl Parser {
    /// Returns the number of bytes to take from the buffer, and the next line; `None` if no line is
    /// complete. If a line is too long, its bytes are taken as they arrive, and dropped.
    pub fn next(&mut self, bytes: &[u8]) -> (usize, Option<Line>) {
        let Some(length) = memchr::memchr(b'\n', bytes) else {
            if bytes.len() <= MAX_LINE + 1 && !self.is_too_long {
                return (0, None);
            }
            self.is_too_long = true;
            return (bytes.len(), None);
        };
        let line = &bytes[..length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let was_too_long = std::mem::take(&mut self.is_too_long);
        let line = if was_too_long || line.len() > MAX_LINE {
            Line::TooLong
        } else {
            Line::Command(parse(line))
        };
        (length + 1, Some(line))
    }
}

/// Splits a line into verb and argument. Drops Telnet commands in the verb. In the argument,
/// decodes only the two escapes of Telnet: `IAC IAC` is one byte 255, and `CR NUL` is a carriage
/// return. Other bytes stay, because most clients do not escape the names of files.
pub fn parse(line: &[u8]) -> Command {
    let mut verb = Vec::new();
    let mut rest = line;
    loop {
        rest = match rest {
            [IAC, IAC, after @ ..] => {
                verb.push(IAC);
                after
            }
            // WILL, WONT, DO and DONT name an option.
            [IAC, 251..=254, after @ ..] => after.get(1..).unwrap_or_default(),
            [IAC, 240..=250, after @ ..] => after,
            // The second byte of the Telnet command arrived separately, as urgent data.
            [IAC, after @ ..] => after,
            [DATA_MARK | INTERRUPT, after @ ..] if verb.is_empty() => after,
            [b' ', after @ ..] => {
                rest = after;
                break;
            }
            [byte, after @ ..] => {
                verb.push(byte.to_ascii_uppercase());
                after
            }
            [] => break,
        };
    }
    let mut argument = Vec::with_capacity(rest.len());
    while let [byte, after @ ..] = rest {
        argument.push(*byte);
        rest = match (byte, after) {
            (&IAC, [IAC, after @ ..]) | (b'\r', [0, after @ ..]) => after,
            _ => after,
        };
    }
    Command { verb, argument }
}

/// Parses an unsigned number. It may consist only of digits, without a sign or spaces.
pub fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_plain
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

/// The bytes before and after the first space; `None` if there is no space.
pub fn split_at_space(argument: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = argument.iter().position(|byte| *byte == b' ')?;
    Some((&argument[..at], &argument[at + 1..]))
}

/// All lines of a stream that arrives in pieces of `size` bytes, for tests.
fn lines_in_pieces(stream: &[u8], size: usize) -> Vec<Line> {
    let (mut parser, mut buffer, mut found) = (Parser::default(), Vec::new(), Vec::new());
    for piece in stream.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let (taken, line) = parser.next(&buffer);
            buffer.drain(..taken);
            match line {
                Some(line) => found.push(line),
                None => break,
            }
        }
        assert!(buffer.len() <= MAX_LINE + 1, "more than a line is kept");
    }
    found
}

/// The check of the fuzzer: pieces of any size give the same lines, and the buffer never keeps more
/// than one line.
#[doc(hidden)]
pub fn check(stream: &[u8]) {
    let whole = lines_in_pieces(stream, stream.len());
    for size in [1, 2, 7] {
        assert_eq!(lines_in_pieces(stream, size), whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(verb: &str, argument: &[u8]) -> Command {
        Command {
            verb: verb.into(),
            argument: argument.to_vec(),
        }
    }

    #[test]
    fn a_line_is_a_verb_and_its_argument() {
        for (line, verb, argument) in [
            (&b"NOOP"[..], "NOOP", &b""[..]),
            (b"retr a b ", "RETR", b"a b "),
            (b"CWD  x", "CWD", b" x"),
            (b"", "", b""),
            (b" x", "", b"x"),
            (b"RETR caf\xe9\xff\xfe.txt", "RETR", b"caf\xe9\xff\xfe.txt"),
            (b"RETR a\xff\xffb\r\0c", "RETR", b"a\xffb\rc"),
            (b"\xff\xf4\xff\xf2ABOR", "ABOR", b""),
            (b"\xf4\xf2abor", "ABOR", b""),
            (b"\xf2ABOR", "ABOR", b""),
            (b"\xf4\xffabor", "ABOR", b""),
            (b"\xff\xfd\x06NO\xff\xf1OP", "NOOP", b""),
            (b"NOOP\xff", "NOOP", b""),
            (b"NOOP\xff\xfb", "NOOP", b""),
        ] {
            assert_eq!(
                parse(line),
                command(verb, argument),
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let exact = b"A".repeat(MAX_LINE);
        let longer = b"B".repeat(MAX_LINE + 1);
        let mut stream = b"USER a\r\nPASS b\nbare\r\n\r\n".to_vec();
        for part in [
            &exact[..],
            b"\r\n",
            &longer,
            b"\r\n",
            &longer.repeat(3),
            b"\nNOOP\r\n",
        ] {
            stream.extend_from_slice(part);
        }
        let expected = [
            Line::Command(command("USER", b"a")),
            Line::Command(command("PASS", b"b")),
            Line::Command(command("BARE", b"")),
            Line::Command(command("", b"")),
            Line::Command(Command {
                verb: exact,
                argument: Vec::new(),
            }),
            Line::TooLong,
            Line::TooLong,
            Line::Command(command("NOOP", b"")),
        ];
        for size in [1, 2, 3, 7, 100, 4095, 4096, 4097, 4098, stream.len()] {
            assert_eq!(
                lines_in_pieces(&stream, size),
                expected,
                "in pieces of {size}"
            );
        }
    }
}
