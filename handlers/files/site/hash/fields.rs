//! `Repr-Digest` and `Content-Digest` in an answer, for a client that wants them (RFC 9530 §4).
//!
//! They stand before the content, so they must be known before it goes out.

use std::io;

use super::computing::{Computing, Progress};
use super::{value_of, want};
use crate::common::digest::{DigestQueue, Digests};
use crate::files::site::entry::Entry;
use socketserver_http::engine::pending::{PendingHeaders, PendingState};
use socketserver_http::engine::produce::Produced;
use socketserver_http::protocol::digest_fields::{self, Algorithm};
use socketserver_http::protocol::head::Head;

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
            .for_each(|algorithm| want(algorithm, &mut wanted));
        wanted
    }

    /// The header lines that fulfil it.
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

/// What a wish leads to.
pub(crate) enum Described {
    /// The response can go out with these header lines more.
    Now(String),
    /// The response waits for these header lines.
    Later(Box<dyn PendingHeaders>),
}

/// Fulfils a wish for this form of a file.
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
        // The client only prefers to get a digest: a response without it is correct, too.
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
    /// The client may have left. The computation ends, and the response is sent without the digest.
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
