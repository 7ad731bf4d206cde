//! Responses that are decided, and the steps before they are written.

use std::io;
use std::time::Instant;

use socketserver::{Next, StreamRequest};

use super::refusal::first_line;
use super::streaming::{Peer, pause, peer};
use super::{Afterwards, ConnectionState, Flow, HttpHandler};
use crate::engine::application::Failure;
use crate::engine::body::{Body, CUT_SHORT, DROPPED_BODY, Progress};
use crate::engine::pending::PendingState;
use crate::engine::response::{Delivery, Response};
use crate::engine::writer;
use crate::protocol::head::{HeadError, OwnedHead};

/// A response that is decided, with the head of its request.
pub(super) struct Responding {
    pub(super) head: OwnedHead,
    /// The unread rest of the request's body.
    body: Option<Body>,
    /// Whether the body is read and dropped before the response is written.
    pub(super) awaits_body: bool,
    /// Whether the client still waits for 100 (Continue). It may send the body or the next request
    /// after the response, so the connection can't be kept alive.
    continue_due: bool,
    response: Response,
    delivery: Delivery,
    /// The earliest time to write the response. `None` means immediately.
    due: Option<Instant>,
}

impl Responding {
    /// A response that is written before the body is read.
    pub(super) fn before_body(
        head: OwnedHead,
        body: Option<Body>,
        response: Response,
    ) -> Responding {
        let continue_due = head.head().expect_continue;
        Responding::before_rest(head, body, continue_due, response)
    }

    /// A response that is written after the body if the body is short enough to be dropped.
    /// Otherwise the response is written before the body is read.
    pub(super) fn after_body(
        head: OwnedHead,
        body: Option<Body>,
        response: Response,
    ) -> Responding {
        let is_short = body.as_ref().is_some_and(Body::may_be_dropped);
        let responding = Responding::before_body(head, body, response);
        Responding {
            awaits_body: is_short && !responding.continue_due,
            ..responding
        }
    }

    /// A response that is written before the rest of the body is read. `continue_due` says whether
    /// the client still waits for 100 (Continue).
    pub(super) fn before_rest(
        head: OwnedHead,
        body: Option<Body>,
        continue_due: bool,
        mut response: Response,
    ) -> Responding {
        let delivery = response.take_delivery().map(|delivery| *delivery);
        Responding {
            head,
            body,
            awaits_body: false,
            continue_due,
            response,
            delivery: delivery.unwrap_or_default(),
            due: None,
        }
    }
}

impl HttpHandler {
    /// Writes the response, unless it must still wait for the body, a delay or pending headers.
    pub(super) fn respond(
        &mut self,
        request: &mut StreamRequest,
        mut responding: Box<Responding>,
    ) -> io::Result<Flow> {
        match responding.drop_body(request) {
            Ok(true) => {}
            Ok(false) => return self.wait(responding, Next::in_message()),
            Err(malformed) => {
                return self.refuse(request, Some(responding.head.bytes()), malformed);
            }
        }
        let now = request.server.clock().now();
        let delay = std::mem::take(&mut responding.delivery.delay);
        if !delay.is_zero() {
            responding.due = Some(now + delay);
        }
        if let Some(due) = responding.due.filter(|due| *due > now) {
            return self.wait(responding, pause(due - now));
        }
        match responding.advance(request)? {
            PendingState::Ready(lines) => responding.response.headers += &lines,
            PendingState::Again => return self.wait(responding, Next::Again),
            PendingState::After(time) => return self.wait(responding, pause(time)),
        }
        self.write(request, *responding)
    }

    fn wait(&mut self, responding: Box<Responding>, next: Next) -> io::Result<Flow> {
        self.state = ConnectionState::Respond(responding);
        Ok(Flow::Wait(next))
    }

    fn write(&mut self, request: &mut StreamRequest, responding: Responding) -> io::Result<Flow> {
        let Responding {
            head: owned,
            body,
            continue_due,
            response,
            delivery,
            ..
        } = responding;
        if let Some(Failure::Lost(error)) = delivery.failure {
            return Err(error);
        }
        let head = owned.head();
        let keeps_connection = body
            .as_ref()
            .is_none_or(|body| body.may_be_dropped() && !continue_due);
        let mut frame = self.frame_of(request, &head);
        frame.keep_alive &= keeps_connection && !delivery.closes && delivery.failure.is_none();
        let written = writer::write(&mut request.wfile, frame, response)?;
        let line = first_line(owned.bytes());
        self.log(request, line, Some(&head), &written, delivery.user);
        let afterwards = Afterwards {
            rest: body,
            http_1_0: frame.http_1_0,
            failure: delivery.failure,
        };
        self.follow(request, written, afterwards)
    }
}

impl Responding {
    /// Drops the part of the body that has arrived. Returns false if the response must wait for
    /// more of the body.
    ///
    /// # Errors
    /// The body is malformed, which makes the whole request malformed.
    fn drop_body(&mut self, request: &mut StreamRequest) -> Result<bool, HeadError> {
        let is_held_back = !self.delivery.delay.is_zero() || self.due.is_some();
        // While a response is delayed, the body is dropped too. Otherwise it would fill the buffer.
        if !self.awaits_body && !is_held_back {
            return Ok(true);
        }
        let Some(body) = &mut self.body else {
            return Ok(true);
        };
        match body.take(&mut request.rfile, |_| {})? {
            Progress::Whole => self.body = None,
            Progress::Partial if self.awaits_body && body.taken() <= DROPPED_BODY => {
                return Ok(false);
            }
            Progress::CutShort if self.awaits_body => return Err(CUT_SHORT),
            Progress::Partial | Progress::CutShort => {}
        }
        self.awaits_body = false;
        Ok(true)
    }

    /// Advances the computation of the pending header lines by one step.
    fn advance(&mut self, request: &StreamRequest) -> io::Result<PendingState> {
        let Some(pending) = &mut self.delivery.pending else {
            return Ok(PendingState::Ready(String::new()));
        };
        match peer(request)? {
            Peer::Here => {}
            Peer::HalfClosed => pending.hurry(),
            Peer::Gone => return Err(io::ErrorKind::ConnectionReset.into()),
        }
        pending.advance()
    }
}
