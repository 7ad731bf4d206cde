//! Settings of a server whose clients must use TLS. Clients without TLS are redirected to HTTPS.
//! Clients with TLS may get `Strict-Transport-Security` (HSTS).

use std::time::Duration;

use super::error_page::error_page;
use super::response::Response;
use crate::protocol::head::{Head, TargetForm};

const DEFAULT_PORT: u16 = 443;

/// How clients are made to use TLS.
#[derive(Clone, Copy, Debug)]
pub struct Https {
    /// How long browsers must use HTTPS for this site (RFC 6797 §6.1.1).
    pub hsts: Option<Duration>,
    /// The port to which clients without TLS are redirected. `None` means the port of the request,
    /// which then accepts connections with and without TLS.
    pub port: Option<u16>,
}

impl Https {
    /// The response to a request without TLS.
    pub fn redirect(self, head: &Head<'_>) -> Response {
        match self.location(head) {
            // With 308 the method stays the same, so a POST stays a POST. The redirect must not be
            // cached: a later configuration may serve the port without TLS again.
            Some(location) => error_page(308, "This site uses HTTPS.")
                .header("Location", &location)
                .header("Cache-Control", "no-store"),
            None => error_page(
                400,
                "This site uses HTTPS, and the request has no host to redirect to.",
            ),
        }
    }

    /// The HTTPS URL of a request that was sent without TLS. `None` if the request has no complete
    /// URL: HTTP/1.0 without `Host`, or CONNECT.
    fn location(self, head: &Head<'_>) -> Option<String> {
        let path = match head.target {
            TargetForm::Origin(path) | TargetForm::Absolute { path, .. } => path,
            TargetForm::Asterisk => b"",
            TargetForm::Authority(_) => return None,
        };
        let (host, path) = (
            std::str::from_utf8(head.host?).ok()?,
            std::str::from_utf8(path).ok()?,
        );
        let host = match self.port {
            None => host.to_owned(),
            Some(DEFAULT_PORT) => without_port(host).to_owned(),
            Some(port) => format!("{}:{port}", without_port(host)),
        };
        // The host is a checked authority and the path is visible ASCII. So neither contains a line
        // end, which would end the header, and the host contains no slash.
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(format!("https://{host}{slash}{path}"))
    }
}

/// The host of an authority, without the port. An IPv6 address keeps its brackets.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::head::{Scanner, Status, parse};

    fn location_of(request: &str) -> Option<String> {
        location_at(None, request)
    }

    fn location_at(port: Option<u16>, request: &str) -> Option<String> {
        match parse(request.as_bytes(), &mut Scanner::default()) {
            Ok(Status::Complete { head, .. }) => Https { hsts: None, port }.location(&head),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn host_port_path_and_query_are_kept() {
        for (request, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "https://a/"),
            (
                "GET /b%20c?d=/e HTTP/1.1\r\nHost: a:8443\r\n\r\n",
                "https://a:8443/b%20c?d=/e",
            ),
            (
                "GET //evil.example/ HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n",
                "https://[::1]:8443//evil.example/",
            ),
            (
                "GET http://a:1/b HTTP/1.1\r\nHost: c\r\n\r\n",
                "https://a:1/b",
            ),
            ("GET http://a?b HTTP/1.1\r\nHost: c\r\n\r\n", "https://a/?b"),
            ("GET http://a HTTP/1.1\r\nHost: c\r\n\r\n", "https://a/"),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "https://a/"),
        ] {
            assert_eq!(location_of(request).as_deref(), Some(expected), "{request}");
        }
    }

    #[test]
    fn another_port_takes_the_place_of_the_one_that_was_asked() {
        for (host, port, expected) in [
            ("a", 443, "https://a/"),
            ("a:8080", 443, "https://a/"),
            ("a", 8443, "https://a:8443/"),
            ("a:80", 8443, "https://a:8443/"),
            ("[::1]", 443, "https://[::1]/"),
            ("[::1]:8080", 8443, "https://[::1]:8443/"),
        ] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(
                location_at(Some(port), &request).as_deref(),
                Some(expected),
                "{host} {port}"
            );
        }
    }

    #[test]
    fn without_a_host_there_is_nowhere_to_go() {
        assert_eq!(location_of("GET / HTTP/1.0\r\n\r\n"), None);
        assert_eq!(
            location_of("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
            None
        );
    }
}
