//! The answer to a request that isn't let through.

use std::io;
use std::time::Instant;

use socketserver::{StreamRequest, Wait};

use super::{Doing, HttpHandler, Turn};
use crate::http::access::Refused;
use crate::http::body::Body;
use crate::http::message::Response;

/// It may be held back, with the connection parked: who guesses passwords learns only later that
/// another one was wrong.
pub(super) struct HeldBack {
    head: Vec<u8>,
    body: Option<Body>,
    continue_due: bool,
    response: Response,
    due: Instant,
}

impl HttpHandler {
    /// Refuses a request whose head is no longer in the buffer.
    pub(super) fn turn_away(
        &mut self,
        request: &mut StreamRequest,
        head: Vec<u8>,
        body: Option<Body>,
        continue_due: bool,
        refused: Refused,
    ) -> io::Result<Turn> {
        let Refused {
            response,
            after,
            permit,
        } = refused;
        self.permit = permit;
        let due = request.server.clock().now() + after;
        self.hold_back(
            request,
            HeldBack {
                head,
                body,
                continue_due,
                response,
                due,
            },
        )
    }

    /// Answers, if it is time for that.
    pub(super) fn hold_back(
        &mut self,
        request: &mut StreamRequest,
        mut held: HeldBack,
    ) -> io::Result<Turn> {
        let now = request.server.clock().now();
        if now < held.due {
            // Whatever comes of the body meanwhile mustn't fill the buffer.
            if let Some(Err(malformed)) = held
                .body
                .as_mut()
                .map(|body| body.take(&mut request.rfile, |_| {}))
            {
                return self.refuse(request, Some(&held.head), malformed);
            }
            let wait = Wait::new().in_message().after(held.due - now);
            self.doing = Doing::HoldBack(held);
            return Ok(Turn::Wait(wait.into()));
        }
        let HeldBack {
            head,
            body,
            continue_due,
            response,
            ..
        } = held;
        self.begin_receiving(request, head, body, continue_due, Err(response))
    }
}
