//! Responses that are made only after the request's body was read and dropped.

use socketserver::RFile;

use super::application::{Begun, Receiver, Reception, Stopped};
use super::body::{Body, CUT_SHORT, DROPPED_BODY, Progress};
use super::body_reader::BodyReader;
use super::exchange::Exchange;
use super::response::Response;

/// Makes the response to a request that changes something. If the request has a body, the body is
/// read and dropped first: a malformed body makes the whole request malformed, and a malformed
/// request must not change anything.
pub fn after_body(
    exchange: &Exchange<'_>,
    respond: impl FnOnce(&Exchange<'_>) -> Response + Send + 'static,
) -> Begun {
    if !exchange.has_body() {
        return Begun::Respond(respond(exchange));
    }
    let is_dropped = !exchange.head.expect_continue;
    Begun::receive(AfterBody {
        is_dropped,
        respond,
    })
}

struct AfterBody<F> {
    /// Whether the body is read and dropped before the response. False if the client waits for 100
    /// (Continue): such a client gets the response instead.
    is_dropped: bool,
    /// Makes the response.
    respond: F,
}

impl<F> Receiver for AfterBody<F>
where
    F: FnOnce(&Exchange<'_>) -> Response + Send + 'static,
{
    fn receive(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<Reception, Stopped> {
        if !self.is_dropped || !body.may_be_dropped() {
            return Ok(Reception::Enough);
        }
        match body.take(rfile, |_| {}).map_err(Stopped::Malformed)? {
            Progress::Partial if body.taken() <= DROPPED_BODY => Ok(Reception::WantsAll),
            Progress::Partial | Progress::Whole => Ok(Reception::Enough),
            Progress::CutShort => Err(Stopped::Malformed(CUT_SHORT)),
        }
    }

    fn sends_continue(&self) -> bool {
        false
    }

    fn finish(self: Box<Self>, exchange: &Exchange<'_>, _: BodyReader<'_>) -> Response {
        (self.respond)(exchange)
    }
}
