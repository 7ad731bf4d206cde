//! One connection: a request, its response, and the next.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use socketserver::{Next, Result, StreamRequest, StreamRequestHandler, Timeout, WFile};

use crate::common::access_log::{AccessLog, Record};
use crate::common::share::without_token;

use super::access::{AccessControl, Permit};
use super::application::{Answer, Application, Incoming, Receiver, Stopped};
use super::body::{Body, DROPPED_BODY, Progress};
use super::date;
use super::head::{self, Framing, Head, HeadError, Method, Scanner, Status};
use super::https::Https;
use super::message::{BodyReader, CONTINUE, Response};
use super::reply::{self, Frame, Sent};
use held_back::HeldBack;
use streaming::Streaming;

mod held_back;
mod streaming;

/// Requests that are answered in one go before the answers are sent: what a pipelining client has
/// sent at once.
const PIPELINED: usize = 16;

/// Bytes of a refused request's line that are logged.
const LOGGED_LINE: usize = 1024;

/// Serves one HTTP connection.
pub struct HttpHandler {
    application: Arc<dyn Application>,
    access_log: Option<Arc<AccessLog>>,
    https: Option<Https>,
    /// Whether requests are let through only for those who may.
    access: Option<Arc<AccessControl>>,
    /// What the client may do with the request that is being answered.
    permit: Permit,
    scanner: Scanner,
    doing: Doing,
}

/// What a connection is busy with between two calls of `handle`.
enum Doing {
    /// The next request's head.
    Head,
    /// The body of a request that is answered when all of that is there: a malformed one makes the
    /// whole request malformed. The head's bytes are kept, as parsing them again costs less than
    /// keeping the result apart from them.
    Body { head: Vec<u8>, body: Body },
    /// The body of a request whose receiver takes it as it comes; the answer follows its end.
    Receive {
        head: Vec<u8>,
        body: Body,
        receiver: Box<dyn Receiver>,
    },
    /// A request that isn't let through.
    HoldBack(HeldBack),
    /// What an answered request's handler didn't read of its body.
    Rest(Body),
    /// An answer that is made piece by piece.
    Stream(Streaming),
    /// Another protocol, for good.
    Upgraded(Box<dyn StreamRequestHandler>),
}

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The next step can follow at once.
    Again,
    /// The connection waits: for more bytes, or as it says.
    Wait(Next),
    /// The connection ends.
    Over,
}

impl HttpHandler {
    /// A handler of a new connection.
    pub(crate) fn new(
        application: Arc<dyn Application>,
        access_log: Option<Arc<AccessLog>>,
    ) -> HttpHandler {
        HttpHandler {
            application,
            access_log,
            https: None,
            access: None,
            permit: Permit::default(),
            scanner: Scanner::default(),
            doing: Doing::Head,
        }
    }

    /// The same for a service that runs with TLS.
    pub(crate) fn with_https(self, https: Option<Https>) -> HttpHandler {
        HttpHandler { https, ..self }
    }

    /// The same for a site that isn't everybody's.
    pub(crate) fn with_access(self, access: Option<Arc<AccessControl>>) -> HttpHandler {
        HttpHandler { access, ..self }
    }

    /// What is said of HSTS on this connection.
    fn hsts(&self, request: &StreamRequest) -> Option<Duration> {
        self.https
            .and_then(|https| https.hsts)
            .filter(|_| request.is_tls())
    }

    fn frame_of(&self, request: &StreamRequest, head: &Head<'_>) -> Frame {
        let frame = Frame::of(head, !request.server.is_shutting_down(), self.hsts(request));
        Frame {
            sharing: self.permit.sharing(),
            ..frame
        }
    }

    fn log(&self, request: &StreamRequest, line: &[u8], head: Option<&Head<'_>>, sent: Sent) {
        let Some(log) = &self.access_log else { return };
        let line = if self.access.is_some() {
            without_token(line)
        } else {
            line.into()
        };
        log.log(&Record {
            client: &request.client_address,
            user: self.permit.user(),
            request_line: if line.is_empty() { b"-" } else { &line },
            status: sent.status,
            bytes: sent.bytes,
            referer: head.and_then(|head| head.referer),
            user_agent: head.and_then(|head| head.user_agent),
            date: &date::now(),
        });
    }

