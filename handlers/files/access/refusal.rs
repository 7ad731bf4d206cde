//! The responses of access control to refused requests.

use std::time::Duration;

use socketserver_http::engine::error_page::error_page;
use socketserver_http::engine::response::Response;

use crate::accounts::share::ShareError;

/// The challenge (RFC 7617 §2 and §2.1): one realm for the whole site, and user names and passwords
/// in UTF-8.
const CHALLENGE: &str = "Basic realm=\"socketserver\", charset=\"UTF-8\"";

/// The response to a request without credentials or with wrong ones (RFC 9110 §15.5.2).
pub(super) fn unauthorized() -> Response {
    error_page(401, "This needs a user name and a password.").header("WWW-Authenticate", CHALLENGE)
}

/// The response to an identified client without the needed right (RFC 9110 §15.5.4).
pub(super) fn forbidden() -> Response {
    error_page(403, "You do not have the right to do this here.")
}

/// The response if too many passwords are being checked. The client may try again after `again`.
pub(super) fn busy(again: Duration) -> Response {
    let seconds = again.as_millis().div_ceil(1000).max(1);
    error_page(503, "Too many passwords are being checked. Try again soon.")
        .header("Retry-After", &seconds.to_string())
}

/// The response to a request with a share link that is not valid.
pub(super) fn of_share(error: &ShareError) -> Response {
    let status = match error {
        ShareError::Invalid | ShareError::OtherPath => 403,
        ShareError::Expired | ShareError::UsedUp => 410,
        ShareError::Accounts(error) => {
            log::error!("{error}");
            return error_page(500, "The server cannot look up this link.");
        }
    };
    let text = error.to_string();
    // A sentence begins with a capital.
    error_page(
        status,
        &format!("T{}.", text.strip_prefix('t').unwrap_or(&text)),
    )
}
