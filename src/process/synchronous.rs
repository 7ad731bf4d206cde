//! Python's base class: one request after the other.

use super::{ProcessRequest, Request};

/// Serves each request to its end, on the thread of `serve_forever`, before the next is accepted.
///
/// A shutdown ends an idle connection immediately. A message that is under way may be finished
/// within the grace time, at the end of which the connection is aborted. While a handler computes,
/// no thread listens for signals, so SIGTERM takes effect when the handler returns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Synchronous;

impl ProcessRequest for Synchronous {
    fn process_request(&self, request: Request) {
        request.run();
    }
}
