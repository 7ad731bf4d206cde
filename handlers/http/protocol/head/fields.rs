//! The headers of a request (RFC 9112 §5). One pass over them collects the headers that the server
//! itself uses.

use httparse::{EMPTY_HEADER, Header};
use memchr::memchr;

use super::byte_set::ByteSet;
use super::framing::{BodyFields, Framing, list};
use super::scan::Lines;
use super::{Head, HeadError, MAX_FIELDS, Method, TargetForm, Version, authority};

/// Most programs send at most this number of headers. The array for headers is initialised for each
/// request, so a small array saves time.
const FEW_FIELDS: usize = 8;
/// Most browsers send at most this number of headers.
const USUAL_FIELDS: usize = 32;

/// Whether a byte is allowed in a token (RFC 9110 §5.6.2).
pub fn is_token(byte: u8) -> bool {
    static TOKEN: ByteSet = ByteSet::alphanumeric_and(b"!#$%&'*+-.^_`|~");
    TOKEN.contains(byte)
}

/// Refuses complete lines that are not valid headers. `lines` does not contain the blank line.
pub(super) fn validate(lines: &[u8]) -> Result<(), HeadError> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    httparse::parse_headers(lines, &mut fields).map_err(refusal)?;
    Ok(())
}

fn refusal(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::bad("a field name is not a token before a colon"),
        httparse::Error::HeaderValue => HeadError::bad("a control byte in a field value"),
        httparse::Error::TooManyHeaders => HeadError::new(431, "too many fields"),
        _ => HeadError::bad("malformed field line"),
    }
}

/// The headers of a head in their order; see [`Head::fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    lines: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `lines` must be validated: each line is `name:value CRLF`.
    pub(super) fn new(lines: &'a [u8]) -> Self {
        Self { lines }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let lf = memchr(b'\n', self.lines)?;
        let (line, rest) = self.lines.split_at(lf + 1);
        self.lines = rest;
        let colon = memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    }
}

/// The headers that the server uses, before they are combined with the request line.
#[derive(Default)]
pub(super) struct Facts<'a> {
    host: Option<&'a [u8]>,
    body: BodyFields<'a>,
    /// `Connection` contains `close`.
    close: bool,
    /// `Connection` contains `keep-alive`.
    stay: bool,
    /// `Connection` contains `upgrade`.
    upgrade_named: bool,
    /// `Expect` is `100-continue`.
    expect_continue: bool,
    /// `Expect` has another value.
    expect_other: bool,
    upgrade: Option<&'a [u8]>,
    range: Option<&'a [u8]>,
    if_range: Option<&'a [u8]>,
    if_match: Option<&'a [u8]>,
    if_none_match: Option<&'a [u8]>,
    if_modified_since: Option<&'a [u8]>,
    if_unmodified_since: Option<&'a [u8]>,
    accept_encoding: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    wants_digest: bool,
}

impl<'a> Facts<'a> {
    /// Reads `count` lines and the blank line after them.
    pub(super) fn read(lines: &'a [u8], count: usize) -> Result<Self, HeadError> {
        if count <= FEW_FIELDS {
            Self::read_up_to::<FEW_FIELDS>(lines)
        } else if count <= USUAL_FIELDS {
            Self::read_up_to::<USUAL_FIELDS>(lines)
        } else {
            Self::read_up_to::<MAX_FIELDS>(lines)
        }
    }

    fn read_up_to<const N: usize>(lines: &'a [u8]) -> Result<Self, HeadError> {
        let mut fields = [EMPTY_HEADER; N];
        let mut facts = Self::default();
        match httparse::parse_headers(lines, &mut fields).map_err(refusal)? {
            httparse::Status::Complete((_, fields)) => {
                for field in fields {
                    facts.take(field)?;
                }
                Ok(facts)
            }
            httparse::Status::Partial => Err(HeadError::bad("malformed field line")),
        }
    }

