//! Parses `multipart/form-data` while it arrives (RFC 7578, RFC 2046 §5.1.1), without I/O.
//!
//! A line is a delimiter if it contains only `--`, the boundary and white space. A line with `--`
//! after the boundary is the last delimiter. Any other line is content, even if it begins like a
//! delimiter. As in a request's head, malformed input is refused and never repaired.
//!
//! ```text
//! Preamble ─▶ Head ─▶ Data ─▶ Head ─▶ Data … ─▶ Epilogue
//! ```

use memchr::memmem::Finder;
use memchr::{memmem, memrchr};

use super::part::Part;

/// Maximum length of a part's head with its blank line, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Maximum length of white space after a boundary, in bytes. With more of it, the line is content.
const MAX_PADDING: usize = 64;
/// Maximum number of parts of a form.
pub(crate) const MAX_PARTS: usize = 1000;
/// Maximum length of everything in a form that is not a file, in bytes: the heads, the delimiters,
/// the fields, and the text before the first and after the last delimiter.
pub(crate) const MAX_OVERHEAD: u64 = 4 * 1024 * 1024;

/// Why a form is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormError {
    /// The status code of the response.
    pub status: u16,
    /// What is wrong, as a clause.
    pub reason: &'static str,
}

impl FormError {
    pub(super) const fn bad(reason: &'static str) -> FormError {
        FormError {
            status: 400,
            reason,
        }
    }

    const fn large(reason: &'static str) -> FormError {
        FormError {
            status: 413,
            reason,
        }
    }
}

/// What the input of the parser begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormEvent {
    /// This number of bytes has no meaning and must be skipped.
    Framing(usize),
    /// This number of bytes is the head of this part.
    Head(usize, Part),
    /// This number of bytes is content of the part.
    Data(usize),
    /// The part ends; this number of bytes separates it from the next.
    End(usize),
    /// The input is too short to decide.
    Partial,
}

/// The part of a form that the parser is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first delimiter. `fresh`: at the beginning of the form, where the delimiter needs
    /// no line end before it.
    Preamble { fresh: bool },
    /// In the head of a part. The first `searched` bytes do not contain its end.
    Head { searched: usize },
    /// In the content of a part. `fresh`: at its beginning, where the line end of the head counts
    /// as the line end before a delimiter.
    Data { fresh: bool, is_file: bool },
    /// After the last delimiter.
    Epilogue,
}

/// Parses a form. The input may be split at any byte.
#[derive(Debug)]
pub struct Parser {
    /// CR, LF, `--`, and the boundary.
    delimiter: Finder<'static>,
    state: State,
    /// Number of parts so far.
    parts: usize,
    overhead: u64,
}

impl Parser {
    /// Creates a parser for this boundary, which must not contain a line end.
    pub fn new(boundary: &[u8]) -> Parser {
        let delimiter = Finder::new(&[b"\r\n--", boundary].concat()).into_owned();
        Parser {
            delimiter,
            state: State::Preamble { fresh: true },
            parts: 0,
            overhead: 0,
        }
    }

    /// Whether the last delimiter was found.
    pub fn is_done(&self) -> bool {
        self.state == State::Epilogue
    }

    /// Classifies the beginning of `input`. The caller consumes the returned number of bytes and
    /// calls this again with the rest. After [`FormEvent::Partial`], further bytes must follow the
    /// rest.
    ///
    /// # Errors
    /// The form is malformed, or it exceeds a limit.
    pub fn next(&mut self, input: &[u8]) -> Result<FormEvent, FormError> {
        let piece = match self.state {
            State::Preamble { fresh } => self.in_preamble(input, fresh),
            State::Head { searched } => self.in_head(input, searched)?,
            State::Data { fresh, is_file } => self.in_data(input, fresh, is_file),
            State::Epilogue if input.is_empty() => FormEvent::Partial,
            State::Epilogue => FormEvent::Framing(input.len()),
        };
        self.count(&piece)?;
        Ok(piece)
    }

    fn in_preamble(&mut self, input: &[u8], fresh: bool) -> FormEvent {
        match self.find(input, fresh) {
            Found::Delimiter {
                before,
                length,
                is_last,
            } => {
                self.pass_delimiter(is_last);
                FormEvent::Framing(before + length)
            }
            Found::Clear(0) => FormEvent::Partial,
            Found::Clear(count) => {
                self.state = State::Preamble { fresh: false };
                FormEvent::Framing(count)
            }
        }
    }

