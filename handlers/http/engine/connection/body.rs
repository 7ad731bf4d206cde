//! Requests with a body: awaited, given to a receiver, or dropped.

use std::io::{self, Write};

use socketserver::{Next, StreamRequest};

use super::refusal::first_line;
use super::{ConnectionState, Flow, HttpHandler};
use crate::http::engine::application::{Incoming, Receiver, Stopped};
use crate::http::engine::body::{Body, CUT_SHORT, DROPPED_BODY, Progress};
use crate::http::engine::body_reader::{BodyReader, CONTINUE};
use crate::http::engine::message::Response;
use crate::http::engine::reply;
use crate::http::engine::reply::Frame;
use crate::http::protocol::head;
use crate::http::protocol::head::{Framing, Head, Scanner, Status};

/// Maximum number of bytes of a body that are gathered, while the connection is parked, before the
/// application is asked for the answer. The application reads the rest of a longer body. A client
/// therefore holds a thread only after it has sent this much, not by announcing a long body.
const MAX_GATHERED: usize = 64 * 1024;

/// What is done with a body before the request is answered.
pub(super) enum BodyPlan {
    /// Nothing.
    Answer,
    /// It is awaited and dropped.
    Drop,
    /// Up to this many bytes of it are awaited and kept.
    Gather(usize),
}

impl BodyPlan {
    /// `max_body` is what the application reads of it; `None` if it doesn't want the body.
    pub(super) fn of(head: &Head<'_>, max_body: Option<u64>) -> BodyPlan {
        if head.expect_continue {
            return BodyPlan::Answer; // only the application knows whether the body is to come
        }
        match (max_body, head.body) {
            (None, Framing::Length(length)) if length > DROPPED_BODY => BodyPlan::Answer,
            (None, _) => BodyPlan::Drop,
            (Some(max), Framing::Length(length)) if length <= max => BodyPlan::Gather(MAX_GATHERED),
            // One byte more than is allowed shows that the body is too long.
            (Some(max), Framing::Chunked) => {
                let max = usize::try_from(max).unwrap_or(usize::MAX);
                BodyPlan::Gather(max.saturating_add(1).min(MAX_GATHERED))
            }
            (Some(_), _) => BodyPlan::Answer,
        }
    }
}

/// A body that is being gathered.
pub(super) struct Gathering {
    pub(super) head: Vec<u8>,
    pub(super) body: Body,
    pub(super) content: Vec<u8>,
    /// Maximum length of `content`, in bytes.
    pub(super) max: usize,
}

impl HttpHandler {
    /// Keeps what has come of a body; answers when all of it is there, or as much as is kept.
    pub(super) fn gather(
        &mut self,
        request: &mut StreamRequest,
        mut gathering: Gathering,
    ) -> io::Result<Flow> {
        let Gathering {
            head,
            body,
            content,
            max,
        } = &mut gathering;
        let left = max.saturating_sub(content.len());
        let taken = body.take_up_to(&mut request.rfile, left, |piece| {
            content.extend_from_slice(piece);
        });
        match taken {
            Ok(Progress::Partial) if content.len() < *max => {
                self.state = ConnectionState::Gather(gathering);
                Ok(Flow::Wait(Next::in_message()))
            }
            Ok(Progress::CutShort) => self.refuse(request, Some(head), CUT_SHORT),
            Err(refused) => self.refuse(request, Some(head), refused),
            Ok(Progress::Partial | Progress::Whole) => {
                let Gathering {
                    head,
                    body,
                    content,
                    ..
                } = gathering;
                self.answer_with_body(request, &head, body, content)
            }
        }
    }

    /// Drops what has come of an unwanted body; answers when all of it has come.
    pub(super) fn take_body(
        &mut self,
        request: &mut StreamRequest,
        head: Vec<u8>,
        mut body: Body,
    ) -> io::Result<Flow> {
        match body.take(&mut request.rfile, |_| {}) {
            Ok(Progress::Partial) if body.taken() <= DROPPED_BODY => {
                self.state = ConnectionState::Body { head, body };
                Ok(Flow::Wait(Next::in_message()))
            }
            Ok(Progress::Partial | Progress::Whole) => {
                self.answer_with_body(request, &head, body, Vec::new())
            }
            Ok(Progress::CutShort) => self.refuse(request, Some(&head), CUT_SHORT),
            Err(refused) => self.refuse(request, Some(&head), refused),
        }
    }

