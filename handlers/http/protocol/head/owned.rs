//! Heads that outlive the buffer from which they were parsed.

use super::{Head, HeadParts};

/// A head with a copy of its bytes. Nothing is parsed again: the positions of the parts stay valid
/// in the copy.
#[derive(Debug)]
pub struct OwnedHead {
    bytes: Box<[u8]>,
    parts: HeadParts<Span>,
}

/// The position of a part within the bytes of its head.
/// [`MAX_HEAD`](super::MAX_HEAD) fits into 16 bits.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u16,
    end: u16,
}

impl OwnedHead {
    /// Copies `head`, which was parsed from `bytes`.
    pub fn new(head: &Head<'_>, bytes: &[u8]) -> OwnedHead {
        let begin = bytes.as_ptr().addr();
        let span = |part: &[u8]| {
            // Only an empty part may be somewhere else than in `bytes`.
            if part.is_empty() {
                return Span { start: 0, end: 0 };
            }
            let start = part.as_ptr().addr() - begin;
            Span {
                start: start as u16,
                end: (start + part.len()) as u16,
            }
        };
        OwnedHead {
            bytes: bytes.into(),
            parts: head.map(span),
        }
    }

    /// The head.
    pub fn head(&self) -> Head<'_> {
        self.parts
            .map(|span| &self.bytes[usize::from(span.start)..usize::from(span.end)])
    }

    /// The bytes of the head, with the blank line.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
