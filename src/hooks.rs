//! What Python's users reach by subclassing the server.

use crate::address::ClientAddress;
use crate::error::{Error, Refusal};

/// Looks at, and decides on, what happens to a server. All methods have Python's defaults.
pub trait ServerHooks: Send + Sync + 'static {
    /// Whether a connection or datagram is served (Python's `verify_request`). Called on the
    /// accepting thread, after the PROXY header if there is one: decide fast. Defaults to true.
    fn verify_request(&self, client_address: &ClientAddress) -> bool {
        let _ = client_address;
        true
    }

    /// A handler failed or panicked, or the peer broke a deadline or the protocol (Python's
    /// `handle_error`). A peer that just vanished isn't reported. Defaults to a log line.
    fn handle_error(&self, client_address: &ClientAddress, error: &Error) {
        log::warn!("{client_address}: {error}");
    }

    /// A connection was refused; the answer is sent, as far as it goes without waiting, before it
    /// closes. Defaults to no answer.
    fn handle_refusal(&self, client_address: &ClientAddress, why: Refusal) -> Option<&[u8]> {
        log::debug!("{client_address}: refused: {why}");
        None
    }

    /// `handle_request` waited for its `timeout` in vain (Python's `handle_timeout`). Defaults to
    /// nothing.
    fn handle_timeout(&self) {}

    /// Called by `serve_forever` every `poll_interval` (Python's `service_actions`). Defaults to
    /// nothing.
    fn service_actions(&self) {}
}

/// The hooks of a server that was given none.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultHooks;

impl ServerHooks for DefaultHooks {}
