//! Parses the head of an HTTP/1.x request, without I/O.
//!
//! One rule applies everywhere: where RFC 9112 allows a server to either repair or refuse a
//! malformed request, the request is refused. A request that two programs read differently can be
//! smuggled past a proxy.
//!
//! A connection keeps one [`Scanner`], and calls [`parse`] with all bytes that it has read since
//! the last request. Each byte is scanned only once, however slowly the bytes arrive.

mod authority;
mod byte_set;
mod check;
mod fields;
mod framing;
mod owned;
mod scan;
mod target;
#[cfg(test)]
mod tests;

pub use check::check;
pub use fields::Fields;
pub use fields::is_token;
pub use framing::Framing;
pub use owned::OwnedHead;
pub use scan::Scanner;
pub use target::TargetForm;

use fields::Facts;

/// Maximum length of a head with its blank line, in bytes. A longer head is refused with 431.
pub const MAX_HEAD: usize = 16 * 1024;
/// Maximum number of headers. A head with more headers is refused with 431.
pub const MAX_FIELDS: usize = 100;
/// Maximum length of a request target, in bytes. A longer target is refused with 414.
pub const MAX_TARGET: usize = 8 * 1024;
/// Maximum length of a method, in bytes. A longer method is refused with 501 (RFC 9112 §3).
pub const MAX_METHOD: usize = 64;

/// Whether a head is complete.
#[derive(Debug)]
pub enum Status<T> {
    /// The bytes so far are valid, but the head is not complete.
    Partial,
    /// The head is complete.
    Complete {
        /// The parsed head.
        head: T,
        /// Length of the head in bytes. The body or the next request follows.
        consumed: usize,
    },
}

/// Why a request is refused. The connection is closed after the response, because the start of the
/// next request is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadError {
    /// The status code of the response.
    pub status: u16,
    /// The reason, for the page in the response and for logs.
    pub reason: &'static str,
}

impl HeadError {
    /// An error with this status and reason.
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// An error with status 400.
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

/// The checked head of a request. Its fields hold the headers that the server itself uses. `T` is a
/// part of the head: usually its bytes (see [`Head`]).
///
/// A request is refused if a header that may occur only once (`Range`, `Authorization`, ...) occurs
/// twice. `If-Match`, `If-None-Match` and `Accept-Encoding` are lists that may be spread over
/// several headers (RFC 9110 §5.3). Their fields here have the value of the first header, or `None`
/// if there is none; [`values`](Head::values) returns the values of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadParts<T> {
    /// The method.
    pub method: Method,
    /// The method as sent: a token.
    pub method_name: T,
    /// The target as sent: visible ASCII without `#`.
    pub raw_target: T,
    /// The target by its form.
    pub target: TargetForm<T>,
    /// The version.
    pub version: Version,
    /// The requested host and port, from an absolute target (RFC 9112 §3.2.2) or otherwise from
    /// `Host`. `None` only in HTTP/1.0.
    pub host: Option<T>,
    /// Whether the client wants to keep the connection alive (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// The length of the body.
    pub body: Framing,
    /// Whether the client waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// `Upgrade`, if the request is HTTP/1.1 and names it in `Connection`. Otherwise the server
    /// must ignore it (RFC 9110 §7.8), and this is `None`.
    pub upgrade: Option<T>,
    /// `Range`.
    pub range: Option<T>,
    /// `If-Range`.
    pub if_range: Option<T>,
    /// The first `If-Match`.
    pub if_match: Option<T>,
    /// The first `If-None-Match`.
    pub if_none_match: Option<T>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<T>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<T>,
    /// The first `Accept-Encoding`.
    pub accept_encoding: Option<T>,
    /// `Content-Type`.
    pub content_type: Option<T>,
    /// `Authorization`.
    pub authorization: Option<T>,
    /// The first `User-Agent`.
    pub user_agent: Option<T>,
    /// The first `Referer`.
    pub referer: Option<T>,
    /// Whether there is a `Want-Repr-Digest` or `Want-Content-Digest` (RFC 9530 §4).
    pub wants_digest: bool,
    fields: T,
}

/// A head whose parts are slices of the bytes from which it was parsed.
pub type Head<'a> = HeadParts<&'a [u8]>;

impl<T: Copy> HeadParts<T> {
    /// The same head with each of its parts replaced.
    fn map<U>(&self, part: impl Fn(T) -> U) -> HeadParts<U> {
        HeadParts {
            method: self.method,
            method_name: part(self.method_name),
            raw_target: part(self.raw_target),
            target: self.target.map(&part),
            version: self.version,
            host: self.host.map(&part),
            keep_alive: self.keep_alive,
            body: self.body,
            expect_continue: self.expect_continue,
            upgrade: self.upgrade.map(&part),
            range: self.range.map(&part),
            if_range: self.if_range.map(&part),
            if_match: self.if_match.map(&part),
            if_none_match: self.if_none_match.map(&part),
            if_modified_since: self.if_modified_since.map(&part),
            if_unmodified_since: self.if_unmodified_since.map(&part),
            accept_encoding: self.accept_encoding.map(&part),
            content_type: self.content_type.map(&part),
            authorization: self.authorization.map(&part),
            user_agent: self.user_agent.map(&part),
            referer: self.referer.map(&part),
            wants_digest: self.wants_digest,
            fields: part(self.fields),
        }
    }
}

impl<'a> Head<'a> {
    /// All headers in their order, as pairs of the name as sent and the value without the
    /// whitespace around it.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.fields)
    }

    /// The values of all headers with this name, in their order. Upper and lower case are equal.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The value of a list that may be spread over several headers. Their values are joined by
    /// commas (RFC 9110 §5.3). `None` if there is no such header.
    pub fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let values: Vec<_> = self.values(name).collect();
        (!values.is_empty()).then(|| values.join(&b", "[..]))
    }
}

/// Parses the head at the start of `buf`. `buf` has all bytes that were read since the last
/// request.
///
/// After `Partial`, call it again with the same bytes followed by further bytes, and with the same
/// `scanner`. After `Complete`, the scanner is ready for the next request.
///
/// # Errors
/// The first error in the order of the bytes is reported as soon as it is certain. Errors that only
/// the complete head shows (a missing `Host`, the framing) are reported last.
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
