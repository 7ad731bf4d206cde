//! `{"filename": NAME, "filedata": BASE64}`, piece by piece.
//!
//! The object is [`opening`], any number of pieces by [`base64`], and [`CLOSING`]; nothing of it is kept.

use std::fmt::Write;

use base64_simd::{Out, STANDARD};

/// Bytes of a file in one piece: a multiple of three, so that only the last piece is padded (RFC 4648 §4).
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

/// The base64 of a piece, written into `space`. All pieces but a file's last must be a multiple of three bytes long.
///
/// # Panics
/// For a piece longer than [`PIECE`].
pub fn base64<'a>(piece: &[u8], space: &'a mut [u8; ENCODED]) -> &'a [u8] {
    STANDARD.encode(piece, Out::from_slice(space))
}
