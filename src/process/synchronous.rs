//! Python's base class: one request after the other.

use super::{ProcessRequest, Request};

/// Serves each request to its end, on the thread of `serve_forever`, before the next is accepted.
///
/// A shutdown ends an idle connection at once. It lets a message that is under way be finished
/// within the grace time, at whose end the connection is aborted. While a handler computes, nobody
/// listens for signals: SIGTERM is heard when it returns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Synchronous;

impl ProcessRequest for Synchronous {
    fn process_request(&self, request: Request) {
        request.run();
    }
}
