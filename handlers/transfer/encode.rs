//! Encodes `{"filename": NAME, "filedata": BASE64}` in pieces.
//!
//! The object consists of [`opening`], any number of pieces from [`base64`], and [`CLOSING`]. No
//! piece is stored.

use std::fmt::Write;

use base64_simd::STANDARD;

/// Number of bytes of a file in one piece. It is a multiple of three, so that only the last piece
/// is padded (RFC 4648 §4).
pub const PIECE: usize = 48 * 1024;
/// Number of bytes of a full piece in base64.
pub const ENCODED: usize = PIECE / 3 * 4;

/// The text after the base64.
pub const CLOSING: &str = "\"}";

/// Returns the text before the base64.
pub fn opening(name: &str) -> String {
    let mut text = String::from("{\"filename\": \"");
    for letter in name.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            // RFC 8259 §7: only these characters must be escaped.
            '\0'..='\x1f' => drop(write!(text, "\\u{:04x}", u32::from(letter))),
            _ => text.push(letter),
        }
    }
    text + "\", \"filedata\": \""
}

/// Encodes a piece in base64. The length of each piece but the last must be a multiple of three.
pub fn base64(piece: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(ENCODED);
    STANDARD.encode_append(piece, &mut text);
    text
}
