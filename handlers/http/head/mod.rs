//! The head of an HTTP/1.x request: request line and header fields (RFC 9112 §2–§6).
//!
//! [`parse`] is a pure function of the bytes. It refuses whatever two recipients could read differently: that is how requests are
//! smuggled (RFC 9112 §11.2). After an error the connection must close.

mod fields;
mod line;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

pub use fields::{Fields, Framing};
use line::RequestLine;
pub use line::{Form, Method};

/// The longest head, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;
/// The longest request target, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;
/// The most header fields.
pub const MAX_FIELDS: usize = 100;
/// What a request line has besides its target, generously.
const LINE_REST: usize = 64;

/// What is known of a head that hasn't come whole; kept with the connection, so that no byte is looked at twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    scanned: usize,
    line_checked: bool,
}

/// Whether the head is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status<T> {
    /// All that came is well so far, but the end is missing.
    Partial,
    /// The head, and how many bytes it has.
    Complete(T, usize),
}

/// Why a request is refused; the connection closes after the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadError {
    /// The response's status code.
    pub status: u16,
    /// What is wrong, in a few words.
    pub reason: &'static str,
}

pub(crate) const fn bad(reason: &'static str) -> HeadError {
    HeadError { status: 400, reason }
}

/// A request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'b> {
    /// The method.
    pub method: Method,
    /// The request line, without its line end: for the access log.
    pub line: &'b [u8],
    /// Path and query of the target, not decoded; `*` and authorities as they came.
    pub target: &'b [u8],
    /// The form of the target.
    pub form: Form,
    /// Whether the client speaks HTTP/1.0 only.
    pub http_1_0: bool,
    /// Whether the connection may go on after the response (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// The header fields that matter here.
    pub fields: Fields<'b>,
    block: &'b [u8],
}

impl<'b> Head<'b> {
    /// The values of all fields of this name, in their order.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'b, 'n> {
        let lines = self.block.split(|byte| *byte == b'\n');
        lines.filter_map(move |line| {
            let colon = memchr::memchr(b':', line)?;
            line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
        })
    }
}

/// Parses the head at the beginning of `bytes`. `scanner` is the connection's, [`Scanner::default`] for each new request.
///
/// # Errors
/// As soon as it is certain that no continuation makes a request that is served.
pub fn parse<'b>(bytes: &'b [u8], scanner: &mut Scanner) -> Result<Status<Head<'b>>, HeadError> {
    // One empty line before a request is passed over (RFC 9112 §2.2).
    let start = match bytes {
        [] | [b'\r'] => return Ok(Status::Partial),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let Some(end) = find_end(bytes, start, scanner)? else {
        if bytes.len() > MAX_HEAD {
            return Err(HeadError { status: 431, reason: "the header fields are too long" });
        }
        return Ok(Status::Partial);
    };
    if end > MAX_HEAD {
        return Err(HeadError { status: 431, reason: "the header fields are too long" });
    }
    let head = parse_whole(&bytes[start..end])?;
    *scanner = Scanner::default();
    Ok(Status::Complete(head, end))
}

/// Where the empty line ends that ends the head; checks the line ends and the request line on its way.
fn find_end(bytes: &[u8], start: usize, scanner: &mut Scanner) -> Result<Option<usize>, HeadError> {
    let mut from = scanner.scanned.max(start);
    while let Some(found) = memchr::memchr(b'\n', &bytes[from..]) {
        let at = from + found;
        if at == start || bytes[at - 1] != b'\r' {
            return Err(bad("a line ends without CR"));
        }
        if !scanner.line_checked {
            line::parse(&bytes[start..at - 1])?;
            scanner.line_checked = true;
        } else if bytes[at - 2] == b'\n' {
            return Ok(Some(at + 1));
        }
        from = at + 1;
        scanner.scanned = from;
    }
    if !scanner.line_checked {
        line::check_beginning(&bytes[start..])?;
    }
    scanner.scanned = bytes.len();
    Ok(None)
}

/// `head` has its request line, and ends with an empty line.
fn parse_whole(head: &[u8]) -> Result<Head<'_>, HeadError> {
    let line_end = memchr::memchr(b'\n', head).ok_or(bad("no request line"))?;
    let line = &head[..line_end - 1];
    let RequestLine { method, target, form, authority, http_1_0 } = line::parse(line)?;
    let block = &head[line_end + 1..];
    let fields = with_headers(head, block, |headers| Fields::collect(headers, http_1_0))?;
    if !http_1_0 && fields.host.is_none() {
        return Err(bad("the Host field is missing"));
    }
    // The authority of an absolute target replaces the Host field (RFC 9112 §3.2.2), which must be well-formed all the same.
    let fields = Fields { host: authority.or(fields.host), ..fields };
    let keep_alive = if http_1_0 { fields.says_keep_alive && !fields.says_close } else { !fields.says_close };
    Ok(Head { method, line, target, form, http_1_0, keep_alive, fields, block })
}

/// Has httparse split the header fields; `block` is the head without its request line.
fn with_headers<'b, T>(
    head: &'b [u8],
    block: &'b [u8],
    then: impl FnOnce(&[httparse::Header<'b>]) -> Result<T, HeadError>,
) -> Result<T, HeadError> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let problem = match request.parse_with_uninit_headers(head, &mut room) {
        Ok(httparse::Status::Complete(_)) => return then(request.headers),
        Ok(httparse::Status::Partial) => return Err(bad("the header fields don't end")),
        Err(problem) => problem,
    };
    if problem == httparse::Error::Version {
        // HTTP/1.2 and later, which httparse doesn't know.
        let mut headers = [httparse::EMPTY_HEADER; MAX_FIELDS];
        if let Ok(httparse::Status::Complete((_, headers))) = httparse::parse_headers(block, &mut headers) {
            return then(headers);
        }
    }
    Err(match problem {
        httparse::Error::TooManyHeaders => HeadError { status: 431, reason: "too many header fields" },
        _ => bad("a header field is malformed"),
    })
}

/// What must hold for any bytes; for the fuzzer.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    let whole = parse(data, &mut Scanner::default());
    let mut scanner = Scanner::default();
    for length in 0..=data.len() {
        match parse(&data[..length], &mut scanner) {
            Ok(Status::Partial) => {}
            Ok(Status::Complete(head, consumed)) => {
                assert!(consumed <= length && head.line.len() < consumed);
                assert_eq!(whole, Ok(Status::Complete(head, consumed)), "cut at {length}");
                return;
            }
            Err(error) => {
                // Perhaps for another reason: the whole may have several mistakes.
                assert!(whole.is_err(), "cut at {length}: {error:?}, whole: {whole:?}");
                return;
            }
        }
    }
    assert_eq!(whole, Ok(Status::Partial));
}
