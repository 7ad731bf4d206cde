//! Parses a request: a frame with JSON, or raw text (contract §3.8).

use serde::Deserialize;

use crate::common::framing::{self, PREFIX, Status};

/// Maximum length of a frame's payload or of a text: it is below 64 KiB.
pub const LONGEST: usize = 64 * 1024 - 1;

/// The result of parsing the received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The request is incomplete.
    Partial,
    /// Text without a line end. It is complete if the client sends nothing more, or ends its
    /// stream.
    Text,
    /// A complete command.
    Complete {
        /// The command line.
        command: String,
        /// Length of the request in bytes, including its line end.
        consumed: usize,
    },
    /// The request is malformed, whatever bytes follow. The text is the reason.
    Bad(String),
}

#[derive(Deserialize)]
struct Payload {
    cmd: String,
}

/// Parses the request at the beginning of `bytes`. `over` means that no more bytes of the request
/// will come, because the client is silent or has ended its side.
pub fn parse(bytes: &[u8], over: bool) -> Request {
    match form(bytes) {
        Form::Frame => frame(bytes),
        Form::Text => text(bytes, over),
        Form::Either if bytes.is_empty() => Request::Partial,
        // One byte can be a word of one letter or the beginning of a length. Only the client's
        // silence shows that it is a word.
        Form::Either if over => text(bytes, over),
        Form::Either => Request::Text,
    }
}

enum Form {
    Frame,
    Text,
    /// The bytes can be the beginning of a frame or of a text.
    Either,
}

/// Distinguishes text from a frame. Text contains no NUL and does not begin with a control
/// character. The length of a frame below 64 KiB ends with two NULs.
fn form(bytes: &[u8]) -> Form {
    match bytes {
        [..=0x1f, ..] => Form::Frame,
        [_, _, 0, 0, ..] => Form::Frame,
        [_, _, _, _, ..] => Form::Text,
        [_, _, third] if *third != 0 => Form::Text,
        [_, rest @ ..] if rest.contains(&0) => Form::Frame,
        _ => Form::Either,
    }
}

fn frame(bytes: &[u8]) -> Request {
    match framing::parse(bytes, LONGEST) {
        Ok(Status::Partial) => Request::Partial,
        Ok(Status::Complete { payload, consumed }) => {
            match serde_json::from_slice::<Payload>(payload) {
                Ok(Payload { cmd }) if cmd.contains('\0') => {
                    Request::Bad("the command holds a NUL".to_owned())
                }
                Ok(Payload { cmd }) => Request::Complete {
                    command: cmd,
                    consumed,
                },
                Err(error) => Request::Bad(format!("the frame isn't {{\"cmd\": TEXT}}: {error}")),
            }
        }
        Err(error) => Request::Bad(error.to_string()),
    }
}

fn text(bytes: &[u8], over: bool) -> Request {
    let within = &bytes[..bytes.len().min(LONGEST + 1)];
    let (line, consumed) = match memchr::memchr(b'\n', within) {
        Some(end) => (&bytes[..end], Some(end + 1)),
        None if within.len() > LONGEST => {
            return Request::Bad(format!("the text has more than {LONGEST} bytes"));
        }
        None => (bytes, over.then_some(bytes.len())),
    };
    if line.contains(&0) {
        return Request::Bad("the text holds a NUL".to_owned());
    }
    let line = if consumed.is_some() {
        line.strip_suffix(b"\r").unwrap_or(line)
    } else {
        line
    };
    match (std::str::from_utf8(line), consumed) {
        (Ok(command), Some(consumed)) => Request::Complete {
            command: command.to_owned(),
            consumed,
        },
        (Ok(_), None) => Request::Text,
        // An incomplete character at the end may be completed by the next bytes.
        (Err(error), None) if error.error_len().is_none() => Request::Text,
        (Err(_), _) => Request::Bad("the text isn't UTF-8".to_owned()),
    }
}

