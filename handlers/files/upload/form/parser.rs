//! Takes `multipart/form-data` apart as it comes (RFC 7578, RFC 2046 §5.1.1): no socket, no file.
//!
//! A line is a delimiter if nothing but `--`, the boundary, and white space stands on it, or if
//! `--` follows the boundary: then it is the last. Any other line is content, however much it looks
//! like one. As in a request's head, nothing is repaired.

use memchr::memmem::Finder;
use memchr::{memmem, memrchr};

use super::part::Part;

/// The longest head of a part, in bytes, with the blank line behind it.
const MAX_HEAD: usize = 16 * 1024;
/// White space behind a boundary, in bytes; with more of it, a line is content.
const MAX_PADDING: usize = 64;
/// The most parts of a form.
pub(crate) const MAX_PARTS: usize = 1000;
/// What of a form is no file, in bytes: its heads, delimiters and fields, and what stands before
/// and behind them.
pub(crate) const MAX_OVERHEAD: u64 = 4 * 1024 * 1024;

/// Why a form is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormError {
    /// The status code of the answer.
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

/// What a form begins with, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormEvent {
    /// This number of bytes has no meaning.
    Framing(usize),
    /// This number of bytes is the head of this part.
    Head(usize, Part),
    /// This number of bytes is content of the part.
    Data(usize),
    /// The part ends; this number of bytes separates it from the next.
    End(usize),
    /// More must come.
    Partial,
}

/// Where a form's parser stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first delimiter, which may be at the very beginning.
    Preamble { fresh: bool },
    /// In the head of a part, of which so many bytes have been searched for its end.
    Head { searched: usize },
    /// In the content of a part. Right at its beginning, the line end of the head counts as the one
    /// before a delimiter.
    Data { fresh: bool, is_file: bool },
    /// Behind the last delimiter.
    Epilogue,
}

/// Takes a form apart, however it is cut.
#[derive(Debug)]
pub struct Parser {
    /// CR, LF, `--`, and the boundary.
    delimiter: Finder<'static>,
    state: State,
    parts: usize,
    overhead: u64,
}

impl Parser {
    /// A parser for this boundary, which holds no line end.
    pub fn new(boundary: &[u8]) -> Parser {
        let delimiter = Finder::new(&[b"\r\n--", boundary].concat()).into_owned();
        Parser {
            delimiter,
            state: State::Preamble { fresh: true },
            parts: 0,
            overhead: 0,
        }
    }

    /// Whether the last delimiter was there.
    pub fn is_done(&self) -> bool {
        self.state == State::Epilogue
    }

    /// What the beginning of `input` is; the caller takes so many bytes, and asks again with the
    /// rest, and with more behind it after [`FormEvent::Partial`].
    ///
    /// # Errors
    /// The form is malformed, or a limit is crossed.
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

    /// The first delimiter, or what is surely none. `fresh`: the input is at the beginning of a
    /// line, whose line end isn't in it.
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
        // A delimiter begins with its only CR, so that the last one in sight decides.
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
    /// So many bytes belong to none.
    Clear(usize),
}

/// What a line is that may be a delimiter.
enum Line {
    Delimiter {
        length: usize,
        is_last: bool,
    },
    Other,
    /// Only what follows can tell.
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