    fn in_head(&mut self, input: &[u8], searched: usize) -> Result<FormEvent, FormError> {
        const BLANK_LINE: &[u8] = b"\r\n\r\n";
        let from = searched.saturating_sub(BLANK_LINE.len() - 1);
        let end = memmem::find(&input[from..], BLANK_LINE).map(|at| from + at + BLANK_LINE.len());
        if end.unwrap_or(input.len()) > MAX_HEAD {
            return Err(FormError::bad("the head of a part is too long"));
        }
        let Some(end) = end else {
            self.state = State::Head {
                searched: input.len(),
            };
            return Ok(FormEvent::Partial);
        };
        let part = Part::parse(&input[..end - BLANK_LINE.len()])?;
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(FormError::large(
                "it has too many parts: send it as several",
            ));
        }
        self.state = State::Data {
            fresh: true,
            is_file: part.is_file(),
        };
        Ok(FormEvent::Head(end, part))
    }

    fn in_data(&mut self, input: &[u8], fresh: bool, is_file: bool) -> FormEvent {
        match self.find(input, fresh) {
            Found::Delimiter {
                before: 0,
                length,
                is_last,
            } => {
                self.pass_delimiter(is_last);
                FormEvent::End(length)
            }
            Found::Clear(0) => FormEvent::Partial,
            Found::Clear(count) | Found::Delimiter { before: count, .. } => {
                self.state = State::Data {
                    fresh: false,
                    is_file,
                };
                FormEvent::Data(count)
            }
        }
    }

    fn pass_delimiter(&mut self, is_last: bool) {
        self.state = if is_last {
            State::Epilogue
        } else {
            State::Head { searched: 0 }
        };
    }

    fn count(&mut self, piece: &FormEvent) -> Result<(), FormError> {
        self.overhead += match (piece, self.state) {
            (FormEvent::Data(_), State::Data { is_file: true, .. }) | (FormEvent::Partial, _) => 0,
            (
                FormEvent::Framing(count)
                | FormEvent::Head(count, _)
                | FormEvent::Data(count)
                | FormEvent::End(count),
                _,
            ) => *count as u64,
        };
        if self.overhead > MAX_OVERHEAD {
            Err(FormError::large("it has too much in it that is no file"))
        } else {
            Ok(())
        }
    }

    /// Finds the first delimiter, or the number of bytes that certainly contain none. `fresh`: the
    /// input begins directly after a line end.
    fn find(&self, input: &[u8], fresh: bool) -> Found {
        let delimiter = self.delimiter.needle();
        if fresh {
            match Line::of(&delimiter[2..], input) {
                Line::Delimiter { length, is_last } => {
                    return Found::Delimiter {
                        before: 0,
                        length,
                        is_last,
                    };
                }
                Line::Undecided => return Found::Clear(0),
                Line::Other => {}
            }
        }
        for before in self.delimiter.find_iter(input) {
            match Line::of(delimiter, &input[before..]) {
                Line::Delimiter { length, is_last } => {
                    return Found::Delimiter {
                        before,
                        length,
                        is_last,
                    };
                }
                Line::Undecided => return Found::Clear(before),
                Line::Other => {}
            }
        }
        // A delimiter has exactly one CR, at its beginning. So only the last CR can begin an
        // incomplete delimiter.
        let tail = input.len().saturating_sub(delimiter.len() - 1);
        match memrchr(b'\r', &input[tail..]) {
            Some(at) if delimiter.starts_with(&input[tail + at..]) => Found::Clear(tail + at),
            _ => Found::Clear(input.len()),
        }
    }
}

enum Found {
    Delimiter {
        before: usize,
        length: usize,
        is_last: bool,
    },
    /// This number of bytes contains no part of a delimiter.
    Clear(usize),
}

/// Whether a line is a delimiter.
enum Line {
    Delimiter {
        length: usize,
        is_last: bool,
    },
    Other,
    /// This depends on bytes that have not arrived.
    Undecided,
}

impl Line {
    fn of(delimiter: &[u8], input: &[u8]) -> Line {
        let Some(rest) = input.strip_prefix(delimiter) else {
            return if delimiter.starts_with(input) {
                Line::Undecided
            } else {
                Line::Other
            };
        };
        if rest.starts_with(b"--") {
            return Line::Delimiter {
                length: delimiter.len() + 2,
                is_last: true,
            };
        }
        let padding = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        match &rest[padding..] {
            _ if padding > MAX_PADDING => Line::Other,
            [b'\r', b'\n', ..] => Line::Delimiter {
                length: delimiter.len() + padding + 2,
                is_last: false,
            },
            [] | [b'\r'] => Line::Undecided,
            [b'-'] if padding == 0 => Line::Undecided,
            _ => Line::Other,
        }
    }
}

#[cfg(test)]
mod tests;
