//! Decodes the chunked transfer coding of a request's body (RFC 9112 §7.1), without I/O.
//!
//! As in the head, malformed input is refused and never repaired. A chunk that two programs read
//! differently allows request smuggling. Extensions are skipped and trailers are dropped; both have
//! a maximum length.
//!
//! ```text
//! Start ─▶ Size ─┬───────────────────────▶ SizeEnd     the size line
//!                ├─────────▶ Extension ─▶ SizeEnd
//!                └─▶ Gap ──▶ Extension ─▶ SizeEnd
//! SizeEnd ─▶ Data ─▶ DataCr ─▶ DataLf ─▶ Start         a size above 0
//! SizeEnd ─▶ TrailerStart                              the size 0
//! TrailerStart ─▶ TrailerName ─▶ TrailerValue ─▶ TrailerEnd ─▶ TrailerStart
//! TrailerStart ─▶ LastLf ─▶ Done                       the empty line
//! ```

use crate::protocol::head::HeadError;

/// Maximum length of a chunk's size line with its extensions, in bytes.
const MAX_SIZE_LINE: usize = 256;
/// Maximum length of the trailer section, in bytes.
const MAX_TRAILERS: usize = 8 * 1024;

/// What the decoder expects next. The numbers are the size of the current chunk, or the bytes left
/// of its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first digit of a chunk's size.
    #[default]
    Start,
    Size(u64),
    /// White space after the size. Only an extension may follow it (RFC 9112 §7.1.1).
    Gap(u64),
    Extension(u64),
    /// After the CR of the size line.
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// At the beginning of a trailer line, or of the last one, which is empty.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    /// After the CR of the empty line.
    LastLf,
    Done,
}

/// Decodes a chunked body. The input may be split at any byte.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    state: State,
    /// Bytes of the current line or of the trailer section so far, for the limits.
    line: usize,
}

/// What a piece of input begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedPart {
    /// This number of bytes is framing and must be skipped.
    Framing(usize),
    /// This number of bytes is content.
    Data(usize),
    /// The input is empty, and the body is not complete.
    Partial,
    /// The body is complete. The input belongs to the next request.
    End,
}

impl Decoder {
    /// Classifies the beginning of `input`. The caller consumes the returned number of bytes, and
    /// calls this again with the rest.
    ///
    /// # Errors
    /// The body is malformed. The response has the status 400, and the connection ends.
    pub fn next(&mut self, input: &[u8]) -> Result<ChunkedPart, HeadError> {
        if let State::Data(left) = self.state {
            if input.is_empty() {
                return Ok(ChunkedPart::Partial);
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
            let left = left - count as u64;
            self.state = if left == 0 {
                State::DataCr
            } else {
                State::Data(left)
            };
            return Ok(ChunkedPart::Data(count));
        }
        for (at, &byte) in input.iter().enumerate() {
            if matches!(self.state, State::Data(_) | State::Done) {
                return Ok(if at == 0 {
                    ChunkedPart::End
                } else {
                    ChunkedPart::Framing(at)
                });
            }
            self.state = self.step(byte)?;
        }
        Ok(match (self.state, input.len()) {
            (State::Done, 0) => ChunkedPart::End,
            (_, 0) => ChunkedPart::Partial,
            (_, count) => ChunkedPart::Framing(count),
        })
    }

    /// Whether the last chunk and the trailers were decoded.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Processes one byte that is not part of a chunk's data.
    fn step(&mut self, byte: u8) -> Result<State, HeadError> {
        self.line += 1;
        Ok(match (self.state, byte) {
            (State::Start, _) => {
                self.line = 1;
                State::Size(hex(byte).ok_or(BAD_SIZE)?)
            }
            (State::Size(size), b'\r') | (State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::Size(size) | State::Gap(size), b';') => State::Extension(size),
            (State::Size(size) | State::Gap(size), b' ' | b'\t') if self.line <= MAX_SIZE_LINE => {
                State::Gap(size)
            }
            (State::Size(size), _) => {
                let digit = hex(byte).ok_or(BAD_SIZE)?;
                // The limit is far above every real size. It prevents overflows.
                if size >> 56 != 0 {
                    return Err(HeadError::bad("a chunk's size is too large"));
                }
                State::Size(size << 4 | digit)
            }
            (State::Extension(size), b'\t' | 0x20..=0x7e | 0x80..)
                if self.line <= MAX_SIZE_LINE =>
            {
                State::Extension(size)
            }
            (State::Extension(_), _) => {
                return Err(HeadError::bad("malformed or endless chunk extensions"));
            }
            (State::SizeEnd(0), b'\n') => {
                self.line = 0;
                State::TrailerStart
            }
            (State::SizeEnd(size), b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Start,
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (
                State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerEnd,
                _,
            ) => self.trailer(byte)?,
            _ => return Err(HeadError::bad("a chunk doesn't end where it should")),
        })
    }

    /// Processes one byte of the trailers. Trailers are checked like headers and then dropped.
    fn trailer(&self, byte: u8) -> Result<State, HeadError> {
        if self.line > MAX_TRAILERS {
            return Err(HeadError::new(431, "the trailers are too long"));
        }
        match (self.state, byte) {
            (State::TrailerStart | State::TrailerName, byte) if is_token(byte) => {
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerEnd),
            (State::TrailerValue, b'\t' | 0x20..=0x7e | 0x80..) => Ok(State::TrailerValue),
            (State::TrailerEnd, b'\n') => Ok(State::TrailerStart),
            _ => Err(HeadError::bad("a malformed trailer")),
        }
    }
}

const BAD_SIZE: HeadError = HeadError::bad("a chunk's size is not a hexadecimal number");

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A complete body.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    body: Vec<u8>,
    /// Bytes of input that the body used, with its framing.
    taken: usize,
}

/// Decodes input that arrives in pieces of `step` bytes. `None` if the body is not complete.
fn decode(input: &[u8], step: usize) -> Result<Option<Decoded>, HeadError> {
    let (mut decoder, mut body, mut taken, mut come) = (Decoder::default(), Vec::new(), 0, 0);
    loop {
        match decoder.next(&input[taken..come])? {
            ChunkedPart::Framing(count) => taken += count,
            ChunkedPart::Data(count) => {
                body.extend_from_slice(&input[taken..taken + count]);
                taken += count;
            }
            ChunkedPart::End => return Ok(Some(Decoded { body, taken })),
            ChunkedPart::Partial if come == input.len() => return Ok(None),
            ChunkedPart::Partial => come = (come + step).min(input.len()),
        }
    }
}

/// Panics if the result depends on how the input is split, or on the bytes after the body. For
/// fuzzing.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    for step in [1, 2, 7] {
        assert_eq!(decode(data, step), whole, "in pieces of {step}");
    }
    let Ok(Some(decoded)) = whole else { return };
    assert!(data[..decoded.taken].ends_with(b"\r\n") && decoded.body.len() < decoded.taken);
    for cut in 0..decoded.taken {
        assert_eq!(decode(&data[..cut], cut.max(1)), Ok(None), "cut at {cut}");
    }
    assert_eq!(
        decode(&data[..decoded.taken], decoded.taken),
        Ok(Some(decoded))
    );
}

#[cfg(test)]
mod tests;
