//! What changes when a service runs with TLS: plain clients are sent on, and encrypted ones may be told to come back
//! encrypted only.

use std::time::Duration;

use super::head::{Head, Target};

/// A service runs with TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Https {
    /// For how long browsers shall not come in the clear again (RFC 6797 §6.1.1).
    pub(crate) hsts: Option<Duration>,
}

/// Where a request that came in the clear belongs. `None` if it doesn't say what it asked for: HTTP/1.0 without `Host`,
/// or CONNECT.
pub(crate) fn location(head: &Head<'_>) -> Option<String> {
    let path = match head.target {
        Target::Origin(path) | Target::Absolute { path, .. } => path,
        Target::Asterisk => b"",
        Target::Authority(_) => return None,
    };
    let (host, path) = (std::str::from_utf8(head.host?).ok()?, std::str::from_utf8(path).ok()?);
    // The host is a checked authority and the path visible ASCII: neither can end the field, nor the host begin the
    // path.
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(format!("https://{host}{slash}{path}"))
}

#[cfg(test)]
mod tests {
    use super::super::head::{Scanner, Status, parse};
    use super::*;

    fn location_of(request: &str) -> Option<String> {
        match parse(request.as_bytes(), &mut Scanner::default()) {
            Ok(Status::Complete { head, .. }) => location(&head),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn host_port_path_and_query_are_kept() {
        for (request, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "https://a/"),
            ("GET /b%20c?d=/e HTTP/1.1\r\nHost: a:8443\r\n\r\n", "https://a:8443/b%20c?d=/e"),
            ("GET //evil.example/ HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", "https://[::1]:8443//evil.example/"),
            ("GET http://a:1/b HTTP/1.1\r\nHost: c\r\n\r\n", "https://a:1/b"),
            ("GET http://a?b HTTP/1.1\r\nHost: c\r\n\r\n", "https://a/?b"),
            ("GET http://a HTTP/1.1\r\nHost: c\r\n\r\n", "https://a/"),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "https://a/"),
        ] {
            assert_eq!(location_of(request).as_deref(), Some(expected), "{request}");
        }
    }

    #[test]
    fn without_a_host_there_is_nowhere_to_go() {
        assert_eq!(location_of("GET / HTTP/1.0\r\n\r\n"), None);
        assert_eq!(location_of("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), None);
    }
}