/// Fuzz target: a result for some bytes does not change when more bytes follow.
#[doc(hidden)]
pub fn check(bytes: &[u8]) {
    let whole = parse(bytes, false);
    for cut in 0..bytes.len() {
        match parse(&bytes[..cut], false) {
            Request::Partial | Request::Text => {}
            // If there are two errors, the message names the first one found.
            Request::Bad(_) => assert!(matches!(whole, Request::Bad(_)), "cut at {cut}"),
            verdict @ Request::Complete { .. } => assert_eq!(verdict, whole, "cut at {cut}"),
        }
    }
    if let Request::Complete { command, consumed } = &whole {
        assert!(
            *consumed <= bytes.len()
                && *consumed > 0
                && command.len() <= LONGEST
                && !command.contains('\0')
        );
    }
    // An incomplete frame stays incomplete. The handler deals with the end of the stream.
    match parse(bytes, true) {
        Request::Partial => {
            assert!(
                bytes.is_empty()
                    || matches!(form(bytes), Form::Frame) && bytes.len() < PREFIX + LONGEST
            )
        }
        verdict => assert_ne!(verdict, Request::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payload: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        framing::write(&mut frame, payload.as_bytes()).unwrap();
        frame
    }

    fn complete(command: &str, consumed: usize) -> Request {
        Request::Complete {
            command: command.to_owned(),
            consumed,
        }
    }

    #[test]
    fn a_frame_and_a_line_are_told_apart_at_every_cut() {
        let padded = |length: usize| format!("{{\"cmd\": \"x\"}}{}", " ".repeat(length - 12));
        for (bytes, command) in [
            (framed("{\"cmd\": \"ls -l\"}"), "ls -l"),
            (framed("{\"other\": [1], \"cmd\": \"\\u00e9\"}"), "é"),
            (framed("{\"cmd\": \"\"}"), ""),
            (framed("{\"cmd\": \"two\\nlines\"}"), "two\nlines"),
            // Lengths whose bytes look like text: 0x6c73 is "sl", 0x0a41 is "A\n".
            (framed(&padded(0x6c73)), "x"),
            (framed(&padded(0x0a41)), "x"),
            (framed(&padded(0x0041)), "x"),
            (framed(&padded(LONGEST)), "x"),
            (b"ls -l\n".to_vec(), "ls -l"),
            (b"ls\r\n".to_vec(), "ls"),
            (b" ls\n".to_vec(), " ls"),
            ("naïve\n".as_bytes().to_vec(), "naïve"),
        ] {
            let expected = complete(command, bytes.len());
            let steps: Vec<usize> = (0..bytes.len().min(20))
                .chain(bytes.len().saturating_sub(20)..bytes.len())
                .collect();
            for cut in steps {
                assert!(
                    matches!(
                        parse(&bytes[..cut], false),
                        Request::Partial | Request::Text
                    ),
                    "{command}, cut at {cut}"
                );
            }
            assert_eq!(parse(&bytes, false), expected);
            assert_eq!(parse(&[&bytes[..], b"glued"].concat(), false), expected);
        }
    }

    #[test]
    fn silence_ends_a_text_and_no_frame() {
        for text in ["a", "ls", "pwd", "echo hello", "\u{7f}"] {
            assert_eq!(parse(text.as_bytes(), false), Request::Text, "{text}");
            assert_eq!(
                parse(text.as_bytes(), true),
                complete(text, text.len()),
                "{text}"
            );
        }
        assert_eq!(parse(b"a\n", true), complete("a", 2));
        let frame = framed("{\"cmd\": \"ls\"}");
        for cut in 0..frame.len() {
            assert_eq!(parse(&frame[..cut], true), Request::Partial, "{cut}");
        }
        assert_eq!(parse(b"a\0", true), Request::Partial);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for bytes in [
            &b"\x05\0\0\0hello"[..],
            b"\0\0\0\0",
            b"\xff\xff\xff\xff",
            b"\x01\x02\x03\x04",
            b"\nls\n",
            b"ls\0x\n",
            b"a text with \0 in it",
            b"a text \xff\n",
            &framed("[]"),
            &framed("\"ls\""),
            &framed("{}"),
            &framed("{\"cmd\": 1}"),
            &framed("{\"cmd\": null}"),
            &framed("{\"cmd\": \"a\", \"cmd\": \"b\"}"),
            &framed("{\"cmd\": \"a\"} x"),
            &framed("{\"cmd\": \"a\\u0000\"}"),
            &vec![b'x'; LONGEST + 1],
        ] {
            let start = &bytes[..bytes.len().min(30)];
            match parse(bytes, false) {
                Request::Bad(reason) => {
                    assert!(!reason.contains('\n') && !reason.is_empty(), "{reason}")
                }
                other => panic!("{}: {other:?}", start.escape_ascii()),
            }
            check(&bytes[..bytes.len().min(300)]);
        }
    }
}