    /// Refuses what isn't a request that can be served; the connection ends. Without a `head`, what
    /// the buffer begins with is one, or should be.
    fn refuse(
        &self,
        request: &mut StreamRequest,
        head: Option<&[u8]>,
        refused: HeadError,
    ) -> io::Result<Turn> {
        let frame = Frame::last(self.hsts(request));
        let detail = format!("The request was refused: {}.", refused.reason);
        let sent = reply::error(&mut request.wfile, frame, refused.status, "", &detail)?;
        // What was asked is what one looks for in the log, as far as it is there; a line of a body
        // would pass for a request.
        let line = first_line(head.unwrap_or(request.rfile.buffer()));
        self.log(request, &line[..line.len().min(LOGGED_LINE)], None, sent);
        request.linger();
        Ok(Turn::Over)
    }

    /// Does the next thing that can be done with what has come.
    fn step(&mut self, request: &mut StreamRequest) -> io::Result<Turn> {
        match std::mem::replace(&mut self.doing, Doing::Head) {
            Doing::Head => {
                self.permit = Permit::default(); // of the next request, nobody knows yet whose it is
                self.take_head(request)
            }
            Doing::Body { head, body } => self.take_body(request, head, body),
            Doing::Receive {
                head,
                body,
                receiver,
            } => self.receive(request, head, body, receiver),
            Doing::HoldBack(held) => self.hold_back(request, held),
            Doing::Rest(body) => self.drop_rest(request, body),
            Doing::Stream(streaming) => self.send_piece(request, streaming),
            upgraded @ Doing::Upgraded(_) => {
                self.doing = upgraded;
                Ok(Turn::Wait(Next::Wait))
            }
        }
    }

    fn take_head(&mut self, request: &mut StreamRequest) -> io::Result<Turn> {
        let bytes = request.rfile.buffer();
        let (head, consumed) = match head::parse(bytes, &mut self.scanner) {
            Ok(Status::Partial) => return Ok(Turn::Wait(Next::Wait)),
            Err(refused) => return self.refuse(request, None, refused),
            Ok(Status::Complete { head, consumed }) => (head, consumed),
        };
        let bytes = &bytes[..consumed];
        if let Some(https) = self.https.filter(|_| !request.is_tls()) {
            let sent = send_on(&mut request.wfile, &head, https)?;
            self.log(request, first_line(bytes), Some(&head), sent);
            request.linger();
            return Ok(Turn::Over);
        }
        if let Some(access) = &self.access {
            match access.admit(&head, &request.client_address, request.server.clock().now()) {
                Ok(permit) => self.permit = permit,
                Err(refused) => {
                    let (bytes, body, awaited) = (
                        bytes.to_vec(),
                        Body::announced(head.body),
                        head.expect_continue,
                    );
                    request.rfile.consume(consumed);
                    return self.turn_away(request, bytes, body, awaited, refused);
                }
            }
        }
        let receiver = match head.method {
            Method::Get | Method::Head => None,
            _ => self
                .application
                .receive(&head, &request.client_address, &self.permit),
        };
        if let Some(receiver) = receiver {
            let (bytes, body, awaited) = (
                bytes.to_vec(),
                Body::announced(head.body),
                head.expect_continue,
            );
            request.rfile.consume(consumed);
            return self.begin_receiving(request, bytes, body, awaited, receiver);
        }
        if let Some(body) = Body::announced(head.body) {
            // The body follows the head in the buffer: the head must be out of it for the body to
            // be read.
            let (bytes, wanted, awaited) = (
                bytes.to_vec(),
                self.application.wants_body(&head),
                is_short(&head),
            );
            request.rfile.consume(consumed);
            if wanted || !awaited {
                return self.answer_with_body(request, &bytes, body);
            }
            self.doing = Doing::Body { head: bytes, body };
            return Ok(Turn::Again);
        }
        let frame = self.frame_of(request, &head);
        let body = BodyReader::without(&mut request.wfile);
        let incoming = Incoming {
            head: &head,
            client_address: &request.client_address,
            permit: &self.permit,
            body,
        };
        let answer = self.application.respond(incoming, frame)?;
        self.log(request, first_line(bytes), Some(&head), answer.sent());
        request.rfile.consume(consumed);
        self.go_on(request, answer, None, frame.http_1_0)
    }

