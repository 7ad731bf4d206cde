//! `host [":" port]` (RFC 3986 §3.2, RFC 9110 §7.2).

use std::net::Ipv6Addr;

use memchr::memchr;

use super::byte_set::ByteSet;

/// The bytes of RFC 3986's `reg-name` without `%` and the comma, which would let a list of hosts
/// pass.
static NAME: ByteSet = ByteSet::alphanumeric_and(b"-._~!$&'()*+;=");

/// Whether this may stand in `Host`: a name, an IPv4 address or an IPv6 address in brackets,
/// and a port of at most 65535. No user, no list, not empty (RFC 9110 §4.2.1).
pub(super) fn is_valid(authority: &[u8]) -> bool {
    split(authority).is_some()
}

/// As [`is_valid`], with a port that is not empty: the target of CONNECT (RFC 9110 §9.3.6).
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

/// `reg-name`, whose other bytes are written as `%` and two hexadecimal digits.
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

/// Empty is a port too: the default one (RFC 3986 §3.2.3).
fn is_port(digits: &[u8]) -> bool {
    let value = digits.iter().try_fold(0u16, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    });
    value.is_some()
}
