//! The end of a request's body (RFC 9112 §6). Request smuggling relies on programs that disagree
//! about it, so malformed headers are refused here and never repaired.

use super::HeadError;
use super::fields::is_token;

/// The length of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// `Content-Length` has this number of bytes. It may be 0.
    Length(u64),
    /// The body is chunked (RFC 9112 §7.1).
    Chunked,
}

/// The elements of a comma-separated list, without the whitespace around them. Elements may be
/// empty.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// The headers about the body. Transfer codings are collected from all `Transfer-Encoding` headers.
#[derive(Default)]
pub(super) struct BodyFields<'a> {
    /// The value of `Content-Length`.
    length: Option<u64>,
    /// The last transfer coding. The body is chunked if it is `chunked`.
    last_coding: Option<&'a [u8]>,
    /// Whether there is a transfer coding other than `chunked`.
    unknown_coding: bool,
}

impl<'a> BodyFields<'a> {
    /// Takes the value of a `Content-Length` header, which must have only digits. A sign, a list
    /// and a second header are refused, even if the values are equal (RFC 9112 §6.3 allows that).
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(HeadError::bad("Content-Length is not a number"));
        }
        let length = value.iter().try_fold(0u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        });
        let Some(length) = length else {
            return Err(HeadError::bad("Content-Length is too large"));
        };
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(HeadError::bad("more than one Content-Length")),
        }
    }

    pub(super) fn transfer_encoding(&mut self, value: &'a [u8]) -> Result<(), HeadError> {
        for coding in list(value) {
            if self.last_coding.is_some_and(is_chunked) {
                return Err(HeadError::bad("a transfer coding behind chunked"));
            }
            // Only unknown codings can have parameters. They are refused by their name, so the
            // parameters are ignored.
            let name_end = coding.iter().position(|&byte| !is_token(byte));
            let (name, parameters) = coding.split_at(name_end.unwrap_or(coding.len()));
            let parameters = parameters.trim_ascii_start();
            let malformed = name.is_empty() || !matches!(parameters.first(), None | Some(b';'));
            if malformed || (is_chunked(name) && !parameters.is_empty()) {
                return Err(HeadError::bad("malformed Transfer-Encoding"));
            }
            // RFC 7230 removed `identity`, but some servers still accept it. That difference
            // allows request smuggling.
            if name.eq_ignore_ascii_case(b"identity") {
                return Err(HeadError::bad("the transfer coding identity"));
            }
            self.unknown_coding |= !is_chunked(name);
            self.last_coding = Some(name);
        }
        Ok(())
    }

    pub(super) fn framing(&self, modern: bool) -> Result<Framing, HeadError> {
        let Some(last) = self.last_coding else {
            return Ok(self.length.map_or(Framing::None, Framing::Length));
        };
        if !modern {
            return Err(HeadError::bad("Transfer-Encoding in HTTP/1.0"));
        }
        if self.length.is_some() {
            return Err(HeadError::bad("both Content-Length and Transfer-Encoding"));
        }
        if !is_chunked(last) {
            return Err(HeadError::bad("the last transfer coding is not chunked"));
        }
        if self.unknown_coding {
            return Err(HeadError::new(501, "an unknown transfer coding"));
        }
        Ok(Framing::Chunked)
    }
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}
