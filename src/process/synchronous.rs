//! Python's base class: one request after the other.

use super::{ProcessRequest, Request};

/// Serves each request to its end, on the thread of `serve_forever`, before the next is accepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Synchronous;

impl ProcessRequest for Synchronous {
    fn process_request(&self, request: Request) {
        request.run();
    }
}
