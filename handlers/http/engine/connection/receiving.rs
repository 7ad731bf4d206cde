//! Request bodies: passed to a receiver while they arrive, or dropped after the response.

use std::io::{self, Write};

use socketserver::{Next, StreamRequest};

use super::responding::Responding;
use super::{ConnectionState, Flow, HttpHandler};
use crate::engine::application::{Receiving, Reception, Stopped};
use crate::engine::body::{Body, DROPPED_BODY, Progress};
use crate::engine::body_reader::{BodyReader, BodySource, CONTINUE};
use crate::engine::exchange::Exchange;
use crate::protocol::head::OwnedHead;

/// A body that a receiver takes while it arrives.
pub(super) struct ReceivingBody {
    pub(super) head: OwnedHead,
    /// The rest of the body. `None` for a request without a body.
    body: Option<Body>,
    /// Whether the client still waits for 100 (Continue).
    continue_due: bool,
    receiving: Receiving,
}

impl HttpHandler {
    /// Begins to receive a body. Sends 100 (Continue) if the client waits for it.
    pub(super) fn begin_receiving(
        &mut self,
        request: &mut StreamRequest,
        head: OwnedHead,
        body: Option<Body>,
        receiving: Receiving,
    ) -> io::Result<Flow> {
        let mut continue_due = head.head().expect_continue;
        if continue_due && receiving.receiver.sends_continue() {
            request.wfile.write_all(CONTINUE)?;
            continue_due = false;
        }
        self.receive(
            request,
            Box::new(ReceivingBody {
                head,
                body,
                continue_due,
                receiving,
            }),
        )
    }

    /// Passes the part of the body that has arrived to the receiver.
    pub(super) fn receive(
        &mut self,
        request: &mut StreamRequest,
        mut receiving: Box<ReceivingBody>,
    ) -> io::Result<Flow> {
        let receiver = &mut receiving.receiving.receiver;
        let Some(body) = &mut receiving.body else {
            return self.finish_receiving(request, *receiving);
        };
        match receiver.receive(body, &mut request.rfile) {
            Ok(Reception::WantsAll) if !body.is_whole() => {
                self.state = ConnectionState::Receive(receiving);
                Ok(Flow::Wait(Next::in_message()))
            }
            Ok(_) => self.finish_receiving(request, *receiving),
            Err(Stopped::Refused(mut response)) => {
                let ReceivingBody {
                    head,
                    body,
                    continue_due,
                    receiving,
                } = *receiving;
                receiving.complete(&mut response);
                let responding = Responding::before_rest(head, body, continue_due, *response);
                self.respond(request, Box::new(responding))
            }
            Err(Stopped::Malformed(malformed)) => {
                self.refuse(request, Some(receiving.head.bytes()), malformed)
            }
            Err(Stopped::Lost(error)) => Err(error),
        }
    }

    /// Lets the receiver make its response.
    fn finish_receiving(
        &mut self,
        request: &mut StreamRequest,
        receiving: ReceivingBody,
    ) -> io::Result<Flow> {
        let ReceivingBody {
            head: owned,
            mut body,
            mut continue_due,
            receiving,
        } = receiving;
        let head = owned.head();
        let exchange = Exchange::new(&head, &request.client_address, request.server.clock());
        let reader = match &mut body {
            Some(body) => BodyReader::new(BodySource {
                body,
                rfile: &mut request.rfile,
                wfile: &mut request.wfile,
                continue_due: &mut continue_due,
            }),
            None => BodyReader::empty(),
        };
        let response = receiving.finish(&exchange, reader);
        let rest = body.filter(|body| !body.is_whole());
        let responding = Responding::before_rest(owned, rest, continue_due, response);
        self.respond(request, Box::new(responding))
    }

    /// Reads and drops the rest of a body after the response was written.
    pub(super) fn drop_rest(
        &mut self,
        request: &mut StreamRequest,
        mut body: Body,
    ) -> io::Result<Flow> {
        match body.take(&mut request.rfile, |_| {}) {
            Ok(Progress::Whole) => Ok(Flow::Again),
            Ok(Progress::Partial) if body.taken() <= DROPPED_BODY => {
                self.state = ConnectionState::Rest(body);
                Ok(Flow::Wait(Next::in_message()))
            }
            // The response was already written, so no error response can follow.
            Ok(Progress::Partial | Progress::CutShort) | Err(_) => {
                request.linger();
                Ok(Flow::Over)
            }
        }
    }
}