    /// Lets the client send its body, or sends the refusal at once.
    pub(super) fn begin_receiving(
        &mut self,
        request: &mut StreamRequest,
        head: Vec<u8>,
        body: Option<Body>,
        continue_due: bool,
        receiver: std::result::Result<Box<dyn Receiver>, Response>,
    ) -> io::Result<Flow> {
        match (receiver, body) {
            (Ok(receiver), Some(body)) => {
                if continue_due {
                    request.wfile.write_all(CONTINUE)?;
                }
                self.state = ConnectionState::Receive {
                    head,
                    body,
                    receiver,
                };
                Ok(Flow::Again)
            }
            (Ok(receiver), None) => self.answer_received(request, &head, None, receiver.finish()),
            // A client that waits for 100 (Continue) may send the body all the same, so where the
            // next request begins is not known.
            (Err(response), Some(body)) if continue_due => {
                self.answer_received(request, &head, Some((body, false)), response)
            }
            (Err(response), body) => {
                self.answer_received(request, &head, body.map(droppable), response)
            }
        }
    }

    /// Has the receiver take what has come of the body.
    pub(super) fn receive(
        &mut self,
        request: &mut StreamRequest,
        head: Vec<u8>,
        mut body: Body,
        mut receiver: Box<dyn Receiver>,
    ) -> io::Result<Flow> {
        match receiver.receive(&mut body, &mut request.rfile) {
            Ok(()) if body.is_whole() => {
                self.answer_received(request, &head, None, receiver.finish())
            }
            Ok(()) => {
                self.state = ConnectionState::Receive {
                    head,
                    body,
                    receiver,
                };
                Ok(Flow::Wait(Next::in_message()))
            }
            Err(Stopped::Refused(response)) => {
                self.answer_received(request, &head, Some(droppable(body)), *response)
            }
            Err(Stopped::Malformed(malformed)) => self.refuse(request, Some(&head), malformed),
            Err(Stopped::Lost(error)) => Err(error),
        }
    }

    /// Answers a request that had a receiver. With what is left of its body stands whether that may
    /// be dropped.
    fn answer_received(
        &mut self,
        request: &mut StreamRequest,
        bytes: &[u8],
        rest: Option<(Body, bool)>,
        response: Response,
    ) -> io::Result<Flow> {
        let Ok(Status::Complete { head, .. }) = head::parse(bytes, &mut Scanner::default()) else {
            return Ok(Flow::Over); // can't be: these bytes were a whole head before
        };
        let go_on = rest
            .as_ref()
            .is_none_or(|(_, may_be_dropped)| *may_be_dropped);
        let frame = self.frame_of(request, &head);
        let frame = Frame {
            keep_alive: frame.keep_alive && go_on,
            ..frame
        };
        let answer = reply::response(&mut request.wfile, frame, response)?;
        self.log(request, first_line(bytes), Some(&head), &answer);
        self.resume(request, answer, rest.map(|(body, _)| body), frame.http_1_0)
    }

    /// Answers a request whose body may still be read, and whose head is no longer in the buffer.
    pub(super) fn answer_with_body(
        &mut self,
        request: &mut StreamRequest,
        bytes: &[u8],
        mut body: Body,
        gathered: Vec<u8>,
    ) -> io::Result<Flow> {
        let Ok(Status::Complete { head, .. }) = head::parse(bytes, &mut Scanner::default()) else {
            return Ok(Flow::Over); // can't be: these bytes were a whole head before
        };
        let frame = self.frame_of(request, &head);
        let reader = BodyReader::new(
            gathered,
            (&mut body, &mut request.rfile),
            &mut request.wfile,
            head.expect_continue,
        );
        // For an application that doesn't look at bodies, it is decided here what becomes of the
        // connection.
        let keep_alive = frame.keep_alive
            && (self.application.max_body(&head).is_some() || reader.keeps_connection());
        let frame = Frame {
            keep_alive,
            ..frame
        };
        let (client_address, permit) = (&request.client_address, &self.permit);
        let incoming = Incoming {
            head: &head,
            client_address,
            permit,
            body: reader,
        };
        let answer = self.application.respond(incoming, frame)?;
        self.log(request, first_line(bytes), Some(&head), &answer);
        let rest = (!body.is_whole()).then_some(body);
        self.resume(request, answer, rest, frame.http_1_0)
    }

    /// Drops what was left unread of an answered request's body.
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
            // The answer is out: there is nothing left to say.
            Ok(Progress::Partial | Progress::CutShort) | Err(_) => {
                request.linger();
                Ok(Flow::Over)
            }
        }
    }
}

/// What is left of a body, and whether it is short enough to be dropped.
fn droppable(body: Body) -> (Body, bool) {
    let may_be_dropped = body.may_be_dropped();
    (body, may_be_dropped)
}
