//! `Repr-Digest` and `Content-Digest` in a response, for clients that request them (RFC 9530 §4).
//!
//! The headers precede the content, so the digests must be computed before the content is sent.

use std::io;

use socketserver_http::engine::pending::{PendingHeaders, PendingState};
use socketserver_http::engine::produce::Produced;
use socketserver_http::protocol::digest_fields::{self, Algorithm};
use socketserver_http::protocol::head::Head;

use super::computing::{Computing, Progress};
use super::{value_of, want};
use crate::common::digest::{DigestQueue, Digests};
use crate::files::site::entry::Entry;

/// The digests that a client requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DigestPreference {
    repr: Option<Algorithm>,
    content: Option<Algorithm>,
}

impl DigestPreference {
    /// The requested digests that the server can compute. `is_whole` is true if the response
    /// contains the whole file. Only then the digest of the content is the digest of the file; for
    /// other responses, the digest of the content is not computed.
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
            .for_each(|algorithm| want(algorithm, &mut wanted));
        wanted
    }

    /// The header lines with the requested digests.
    fn headers(self, digests: &Digests) -> String {
        let line = |name: &str, algorithm: Option<Algorithm>| {
            let algorithm = algorithm?;
            let member = digest_fields::member(algorithm, value_of(algorithm, digests)?)?;
            Some(format!("{name}: {member}\r\n"))
        };
        let lines = [
            line("Repr-Digest", self.repr),
            line("Content-Digest", self.content),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// When a response can be sent.
pub(crate) enum Described {
    /// Now, with these additional header lines.
    Now(String),
    /// Once these header lines are computed.
    Later(Box<dyn PendingHeaders>),
}

/// Computes the requested digests of this form of a file, or begins to.
///
/// # Errors
/// The file can't be read.
pub(crate) fn describe(
    entry: &Entry,
    wish: DigestPreference,
    queue: &DigestQueue,
) -> io::Result<Described> {
    match Computing::begin(entry, &wish.wanted(), queue) {
        Ok(Progress::Done(digests)) => Ok(Described::Now(wish.headers(&digests))),
        Ok(Progress::Working(computing)) => Ok(Described::Later(Box::new(PendingDigest {
            wish,
            computing,
            is_hurried: false,
        }))),
        // The header states only a preference, so a response without a digest is correct, too.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(Described::Now(String::new()))
        }
        Err(error) => Err(error),
    }
}

/// A digest that is being computed for a response.
struct PendingDigest {
    wish: DigestPreference,
    computing: Computing,
    /// Whether the client may be gone. If so, the computation ends, and the response is sent
    /// without the digest.
    is_hurried: bool,
}

impl PendingHeaders for PendingDigest {
    fn hurry(&mut self) {
        self.is_hurried = true;
    }

    fn advance(&mut self) -> io::Result<PendingState> {
        Ok(match self.computing.advance()? {
            Ok(digests) => PendingState::Ready(self.wish.headers(&digests)),
            Err(_) if self.is_hurried => PendingState::Ready(String::new()),
            Err(Produced::After(time)) => PendingState::After(time),
            Err(_) => PendingState::Again,
        })
    }
}
