//! The request line (RFC 9112 §3).

use super::{HeadError, LINE_REST, MAX_TARGET, bad};

/// A request's method, as far as this server knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 9110's and RFC 5789's")]
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
    /// A well-formed name that means nothing here.
    Other,
}

/// The form of a request's target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`, of which only path and query are kept.
    Absolute,
    /// `*`, of OPTIONS.
    Asterisk,
    /// `host:port`, of CONNECT.
    Authority,
}

pub(super) struct RequestLine<'b> {
    pub(super) method: Method,
    pub(super) target: &'b [u8],
    pub(super) form: Form,
    /// Of an absolute target.
    pub(super) authority: Option<&'b [u8]>,
    pub(super) http_1_0: bool,
}

/// Parses a request line that has come whole, without its line end.
pub(super) fn parse(line: &[u8]) -> Result<RequestLine<'_>, HeadError> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(name), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("the request line isn't method, target and version"));
    };
    let method = method(name)?;
    let http_1_0 = is_1_0(version)?;
    if target.len() > MAX_TARGET {
        return Err(HeadError { status: 414, reason: "the target is too long" });
    }
    if target.is_empty() || target.iter().any(|byte| !byte.is_ascii_graphic() || *byte == b'#') {
        return Err(bad("the target has bytes that no URI may have"));
    }
    let (form, target, authority) = form(method, target)?;
    Ok(RequestLine { method, target, form, authority, http_1_0 })
}

fn method(name: &[u8]) -> Result<Method, HeadError> {
    Ok(match name {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"OPTIONS" => Method::Options,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"DELETE" => Method::Delete,
        b"PATCH" => Method::Patch,
        b"TRACE" => Method::Trace,
        b"CONNECT" => Method::Connect,
        _ if !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte)) => Method::Other,
        _ => return Err(bad("the method is no token")),
    })
}

/// A minor version above 1 speaks 1.1 as well (RFC 9110 §2.5).
fn is_1_0(version: &[u8]) -> Result<bool, HeadError> {
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(false),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(HeadError { status: 505, reason: "only HTTP/1.0 and HTTP/1.1 are spoken here" })
        }
        _ => Err(bad("the version is malformed")),
    }
}

type Target<'b> = (Form, &'b [u8], Option<&'b [u8]>);

fn form(method: Method, target: &[u8]) -> Result<Target<'_>, HeadError> {
    if method == Method::Connect {
        return if is_authority(target) {
            Ok((Form::Authority, target, None))
        } else {
            Err(bad("CONNECT needs host:port"))
        };
    }
    if target.starts_with(b"/") {
        return Ok((Form::Origin, target, None));
    }
    if target == b"*" {
        return if method == Method::Options {
            Ok((Form::Asterisk, target, None))
        } else {
            Err(bad("`*` is for OPTIONS"))
        };
    }
    let scheme = memchr::memmem::find(target, b"://").ok_or(bad("the target is neither a path nor a URI"))?;
    if !target[..scheme].eq_ignore_ascii_case(b"http") && !target[..scheme].eq_ignore_ascii_case(b"https") {
        return Err(bad("the scheme isn't http"));
    }
    let rest = &target[scheme + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_authority(authority) {
        return Err(bad("the target's authority is malformed"));
    }
    match path.first() {
        None if method == Method::Options => Ok((Form::Asterisk, b"*", Some(authority))), // RFC 9112 §3.2.4
        None => Ok((Form::Absolute, b"/", Some(authority))),
        Some(b'/') => Ok((Form::Absolute, path, Some(authority))),
        Some(_) => Err(bad("the target has a query but no path")),
    }
}

/// `host[:port]`, as the Host field has it: no user, no list.
pub(super) fn is_authority(text: &[u8]) -> bool {
    let port_at = match text.first() {
        Some(b'[') => match memchr::memchr(b']', text) {
            Some(close) if is_ipv6(&text[1..close]) => close + 1,
            _ => return false,
        },
        _ => memchr::memchr(b':', text).unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(port_at);
    let host_ok = host.starts_with(b"[") || (!host.is_empty() && is_reg_name(host));
    let port_ok = match port {
        [] => true,
        [b':'] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        _ => false,
    };
    host_ok && port_ok
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// RFC 3986 §3.2.2, without the comma, which would make a list of it.
fn is_reg_name(host: &[u8]) -> bool {
    let mut bytes = host.iter();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => {
                let hex = |next: Option<&u8>| next.is_some_and(u8::is_ascii_hexdigit);
                hex(bytes.next()) && hex(bytes.next())
            }
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte),
        };
        if !fine {
            return false;
        }
    }
    true
}

/// The first line hasn't come whole: refuses what can't become one, so that garbage isn't waited for.
pub(super) fn check_beginning(bytes: &[u8]) -> Result<(), HeadError> {
    let name = bytes.iter().take_while(|byte| is_token_byte(**byte)).count();
    if name == bytes.len() {
        return if name > LINE_REST { Err(bad("the method is too long")) } else { Ok(()) };
    }
    if name == 0 || bytes[name] != b' ' {
        return Err(bad("the method is no token"));
    }
    if bytes.len() > MAX_TARGET + LINE_REST {
        return Err(HeadError { status: 414, reason: "the target is too long" });
    }
    Ok(())
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
