//! `host [":" port]` (RFC 3986 §3.2, RFC 9110 §7.2).

use std::net::Ipv6Addr;

use memchr::memchr;

use super::byte_set::ByteSet;

/// The bytes of `reg-name` (RFC 3986) except `%` and the comma. With the comma, a list of hosts
/// would be accepted.
static NAME: ByteSet = ByteSet::alphanumeric_and(b"-._~!$&'()*+;=");

/// Whether this is a valid value of `Host`: a name, an IPv4 address or an IPv6 address in brackets,
/// and an optional port of at most 65535. A user, a list and an empty value are not valid (RFC 9110
/// §4.2.1).
pub(super) fn is_valid(authority: &[u8]) -> bool {
    split(authority).is_some()
}

/// Like [`is_valid`], but the port must not be empty, as in the target of CONNECT (RFC 9110
/// §9.3.6).
pub(super) fn is_valid_with_port(authority: &[u8]) -> bool {
    split(authority).is_some_and(|(_, port)| !port.is_empty())
}

fn split(authority: &[u8]) -> Option<(&[u8], &[u8])> {
    let host_end = match authority.first()? {
        b'[' => authority.iter().position(|&byte| byte == b']')? + 1,
        _ => memchr(b':', authority).unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    let port = match port {
        [] => port,
        [b':', digits @ ..] => digits,
        _ => return None,
    };
    (is_host(host) && is_port(port)).then_some((host, port))
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', address @ .., b']'] => {
            std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
        }
        _ => is_name(host),
    }
}

/// Whether this is a `reg-name`, in which other bytes are encoded as `%` and two hexadecimal
/// digits.
fn is_name(mut name: &[u8]) -> bool {
    while let Some(at) = name.iter().position(|&byte| !NAME.contains(byte)) {
        name = match &name[at..] {
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            _ => return false,
        };
    }
    true
}

/// Whether this is a port. An empty port is valid and means the default port (RFC 3986 §3.2.3).
fn is_port(digits: &[u8]) -> bool {
    let value = digits.iter().try_fold(0u16, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    });
    value.is_some()
}