    /// Drops what has come of a body that nobody wants; answers when all of it was there.
    fn take_body(
        &mut self,
        request: &mut StreamRequest,
        head: Vec<u8>,
        mut body: Body,
    ) -> io::Result<Turn> {
        match body.take(&mut request.rfile, |_| {}) {
            Ok(Progress::Partial) if body.taken() <= DROPPED_BODY => {
                self.doing = Doing::Body { head, body };
                Ok(Turn::Wait(Next::in_message()))
            }
            Ok(Progress::Partial | Progress::Whole) => self.answer_with_body(request, &head, body),
            Ok(Progress::CutShort) => self.refuse(
                request,
                Some(&head),
                HeadError::bad("the body ended before its end"),
            ),
            Err(refused) => self.refuse(request, Some(&head), refused),
        }
    }

    /// Lets the client send its body, or says at once that nobody wants it.
    fn begin_receiving(
        &mut self,
        request: &mut StreamRequest,
        head: Vec<u8>,
        body: Option<Body>,
        continue_due: bool,
        receiver: std::result::Result<Box<dyn Receiver>, Response>,
    ) -> io::Result<Turn> {
        match (receiver, body) {
            (Ok(receiver), Some(body)) => {
                if continue_due {
                    request.wfile.write_all(CONTINUE)?;
                }
                self.doing = Doing::Receive {
                    head,
                    body,
                    receiver,
                };
                Ok(Turn::Again)
            }
            (Ok(receiver), None) => self.answer_received(request, &head, None, receiver.finish()),
            // Whoever waits for 100 (Continue) may send the body all the same: where the next
            // request begins is not known.
            (Err(response), Some(body)) if continue_due => {
                self.answer_received(request, &head, Some((body, false)), response)
            }
            (Err(response), body) => {
                self.answer_received(request, &head, body.map(droppable), response)
            }
        }
    }

