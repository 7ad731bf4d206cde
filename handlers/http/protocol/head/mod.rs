//! The head of an HTTP/1.x request: bytes in, meaning out; no socket.
//!
//! One rule runs through it: where RFC 9112 lets a server choose between repairing
//! a malformed request and refusing it, it is refused. A request that two programs
//! can read in two ways is how requests are smuggled past a proxy.
//!
//! A connection keeps one [`Scanner`] and calls [`parse`] on everything it has read
//! since the last request; each byte is looked at once however slowly they come.

mod authority;
mod byte_set;
mod check;
mod fields;
mod framing;
mod scan;
mod target;
#[cfg(test)]
mod tests;

pub use check::check;
pub use fields::Fields;
pub use fields::is_token;
pub use framing::Framing;
pub use scan::Scanner;
pub use target::Target;

use fields::Facts;

/// The longest head in bytes, blank line included; a longer one is refused with 431.
pub const MAX_HEAD: usize = 16 * 1024;
/// The most field lines of a head; more are refused with 431.
pub const MAX_FIELDS: usize = 100;
/// The longest request target in bytes; a longer one is refused with 414.
pub const MAX_TARGET: usize = 8 * 1024;
/// The longest method in bytes; a longer one is refused with 501 (RFC 9112 §3).
pub const MAX_METHOD: usize = 64;

/// How far a head has come.
#[derive(Debug)]
pub enum Status<T> {
    /// Every byte so far is good, more must come.
    Partial,
    /// The head is whole.
    Complete {
        /// What was parsed.
        head: T,
        /// Bytes of the buffer that it took; the body, or the next request, follows.
        consumed: usize,
    },
}

/// Why a request is refused. The answer carries `status`, then the connection closes:
/// where the next request would begin is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadError {
    /// The status code of the answer.
    pub status: u16,
    /// For the log and the page of the answer.
    pub reason: &'static str,
}

impl HeadError {
    /// With this status and reason.
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// With status 400.
    pub const fn bad(reason: &'static str) -> Self {
        Self::new(400, reason)
    }
}

impl std::fmt::Display for HeadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.reason, self.status)
    }
}

impl std::error::Error for HeadError {}

/// The method of a request (RFC 9110 §9), case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Options,
    Post,
    Put,
    Delete,
    Patch,
    Trace,
    Connect,
    /// Any other token; see [`Head::method_name`].
    Other,
}

impl Method {
    fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// The version of a request. A higher minor version is read as 1.1 (RFC 9110 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Version {
    Http10,
    Http11,
}

/// A request's head, checked, with the fields that every request is asked for picked out.
///
/// A field that may come once only (`Range`, `Authorization`, ...) has been refused if it
/// came twice. `If-Match`, `If-None-Match` and `Accept-Encoding` are lists that may be
/// spread over several lines (RFC 9110 §5.3): their member here holds the first line, so
/// `None` means absent, and [`Head::values`] gives them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method.
    pub method: Method,
    /// The method as sent: a token.
    pub method_name: &'a [u8],
    /// The target as sent: visible ASCII without `#`.
    pub raw_target: &'a [u8],
    /// The target by its form.
    pub target: Target<'a>,
    /// The version.
    pub version: Version,
    /// The host and port asked for: from an absolute target (RFC 9112 §3.2.2), else from
    /// `Host`. `None` only in HTTP/1.0.
    pub host: Option<&'a [u8]>,
    /// Whether the client wants the connection to stay (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// The length of the body.
    pub body: Framing,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// `Upgrade`, only when it is to be heeded: HTTP/1.1 and named in `Connection` (RFC 9110 §7.8).
    pub upgrade: Option<&'a [u8]>,
    /// `Range`.
    pub range: Option<&'a [u8]>,
    /// `If-Range`.
    pub if_range: Option<&'a [u8]>,
    /// `If-Match`, first line.
    pub if_match: Option<&'a [u8]>,
    /// `If-None-Match`, first line.
    pub if_none_match: Option<&'a [u8]>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a [u8]>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a [u8]>,
    /// `Accept-Encoding`, first line.
    pub accept_encoding: Option<&'a [u8]>,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// `User-Agent`, the first one.
    pub user_agent: Option<&'a [u8]>,
    /// `Referer`, the first one.
    pub referer: Option<&'a [u8]>,
    /// There is a `Want-Repr-Digest` or `Want-Content-Digest` (RFC 9530 §4).
    pub wants_digest: bool,
    fields: &'a [u8],
}

impl<'a> Head<'a> {
    /// Every field in order, as (name as sent, value without the whitespace around it).
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.fields)
    }

    /// The values of every line with this name, in order; `name` in any case.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The value of a list that may come in several fields, which count as one with commas between
    /// them (RFC 9110 §5.3); `None` if there is none.
    pub fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let values: Vec<_> = self.values(name).collect();
        (!values.is_empty()).then(|| values.join(&b", "[..]))
    }
}

/// Parses the head at the start of `buf`, everything read since the last request.
///
/// After `Partial` call again with the same bytes and more behind them, and the same
/// `scanner`; it is ready for the next request after `Complete`.
///
/// # Errors
/// The first fault in the order of the bytes, as soon as no further byte can mend it;
/// then what only the whole head can tell (a missing `Host`, framing).
pub fn parse<'a>(buf: &'a [u8], scanner: &mut Scanner) -> Result<Status<Head<'a>>, HeadError> {
    let Some(lines) = scanner.scan(buf)? else {
        return Ok(Status::Partial);
    };
    *scanner = Scanner::default();
    let facts = Facts::read(&buf[lines.fields.start..lines.end], lines.count)?;
    let head = facts.into_head(buf, &lines)?;
    Ok(Status::Complete {
        head,
        consumed: lines.end,
    })
}
