//! The answer of a server to a command, in four framings (contract §3.8).

use std::sync::LazyLock;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use socketserver::Refusal;

use crate::common::command::Output;
use crate::common::framing;
use crate::service::refusal_line;

/// The framing of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Framing {
    /// 4-byte length, JSON with the sizes and the exit code, the bytes
    #[default]
    Json,
    /// 4-byte length, the bytes
    Struct,
    /// The length as decimal text; the bytes after the client has sent recv_ready
    Ack,
    /// Only the bytes, without a length
    Raw,
}

/// The text that a client sends when it has read the length, in [`Framing::Ack`].
pub const READY: &[u8] = b"recv_ready";

/// The result of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Standard output, then standard error.
    pub data: Vec<u8>,
    /// Number of bytes at the end of `data` that are standard error.
    pub stderr_size: usize,
    /// The exit code as a shell reports it: 128 + N if signal N ended the command.
    pub exit_code: i32,
    /// Whether the output exceeded the maximum size.
    pub truncated: bool,
}

/// The head in [`Framing::Json`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of output bytes that follow.
    pub data_size: u64,
    /// The command's exit code.
    pub exit_code: i32,
    /// Number of these bytes, at their end, that are standard error.
    pub stderr_size: u64,
    /// Whether the output exceeded the maximum size. The key is omitted if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl From<Output> for Answer {
    fn from(brought: Output) -> Answer {
        let Output {
            output: mut data,
            errors,
            exit_code,
            truncated,
        } = brought;
        data.extend_from_slice(&errors);
        Answer {
            data,
            stderr_size: errors.len(),
            exit_code,
            truncated,
        }
    }
}

impl Answer {
    /// Makes an answer for a command that was not run. The output is one line with the reason.
    pub fn refusal(exit_code: i32, reason: &str) -> Answer {
        let data = format!("{}\n", reason.replace(['\n', '\r'], " ")).into_bytes();
        Answer {
            stderr_size: data.len(),
            data,
            exit_code,
            truncated: false,
        }
    }

    /// The bytes that precede the output in this framing.
    pub fn head(&self, framing: Framing) -> Vec<u8> {
        let length = self.data.len();
        match framing {
            Framing::Json => {
                let head = Head {
                    data_size: length as u64,
                    exit_code: self.exit_code,
                    stderr_size: self.stderr_size as u64,
                    truncated: self.truncated,
                };
                let mut frame = Vec::new();
                let written =
                    serde_json::to_vec(&head).map(|json| framing::write(&mut frame, &json));
                debug_assert!(matches!(written, Ok(Ok(()))), "four numbers fit any frame");
                frame
            }
            // The output is below 2 GiB, because `--max-output` is checked.
            Framing::Struct => i32::try_from(length)
                .unwrap_or(i32::MAX)
                .to_le_bytes()
                .to_vec(),
            Framing::Ack => length.to_string().into_bytes(),
            Framing::Raw => Vec::new(),
        }
    }
}

/// The exit code of a command that was not run because the server has no capacity: EX_TEMPFAIL of
/// sysexits.h.
const BUSY: i32 = 75;
/// The exit code of a command that is not allowed.
const NOT_ALLOWED: i32 = 126;

/// The answer to a refused connection, for each framing and reason.
pub(super) fn to_refused(framing: Framing, why: Refusal) -> Option<&'static [u8]> {
    type Answers = Vec<((Framing, Refusal), Vec<u8>)>;
    static ANSWERS: LazyLock<Answers> = LazyLock::new(|| {
        let framings = Framing::value_variants().iter();
        let keys = framings.flat_map(|framing| Refusal::ALL.map(|why| (*framing, why)));
        keys.map(|(framing, why)| ((framing, why), refusal_bytes(framing, why)))
            .collect()
    });
    let answer = ANSWERS.iter().find(|(key, _)| *key == (framing, why));
    answer.map(|(_, bytes)| &**bytes)
}

fn refusal_bytes(framing: Framing, why: Refusal) -> Vec<u8> {
    let code = if why == Refusal::Denied {
        NOT_ALLOWED
    } else {
        BUSY
    };
    let answer = Answer::refusal(code, refusal_line(why).trim_end());
    match framing {
        // A refused connection cannot wait for the client's `recv_ready`. If the text followed the
        // length directly, the client would read both as one number.
        Framing::Ack => answer.data,
        _ => [answer.head(framing), answer.data].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_framing_has_its_head() {
        let answer = Answer {
            data: b"out and err".to_vec(),
            stderr_size: 3,
            exit_code: 5,
            truncated: false,
        };
        let json = br#"{"data_size":11,"exit_code":5,"stderr_size":3}"#;
        assert_eq!(
            answer.head(Framing::Json),
            [&[46, 0, 0, 0], &json[..]].concat()
        );
        assert_eq!(answer.head(Framing::Struct), [11, 0, 0, 0]);
        assert_eq!(answer.head(Framing::Ack), b"11");
        assert_eq!(answer.head(Framing::Raw), b"");
        let cut = Answer {
            truncated: true,
            ..answer
        };
        assert!(cut.head(Framing::Json).ends_with(br#","truncated":true}"#));
        assert_eq!(Answer::default().head(Framing::Ack), b"0");
    }

    #[test]
    fn a_refusal_is_one_line_on_standard_error() {
        let answer = Answer::refusal(127, "two\nlines");
        assert_eq!(
            (answer.data.as_slice(), answer.stderr_size),
            (&b"two lines\n"[..], 10)
        );
    }
}
