//! Python's base class: one request after the other.

use super::{ProcessRequest, Request};

/// Serves each request to its end, on the thread of `serve_forever`, before the next is accepted.
///
/// While a handler waits within a message for bytes that it needs, nobody listens for signals:
/// SIGTERM is heard when they have come, or the read time-out has passed. Handlers that answer
/// [`Next::Wait`](crate::Next::Wait) instead hold up nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Synchronous;

impl ProcessRequest for Synchronous {
    fn process_request(&self, request: Request) {
        request.run();
    }
}
