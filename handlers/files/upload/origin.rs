//! Requests that a browser sends on behalf of a page from elsewhere: without a check, any page that
//! somebody visits could store files here.

use super::refusal::say;
use crate::files::site::options::Policy;
use socketserver_http::engine::response::Response;
use socketserver_http::protocol::head::Head;

/// # Errors
/// 403: a page of another origin asks for a change, and it isn't one that `--cors` names.
pub(super) fn check(policy: &Policy, head: &Head<'_>) -> Result<(), Response> {
    let value = |name| head.values(name).next();
    let is_own = match (value("sec-fetch-site"), value("origin")) {
        // Fetch Metadata: the browser's own word; no page can set the field.
        (Some(site), _) => site == b"same-origin" || site == b"none",
        (None, Some(origin)) => is_of(origin, head.host),
        (None, None) => true, // no browser, or nobody's page
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