    /// Has the receiver take what has come of the body.
    fn receive(
        &mut self,
        request: &mut StreamRequest,
        head: Vec<u8>,
        mut body: Body,
        mut receiver: Box<dyn Receiver>,
    ) -> io::Result<Turn> {
        match receiver.receive(&mut body, &mut request.rfile) {
            Ok(()) if body.is_whole() => {
                self.answer_received(request, &head, None, receiver.finish())
            }
            Ok(()) => {
                self.doing = Doing::Receive {
                    head,
                    body,
                    receiver,
                };
                Ok(Turn::Wait(Next::in_message()))
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
    ) -> io::Result<Turn> {
        let Ok(Status::Complete { head, .. }) = head::parse(bytes, &mut Scanner::default()) else {
            return Ok(Turn::Over); // can't be: these bytes were a whole head before
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
        self.log(request, first_line(bytes), Some(&head), answer.sent());
        self.go_on(request, answer, rest.map(|(body, _)| body), frame.http_1_0)
    }

    /// Answers a request whose body may still be read, and whose head is no longer in the buffer.
    fn answer_with_body(
        &mut self,
        request: &mut StreamRequest,
        bytes: &[u8],
        mut body: Body,
    ) -> io::Result<Turn> {
        let Ok(Status::Complete { head, .. }) = head::parse(bytes, &mut Scanner::default()) else {
            return Ok(Turn::Over); // can't be: these bytes were a whole head before
        };
        let frame = self.frame_of(request, &head);
        let reader = BodyReader::new(
            &mut body,
            &mut request.rfile,
            &mut request.wfile,
            head.expect_continue,
        );
        // For an application that doesn't look at bodies, it is decided here what becomes of the
        // connection.
        let keep_alive =
            frame.keep_alive && (self.application.wants_body(&head) || reader.keeps_connection());
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
        self.log(request, first_line(bytes), Some(&head), answer.sent());
        let rest = (!body.is_whole()).then_some(body);
        self.go_on(request, answer, rest, frame.http_1_0)
    }

    /// What follows an answer.
    fn go_on(
        &mut self,
        request: &mut StreamRequest,
        answer: Answer,
        rest: Option<Body>,
        http_1_0: bool,
    ) -> io::Result<Turn> {
        match answer {
            Answer::Sent(Sent {
                keep_alive: false, ..
            }) => {
                if rest.is_some() {
                    request.linger();
                }
                Ok(Turn::Over)
            }
            Answer::Sent(_) => {
                self.doing = rest.map_or(Doing::Head, Doing::Rest);
                Ok(Turn::Again)
            }
            Answer::Stream(sent, pieces) => {
                let keep_alive = sent.keep_alive && rest.is_none();
                self.doing = Doing::Stream(Streaming::new(pieces, http_1_0, keep_alive));
                Ok(Turn::Again)
            }
            Answer::Upgrade(_, mut handler) => {
                handler.setup(request)?;
                self.doing = Doing::Upgraded(handler);
                Ok(Turn::Again)
            }
        }
    }

    /// Drops what was left unread of an answered request's body.
    fn drop_rest(&mut self, request: &mut StreamRequest, mut body: Body) -> io::Result<Turn> {
        match body.take(&mut request.rfile, |_| {}) {
            Ok(Progress::Whole) => Ok(Turn::Again),
            Ok(Progress::Partial) if body.taken() <= DROPPED_BODY => {
                self.doing = Doing::Rest(body);
                Ok(Turn::Wait(Next::in_message()))
            }
            // The answer is out: there is nothing left to say.
            Ok(Progress::Partial | Progress::CutShort) | Err(_) => {
                request.linger();
                Ok(Turn::Over)
            }
        }
    }
}

/// What is left of a body, and whether it is short enough to be dropped.
fn droppable(body: Body) -> (Body, bool) {
    let may_be_dropped = body.may_be_dropped();
    (body, may_be_dropped)
}

/// Whether a body is worth waiting for: it isn't long, nor still to be asked for by 100 (Continue).
fn is_short(head: &Head<'_>) -> bool {
    !head.expect_continue && !matches!(head.body, Framing::Length(length) if length > DROPPED_BODY)
}

/// Sends a client that came in the clear where it is encrypted.
fn send_on(to: &mut WFile, head: &Head<'_>, https: Https) -> io::Result<Sent> {
    let frame = Frame::of(head, false, None);
    match https.location(head) {
        // 308, so that a POST stays one. Not to be kept: the port may be plain again tomorrow.
        Some(location) => {
            let fields = format!("Location: {location}\r\nCache-Control: no-store\r\n");
            reply::error(to, frame, 308, &fields, "This site speaks HTTPS.")
        }
        None => reply::error(
            to,
            frame,
            400,
            "",
            "This site speaks HTTPS, and the request doesn't say where to.",
        ),
    }
}

/// The request line of a head, without its line end.
fn first_line(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    &head[..memchr::memchr2(b'\r', b'\n', head).unwrap_or(head.len())]
}

impl StreamRequestHandler for HttpHandler {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        for _ in 0..PIPELINED {
            if let Doing::Upgraded(handler) = &mut self.doing {
                return handler.handle(request);
            }
            match self.step(request)? {
                Turn::Over => {
                    request.wfile.close_follows();
                    return Ok(Next::Close);
                }
                Turn::Wait(_)
                    if request.rfile.is_eof() && !matches!(self.doing, Doing::Stream(_)) =>
                {
                    return Ok(Next::Close);
                }
                Turn::Wait(next) => return Ok(next),
                // What is written next would have to wait for it.
                Turn::Again if request.wfile.has_tail() => return Ok(Next::Again),
                Turn::Again => {}
            }
        }
        Ok(match self.doing {
            Doing::Body { .. } | Doing::Receive { .. } | Doing::Rest(_) => Next::in_message(),
            _ => Next::Wait,
        })
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        match &mut self.doing {
            Doing::Upgraded(handler) => handler.finish(request),
            _ => Ok(request.wfile.flush()?),
        }
    }

    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        match &mut self.doing {
            Doing::Upgraded(handler) => handler.on_timeout(request, what),
            // Its answer has begun: another can't follow.
            Doing::Rest(_) | Doing::Stream(_) | Doing::HoldBack(_) => {}
            // A silent client hasn't asked for anything.
            Doing::Head if what == Timeout::Idle => {}
            Doing::Head | Doing::Body { .. } | Doing::Receive { .. } => {
                let head = match &self.doing {
                    Doing::Body { head, .. } | Doing::Receive { head, .. } => Some(&head[..]),
                    _ => None,
                };
                // It may not get through; there is nobody left to tell.
                let _ = self.refuse(
                    request,
                    head,
                    HeadError {
                        status: 408,
                        reason: "the request took too long",
                    },
                );
            }
        }
    }
}

impl fmt::Debug for HttpHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHandler").finish_non_exhaustive()
    }
}
