//! `{"filename": NAME, "filedata": BASE64}`, piece by piece.
//!
//! The object is [`opening`], any number of pieces by [`base64`], and [`CLOSING`]; nothing of it is
//! kept.

use std::fmt::Write;

use base64_simd::STANDARD;

/// Bytes of a file in one piece: a multiple of three, so that only the last piece is padded (RFC
/// 4648 §4).
pub const PIECE: usize = 48 * 1024;
/// Bytes of a piece's base64.
pub const ENCODED: usize = PIECE / 3 * 4;

/// What follows the base64.
pub const CLOSING: &str = "\"}";

/// What comes before the base64.
pub fn opening(name: &str) -> String {
    let mut text = String::from("{\"filename\": \"");
    for letter in name.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            // RFC 8259 §7: these must be escaped, all others may stand for themselves.
            '\0'..='\x1f' => drop(write!(text, "\\u{:04x}", u32::from(letter))),
            _ => text.push(letter),
        }
    }
    text + "\", \"filedata\": \""
}

/// The base64 of a piece. All pieces but a file's last must be a multiple of three bytes long.
pub fn base64(piece: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(ENCODED);
    STANDARD.encode_append(piece, &mut text);
    text
}
