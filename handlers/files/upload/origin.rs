//! Refuses changes that a browser sends for a page of another origin. Without this check, any page
//! that a user visits could store files on this server.

use socketserver_http::engine::response::Response;
use socketserver_http::protocol::head::Head;

use super::refusal::say;
use crate::files::site::options::Policy;

/// Checks the origin of a request that changes something.
///
/// # Errors
/// 403: the request comes from a page of another origin, which `--cors` does not name.
pub(super) fn check(policy: &Policy, head: &Head<'_>) -> Result<(), Response> {
    let value = |name| head.values(name).next();
    let is_own = match (value("sec-fetch-site"), value("origin")) {
        // Fetch Metadata: the browser sets this header, and no page can change it.
        (Some(site), _) => site == b"same-origin" || site == b"none",
        (None, Some(origin)) => is_of(origin, head.host),
        (None, None) => true, // not a request of a page in a browser
    };
    let is_allowed = || value("origin").is_some_and(|origin| policy.allows(origin));
    if is_own || is_allowed() {
        Ok(())
    } else {
        Err(say(
            403,
            "Pages of other sites may not change anything here.",
        ))
    }
}

/// Whether an origin (RFC 6454 §6.2) has this host and port.
fn is_of(origin: &[u8], host: Option<&[u8]>) -> bool {
    let without_scheme = origin
        .strip_prefix(b"http://")
        .or_else(|| origin.strip_prefix(b"https://"));
    without_scheme
        .zip(host)
        .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
}
