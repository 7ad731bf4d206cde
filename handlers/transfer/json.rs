//! Parses the JSON tokens that the end of a segment can split: strings and numbers (RFC 8259 §6,
//! §7).

use memchr::memchr2;

use super::decode::Fault;

/// A string whose opening quote has been read.
#[derive(Debug, Default)]
pub(super) struct Text {
    state: TextState,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

#[derive(Debug, Default)]
enum TextState {
    #[default]
    Plain,
    Escape,
    Hex {
        digits: u8,
        value: u16,
    },
    /// After the first half of a surrogate pair. The `\` of the second half must follow.
    SecondHalf,
    SecondHalfEscape,
}

impl Text {
    /// Continues to parse the string, and passes its contents to `emit`, in UTF-8 if the string is
    /// UTF-8. Returns the number of bytes of `input` that belong to the string, including its
    /// closing quote, or `None` if the string continues beyond `input`.
    pub(super) fn push(
        &mut self,
        input: &[u8],
        mut emit: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        while at < input.len() {
            if !matches!(self.state, TextState::Plain) {
                self.push_escape(input[at], &mut emit)?;
                at += 1;
                continue;
            }
            let end = memchr2(b'"', b'\\', &input[at..]).map_or(input.len(), |length| at + length);
            let plain = &input[at..end];
            let allowed = before_control(plain);
            emit(&plain[..allowed])?;
            if allowed < plain.len() {
                return Err(Fault::Syntax); // control characters must be escaped
            }
            at = end + 1;
            match input.get(end) {
                Some(b'"') => return Ok(Some(at)),
                Some(_) => self.state = TextState::Escape,
                None => {}
            }
        }
        Ok(None)
    }

    fn push_escape(
        &mut self,
        byte: u8,
        emit: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.state = match (&self.state, byte) {
            (TextState::Hex { digits, value }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Fault::Syntax)? as u16;
                let (digits, value) = (digits + 1, value << 4 | digit);
                if digits < 4 {
                    TextState::Hex { digits, value }
                } else {
                    self.push_unit(value, emit)?
                }
            }
            (TextState::Escape | TextState::SecondHalfEscape, b'u') => TextState::Hex {
                digits: 0,
                value: 0,
            },
            (TextState::SecondHalf, b'\\') => TextState::SecondHalfEscape,
            (TextState::SecondHalf | TextState::SecondHalfEscape, _) => return Err(Fault::Unicode),
            (TextState::Escape | TextState::Plain, _) => {
                emit(&[meaning_of(byte).ok_or(Fault::Syntax)?])?;
                TextState::Plain
            }
        };
        Ok(())
    }

    /// Adds a unit of UTF-16, as written with `\uXXXX`.
    fn push_unit(
        &mut self,
        unit: u16,
        emit: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<TextState, Fault> {
        let first = self.high.take();
        if first.is_none() && (0xD800..0xDC00).contains(&unit) {
            self.high = Some(unit);
            return Ok(TextState::SecondHalf);
        }
        let mut letters = char::decode_utf16(first.into_iter().chain([unit]));
        let (Some(Ok(letter)), None) = (letters.next(), letters.next()) else {
            return Err(Fault::Unicode);
        };
        emit(letter.encode_utf8(&mut [0; 4]).as_bytes())?;
        Ok(TextState::Plain)
    }
}

/// Returns the number of bytes before the first control character.
fn before_control(text: &[u8]) -> usize {
    // The loop has no early exit, so that the compiler can check many bytes at a time. Control
    // characters are rare.
    if !text
        .iter()
        .fold(false, |found, byte| found | (*byte < b' '))
    {
        return text.len();
    }
    text.iter()
        .position(|byte| *byte < b' ')
        .unwrap_or(text.len())
}

/// Returns the character that the letter after a `\` represents.
fn meaning_of(letter: u8) -> Option<u8> {
    Some(match letter {
        b'"' | b'\\' | b'/' => letter,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}

/// The state of a number that is being parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Start,
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    ESign,
    Exponent,
}

impl Number {
    /// Adds a byte to the number. `None` if the byte cannot belong to it.
    pub(super) fn push(self, byte: u8) -> Option<Number> {
        Some(match (self, byte) {
            (Number::Start, b'-') => Number::Minus,
            (Number::Start | Number::Minus, b'0') => Number::Zero,
            (Number::Start | Number::Minus | Number::Integer, b'0'..=b'9') => Number::Integer,
            (Number::Zero | Number::Integer, b'.') => Number::Point,
            (Number::Point | Number::Fraction, b'0'..=b'9') => Number::Fraction,
            (Number::Zero | Number::Integer | Number::Fraction, b'e' | b'E') => Number::E,
            (Number::E, b'+' | b'-') => Number::ESign,
            (Number::E | Number::ESign | Number::Exponent, b'0'..=b'9') => Number::Exponent,
            _ => return None,
        })
    }

    /// Whether the number is complete here.
    pub(super) fn is_whole(self) -> bool {
        matches!(
            self,
            Number::Zero | Number::Integer | Number::Fraction | Number::Exponent
        )
    }
}
