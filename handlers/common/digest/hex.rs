//! Converts digests to text and back.

use std::fmt;

/// Formats bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// Parses two digits for each of `N` bytes, in upper or lower case.
///
/// # Errors
/// The number of digits is wrong, or a character is not a digit.
pub fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let value = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(HexError { digits: 2 * N });
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = value(*high)
            .zip(value(*low))
            .ok_or(HexError { digits: 2 * N })?;
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

/// The text does not consist of the right number of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HexError {
    digits: usize,
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hexadecimal digits", self.digits)
    }
}

impl std::error::Error for HexError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_text_is_read_and_written() {
        assert_eq!(to_hex(&[0, 0x1f, 0xa0, 0xff]), "001fa0ff");
        assert_eq!(from_hex("001FA0ff"), Ok([0, 0x1f, 0xa0, 0xff]));
        for text in [
            "",
            "00",
            "000",
            "0000f",
            "00000000f",
            "zz000000",
            "+1000000",
            "\u{e9}000000",
        ] {
            assert_eq!(from_hex::<4>(text), Err(HexError { digits: 8 }), "{text}");
        }
    }
}