    /// Stores a header that the server uses. The length of the name is compared first, because it
    /// rules out most headers.
    fn take(&mut self, field: &Header<'a>) -> Result<(), HeadError> {
        let value = field.value;
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            4 if is("host") => once(&mut self.host, value, "more than one Host")?,
            5 if is("range") => once(&mut self.range, value, "more than one Range")?,
            6 if is("expect") => self.expect(value),
            7 if is("upgrade") => first(&mut self.upgrade, value),
            7 if is("referer") => first(&mut self.referer, value),
            8 if is("if-match") => first(&mut self.if_match, value),
            8 if is("if-range") => once(&mut self.if_range, value, "more than one If-Range")?,
            10 if is("connection") => self.connection(value),
            10 if is("user-agent") => first(&mut self.user_agent, value),
            12 if is("content-type") => {
                once(&mut self.content_type, value, "more than one Content-Type")?;
            }
            13 if is("if-none-match") => first(&mut self.if_none_match, value),
            13 if is("authorization") => {
                once(
                    &mut self.authorization,
                    value,
                    "more than one Authorization",
                )?;
            }
            14 if is("content-length") => self.body.content_length(value)?,
            15 if is("accept-encoding") => first(&mut self.accept_encoding, value),
            16 if is("want-repr-digest") => self.wants_digest = true,
            17 if is("transfer-encoding") => self.body.transfer_encoding(value)?,
            17 if is("if-modified-since") => {
                let slot = &mut self.if_modified_since;
                once(slot, value, "more than one If-Modified-Since")?;
            }
            19 if is("if-unmodified-since") => {
                let slot = &mut self.if_unmodified_since;
                once(slot, value, "more than one If-Unmodified-Since")?;
            }
            19 if is("want-content-digest") => self.wants_digest = true,
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.stay |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade_named |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    fn expect(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"100-continue") {
            self.expect_continue = true;
        } else {
            self.expect_other = true;
        }
    }

    /// Combines the headers with the request line. `lines` are offsets into `buf`.
    pub(super) fn into_head(self, buf: &'a [u8], lines: &Lines) -> Result<Head<'a>, HeadError> {
        let version = lines.request.version;
        let method_name = &buf[lines.request.method.clone()];
        let method = Method::of(method_name);
        let raw_target = &buf[lines.request.target.clone()];
        let target = TargetForm::read(raw_target, method)?;
        let modern = version == Version::Http11;
        let host = self.effective_host(&target, modern)?;
        let body = self.body.framing(modern)?;
        if modern && self.expect_other {
            return Err(HeadError::new(
                417,
                "an expectation other than 100-continue",
            ));
        }
        Ok(Head {
            method,
            method_name,
            raw_target,
            target,
            version,
            host,
            keep_alive: !self.close && (modern || self.stay),
            body,
            expect_continue: modern && self.expect_continue && body != Framing::None,
            upgrade: self.upgrade.filter(|_| modern && self.upgrade_named),
            range: self.range,
            if_range: self.if_range,
            if_match: self.if_match,
            if_none_match: self.if_none_match,
            if_modified_since: self.if_modified_since,
            if_unmodified_since: self.if_unmodified_since,
            accept_encoding: self.accept_encoding,
            content_type: self.content_type,
            authorization: self.authorization,
            user_agent: self.user_agent,
            referer: self.referer,
            wants_digest: self.wants_digest,
            fields: &buf[lines.fields.clone()],
        })
    }

    /// The host of the request. An HTTP/1.1 request must have a valid `Host` even if the target
    /// contains a host that replaces it (RFC 9112 §3.2).
    fn effective_host(
        &self,
        target: &TargetForm<&'a [u8]>,
        modern: bool,
    ) -> Result<Option<&'a [u8]>, HeadError> {
        match self.host {
            Some(host) if !authority::is_valid(host) => {
                return Err(HeadError::bad("malformed Host"));
            }
            None if modern => return Err(HeadError::bad("no Host")),
            _ => {}
        }
        Ok(match *target {
            TargetForm::Absolute { authority, .. } | TargetForm::Authority(authority) => {
                Some(authority)
            }
            TargetForm::Origin(_) | TargetForm::Asterisk => self.host,
        })
    }
}

fn first<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8]) {
    slot.get_or_insert(value);
}

fn once<'a>(
    slot: &mut Option<&'a [u8]>,
    value: &'a [u8],
    reason: &'static str,
) -> Result<(), HeadError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadError::bad(reason)),
    }
}
