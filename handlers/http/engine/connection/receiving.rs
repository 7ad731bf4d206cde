//! Request bodies: passed to a receiver while they arrive, or dropped after the response.

use std::io::{self, Write};

use socketserver::{Next, StreamRequest};

use super::responding::Responding;
use super::{ConnectionState, Flow, HttpHandler};
use crate::engine::application::{Receiving, Reception, Stopped};
use crate::engine::body::{Body, DROPPED_BODY, Progress};
use crate::engine::body_reader::{BodyReader, BodySource, CONTINUE};
use crate::engine::exchange::Exchange;
use crate::engine::response::Response;
use crate::protocol::head::{self, Scanner, Status};

/// A body that a receiver takes while it arrives.
pub(super) struct ReceivingBody {
    /// The bytes of the request's head.
    pub(super) head: Vec<u8>,
    body: Body,
    /// Whether the client still waits for 100 (Continue).
    continue_due: bool,
    receiving: Receiving,
}

impl HttpHandler {
    /// Begins to receive a body. Sends 100 (Continue) if the client waits for it.
    pub(super) fn begin_receiving(
        &mut self,
        request: &mut StreamRequest,
        head: Vec<u8>,
        body: Option<Body>,
        mut continue_due: bool,
        receiving: Receiving,
    ) -> io::Result<Flow> {
        let Some(body) = body else {
            return self.finish_receiving(request, head, None, false, receiving);
        };
        if continue_due && receiving.receiver.sends_continue() {
            request.wfile.write_all(CONTINUE)?;
            continue_due = false;
        }
        self.state = ConnectionState::Receive(Box::new(ReceivingBody {
            head,
            body,
            continue_due,
            receiving,
        }));
        Ok(Flow::Again)
    }

    /// Passes the part of the body that has arrived to the receiver.
    pub(super) fn receive(
        &mut self,
        request: &mut StreamRequest,
        mut receiving: Box<ReceivingBody>,
    ) -> io::Result<Flow> {
        let body = &mut receiving.body;
        let received = receiving
            .receiving
            .receiver
            .receive(body, &mut request.rfile);
        match received {
            Ok(Reception::WantsAll) if !body.is_whole() => {
                self.state = ConnectionState::Receive(receiving);
                Ok(Flow::Wait(Next::in_message()))
            }
            Ok(_) => {
                let ReceivingBody {
                    head,
                    body,
                    continue_due,
                    receiving,
                } = *receiving;
                self.finish_receiving(request, head, Some(body), continue_due, receiving)
            }
            Err(Stopped::Refused(response)) => {
                let ReceivingBody {
                    head,
                    body,
                    continue_due,
                    receiving,
                } = *receiving;
                let response = completed(*response, receiving);
                let responding = Responding::now(head, Some(body), continue_due, response);
                self.respond(request, Box::new(responding))
            }
            Err(Stopped::Malformed(malformed)) => {
                self.refuse(request, Some(&receiving.head), malformed)
            }
            Err(Stopped::Lost(error)) => Err(error),
        }
    }

    /// Lets the receiver make its response.
    fn finish_receiving(
        &mut self,
        request: &mut StreamRequest,
        head_bytes: Vec<u8>,
        mut body: Option<Body>,
        mut continue_due: bool,
        receiving: Receiving,
    ) -> io::Result<Flow> {
        let Receiving { receiver, complete } = receiving;
        let Ok(Status::Complete { head, .. }) = head::parse(&head_bytes, &mut Scanner::default())
        else {
            return Ok(Flow::Over); // unreachable: these bytes were parsed before
        };
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
        let mut response = receiver.finish(&exchange, reader);
        if let Some(complete) = complete {
            complete(&mut response);
        }
        let rest = body.filter(|body| !body.is_whole());
        let responding = Responding::now(head_bytes, rest, continue_due, response);
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

fn completed(mut response: Response, receiving: Receiving) -> Response {
    if let Some(complete) = receiving.complete {
        complete(&mut response);
    }
    response
}
