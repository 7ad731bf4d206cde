//! Refusals, and why some are sent late.

use std::io;
use std::time::Instant;

use socketserver::{StreamRequest, Wait};

use super::{ConnectionState, Flow, HttpHandler};
use crate::files::access::Refused;
use crate::http::engine::body::Body;
use crate::http::engine::message::Response;

/// A refusal that waits for its time while the connection is parked. The answer to a wrong password
/// comes late, so that guessing passwords takes long.
pub(super) struct Delayed {
    head: Vec<u8>,
    body: Option<Body>,
    continue_due: bool,
    response: Response,
    due: Instant,
}

impl HttpHandler {
    /// Refuses a request whose head is no longer in the buffer.
    pub(super) fn reject(
        &mut self,
        request: &mut StreamRequest,
        head: Vec<u8>,
        body: Option<Body>,
        continue_due: bool,
        refused: Refused,
    ) -> io::Result<Flow> {
        let Refused {
            response,
            after,
            permit,
        } = refused;
        self.permit = permit;
        let due = request.server.clock().now() + after;
        self.delay(
            request,
            Box::new(Delayed {
                head,
                body,
                continue_due,
                response,
                due,
            }),
        )
    }

    /// Answers, if it is time for that.
    pub(super) fn delay(
        &mut self,
        request: &mut StreamRequest,
        mut delayed: Box<Delayed>,
    ) -> io::Result<Flow> {
        let now = request.server.clock().now();
        if now < delayed.due {
            // Whatever comes of the body meanwhile mustn't fill the buffer.
            if let Some(Err(malformed)) = delayed
                .body
                .as_mut()
                .map(|body| body.take(&mut request.rfile, |_| {}))
            {
                return self.refuse(request, Some(&delayed.head), malformed);
            }
            let wait = Wait::new().in_message().after(delayed.due - now);
            self.state = ConnectionState::Delayed(delayed);
            return Ok(Flow::Wait(wait.into()));
        }
        let Delayed {
            head,
            body,
            continue_due,
            response,
            ..
        } = *delayed;
        self.begin_receiving(request, head, body, continue_due, Err(response))
    }
}
