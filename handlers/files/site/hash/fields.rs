//! `Repr-Digest` and `Content-Digest` in an answer, for a client that wants them (RFC 9530 §4).
//!
//! They stand before the content, so they must be known before it goes out.

use std::io;

use super::computing::{Computing, Progress};
use crate::common::digest::{DigestQueue, Digests};
use crate::files::site::entry::{Body, Entry};
use crate::http::engine::application::Answer;
use crate::http::engine::message::{Produce, Produced};
use crate::http::engine::reply;
use crate::http::engine::reply::{Following, Frame, Selection};
use crate::http::protocol::digest_fields;
use crate::http::protocol::digest_fields::Algorithm;
use crate::http::protocol::head::Head;

/// Bytes of the content that are sent in a piece.
const PIECE_SIZE: u64 = 64 * 1024;

/// What a client would like to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DigestPreference {
    repr: Option<Algorithm>,
    content: Option<Algorithm>,
}

impl DigestPreference {
    /// What can be fulfilled of a request's wishes. Only where all of the file is sent, the
    /// content's digest is that of the file; that of the content of other answers isn't computed.
    pub(crate) fn of(head: &Head<'_>, is_whole: bool) -> Option<DigestPreference> {
        if !head.wants_digest {
            return None;
        }
        let wanted = |name| {
            head.joined(name)
                .and_then(|field| digest_fields::wanted(&field))
        };
        let wish = DigestPreference {
            repr: wanted("want-repr-digest"),
            content: if is_whole {
                wanted("want-content-digest")
            } else {
                None
            },
        };
        (wish.repr.is_some() || wish.content.is_some()).then_some(wish)
    }

    fn wanted(self) -> Digests {
        let mut wanted = Digests::default();
        self.repr
            .into_iter()
            .chain(self.content)
            .for_each(|algorithm| algorithm.want(&mut wanted));
        wanted
    }

    /// The field lines that fulfil it.
    fn fields(self, digests: &Digests) -> String {
        let line = |name: &str, algorithm: Option<Algorithm>| {
            let algorithm = algorithm?;
            let member = digest_fields::member(algorithm, algorithm.of(digests)?)?;
            Some(format!("{name}: {member}\r\n"))
        };
        let lines = [
            line("Repr-Digest", self.repr),
            line("Content-Digest", self.content),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// What a wish leads to.
pub(crate) enum Described {
    /// The answer can go out with these field lines more.
    Now(String),
    /// This is the answer: it goes out when the digest is known.
    Later(Answer),
}

/// Fulfils a wish. `more` are field lines for this answer, which is made of this form of a file.
///
/// # Errors
/// The file can't be read.
pub(crate) fn describe(
    entry: &Entry,
    wish: DigestPreference,
    queue: &DigestQueue,
    frame: Frame,
    more: &str,
    selection: &Selection,
) -> io::Result<Described> {
    let wanted = wish.wanted();
    let computing = match Computing::begin(entry, &wanted, queue) {
        Ok(Progress::Done(digests)) => return Ok(Described::Now(wish.fields(&digests))),
        Ok(Progress::Working(computing)) => computing,
        // The client only prefers to get a digest: an answer without it is correct, too.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Ok(Described::Now(String::new()));
        }
        Err(error) => return Err(error),
    };
    let mut head = Vec::new();
    let (sent, following) = reply::file_head(&mut head, frame, entry, more, selection.clone())?;
    // The digests to come are as long as those that stand for them in `wanted`.
    let length = (head.len() + wish.fields(&wanted).len()) as u64 + sent.bytes;
    let following = if frame.head_only {
        Following::Range(0..0)
    } else {
        following
    };
    let later = Later {
        wish,
        computing,
        head,
        body: entry.body.clone(),
        following,
        length,
        is_hurried: false,
    };
    Ok(Described::Later(Answer::Stream(sent, Box::new(later))))
}

/// An answer that waits for a digest in its head.
struct Later {
    wish: DigestPreference,
    computing: Computing,
    /// All of the head but the digest; empty once it is sent.
    head: Vec<u8>,
    body: Body,
    following: Following,
    length: u64,
    /// The client may have left. The computation ends, and the answer is sent without the digest.
    is_hurried: bool,
}

impl Produce for Later {
    fn hurry(&mut self) {
        self.is_hurried = true;
    }

    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced> {
        if !self.head.is_empty() {
            let digests = match self.computing.advance()? {
                Ok(digests) => digests,
                Err(_) if self.is_hurried => Digests::default(),
                Err(later) => return Ok(later),
            };
            let head = std::mem::take(&mut self.head);
            let (lines, blank) = head.split_at(head.len().saturating_sub(b"\r\n".len()));
            piece
                .extend_from_slice(&[lines, self.wish.fields(&digests).as_bytes(), blank].concat());
        }
        match &mut self.following {
            Following::Range(range) => {
                let end = range.end.min(range.start + PIECE_SIZE);
                self.body.read(range.start..end, piece)?;
                range.start = end;
                Ok(if range.is_empty() {
                    Produced::Over
                } else {
                    Produced::More
                })
            }
            Following::Parts(parts) => parts.produce(piece),
        }
    }

    /// The answer goes out as it is, its head included.
    fn length(&self) -> Option<u64> {
        Some(self.length)
    }
}
