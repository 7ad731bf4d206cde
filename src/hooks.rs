//! What Python's users reach by subclassing the server.

use crate::address::ClientAddress;
use crate::error::{Error, Refusal};

/// Looks at, and decides on, what happens to a server. All methods have Python's defaults.
///
/// A panic in one of them is counted, and reported to `handle_error` as
/// [`Error::Panicked`]; it ends neither a thread nor the server. A client whose `verify_request`
/// panicked is not served.
pub trait ServerHooks: Send + Sync + 'static {
    /// Whether a connection or datagram is served (Python's `verify_request`). Called after the
    /// PROXY header, if there is one, on the thread or in the process that will serve the request:
    /// a thread of the pool, for [`Synchronous`](crate::Synchronous) the thread of
    /// `serve_forever`. So several threads may call it at the same time, and a slow decision holds
    /// up one of them. Defaults to true.
    fn verify_request(&self, client_address: &ClientAddress) -> bool {
        let _ = client_address;
        true
    }

    /// A handler or another hook failed or panicked, the peer broke a deadline or the protocol, or
    /// no thread or process could be had for a request (Python's `handle_error`). A peer that just
    /// vanished isn't reported. Errors that concern no client, as a panic in `service_actions`,
    /// come with [`ClientAddress::Memory`]. Under [`ForkingMixIn`](crate::ForkingMixIn) it is
    /// called in the child that serves the request, and in the parent for a child that a signal
    /// ended. Defaults to a log line.
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

    /// Called on the thread of `serve_forever` every `poll_interval` (Python's `service_actions`),
    /// also while as many requests are served as may be. Under [`Synchronous`](crate::Synchronous)
    /// it waits for the request that is being served. Defaults to nothing.
    fn service_actions(&self) {}
}

/// The hooks of a server that was given none.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultHooks;

impl ServerHooks for DefaultHooks {}
