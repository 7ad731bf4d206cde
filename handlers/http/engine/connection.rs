//! One connection: a request, its response, and the next.
//!
//! | state | what the connection waits for | next state |
//! |---|---|---|
//! | `Head` | the next request's head | any of the others; `Head` after a request without a body |
//! | `Body` | a short body that is dropped | `Head`, `Stream` |
//! | `Gather` | a body that the application reads | `Head`, `Rest`, `Stream`, `Upgraded` |
//! | `Receive` | a body that a receiver takes as it comes | `Head`, `Rest`, `Stream` |
//! | `Delayed` | the time at which a refusal is sent | `Head`, `Rest` |
//! | `Rest` | what a handler left unread of a body | `Head` |
//! | `Stream` | the time, or the room, for the next piece of an answer | `Head` |
//! | `Upgraded` | whatever the other protocol waits for | none |

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::io::{self, BufRead};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use socketserver::{Next, Result, StreamRequest, StreamRequestHandler, Timeout};

use crate::common::access_log::AccessLog;

use crate::files::access::{AccessControl, Permit};
use crate::http::engine::application::{Answer, Application, Failure, Incoming, Receiver};
use crate::http::engine::body::Body;
use crate::http::engine::body_reader::BodyReader;
use crate::http::engine::https::Https;
use crate::http::engine::reply::{Frame, Sent};
use crate::http::protocol::head;
use crate::http::protocol::head::{Head, HeadError, Method, Scanner, Status};
use body::{BodyPlan, Gathering};
use delayed::Delayed;
use records::PendingRecord;
use refusal::{first_line, redirect_to_https};
use streaming::Streaming;

mod body;
mod delayed;
mod records;
mod refusal;
mod streaming;

/// Requests of a pipelining client that are answered before their answers are sent together.
const MAX_PIPELINED: usize = 16;

/// Serves one HTTP connection. [`Router::into_class`](crate::http::Router::into_class) makes one
/// for each client. Its name is needed where a function returns the class:
///
/// ```
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, RequestHandlerClass};
/// use socketserver_handlers::http::{HttpHandler, Response, Router};
///
/// fn service() -> impl RequestHandlerClass<HttpHandler> {
///     Router::new().get("/", |_| Ok(Response::text("welcome\n"))).into_class()
/// }
///
/// let mut client = TestConnection::new(Builder::new(), service());
/// client.send(b"GET / HTTP/1.0\r\n\r\n");
/// assert!(client.received().ends_with(b"\r\n\r\nwelcome\n"));
/// ```
pub struct HttpHandler {
    application: Arc<dyn Application>,
    access_log: Option<Arc<AccessLog>>,
    https: Option<Https>,
    /// Decides who may send which request; `None` for a site that is open to everybody.
    access: Option<Arc<AccessControl>>,
    /// What the client may do with the request that is being answered.
    permit: Permit,
    scanner: Scanner,
    state: ConnectionState,
    /// Requests that are logged once their answers are sent; always empty without an access log.
    records: VecDeque<PendingRecord>,
}

/// What a connection does between two calls of `handle`; the module's table shows how the states
/// follow one another.
enum ConnectionState {
    /// Waits for the next request's head.
    Head,
    /// The body of a request that is answered when all of that is there: a malformed one makes the
    /// whole request malformed. The head's bytes are kept, as parsing them again costs less than
    /// keeping the result apart from them.
    Body { head: Vec<u8>, body: Body },
    /// The body of a request that is answered when that is there, or much of it.
    Gather(Gathering),
    /// The body of a request whose receiver takes it as it comes; the answer follows its end.
    Receive {
        head: Vec<u8>,
        body: Body,
        receiver: Box<dyn Receiver>,
    },
    /// A refusal that is sent only later. Boxed, as it is rare and would make every connection
    /// larger.
    Delayed(Box<Delayed>),
    /// What an answered request's handler didn't read of its body.
    Rest(Body),
    /// An answer that is made piece by piece.
    Stream(Streaming),
    /// Another protocol, for good.
    Upgraded(Box<dyn StreamRequestHandler>),
}

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
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
            state: ConnectionState::Head,
            records: VecDeque::new(),
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
        let frame = Frame::of(head, !request.is_shutting_down(), self.hsts(request));
        Frame {
            sharing: self.permit.sharing(),
            ..frame
        }
    }

    /// Does the next thing that can be done with what has come.
    fn step(&mut self, request: &mut StreamRequest) -> io::Result<Flow> {
        match std::mem::replace(&mut self.state, ConnectionState::Head) {
            ConnectionState::Head => {
                // The user of the next request is not known yet.
                self.permit = Permit::default();
                self.take_head(request)
            }
            ConnectionState::Body { head, body } => self.take_body(request, head, body),
            ConnectionState::Gather(gathering) => self.gather(request, gathering),
            ConnectionState::Receive {
                head,
                body,
                receiver,
            } => self.receive(request, head, body, receiver),
            ConnectionState::Delayed(held) => self.delay(request, held),
            ConnectionState::Rest(body) => self.drop_rest(request, body),
            ConnectionState::Stream(streaming) => self.send_piece(request, streaming),
            upgraded @ ConnectionState::Upgraded(_) => {
                self.state = upgraded;
                Ok(Flow::Wait(Next::Wait))
            }
        }
    }

    fn take_head(&mut self, request: &mut StreamRequest) -> io::Result<Flow> {
        let bytes = request.rfile.buffer();
        let (head, consumed) = match head::parse(bytes, &mut self.scanner) {
            Ok(Status::Partial) => return Ok(Flow::Wait(Next::Wait)),
            Err(refused) => return self.refuse(request, None, refused),
            Ok(Status::Complete { head, consumed }) => (head, consumed),
        };
        let bytes = &bytes[..consumed];
        if let Some(https) = self.https.filter(|_| !request.is_tls()) {
            let sent = redirect_to_https(&mut request.wfile, &head, https)?;
            self.log(request, first_line(bytes), Some(&head), &Answer::Sent(sent));
            request.linger();
            return Ok(Flow::Over);
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
                    return self.reject(request, bytes, body, awaited, refused);
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
            let plan = BodyPlan::of(&head, self.application.max_body(&head));
            let head = bytes.to_vec();
            request.rfile.consume(consumed);
            self.state = match plan {
                BodyPlan::Answer => return self.answer_with_body(request, &head, body, Vec::new()),
                BodyPlan::Drop => ConnectionState::Body { head, body },
                BodyPlan::Gather(max) => ConnectionState::Gather(Gathering {
                    head,
                    body,
                    content: Vec::new(),
                    max,
                }),
            };
            return Ok(Flow::Again);
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
        self.log(request, first_line(bytes), Some(&head), &answer);
        request.rfile.consume(consumed);
        self.resume(request, answer, None, frame.http_1_0)
    }

    /// What follows an answer.
    fn resume(
        &mut self,
        request: &mut StreamRequest,
        answer: Answer,
        rest: Option<Body>,
        http_1_0: bool,
    ) -> io::Result<Flow> {
        match answer {
            Answer::Sent(Sent {
                keep_alive: false, ..
            }) => {
                if rest.is_some() {
                    request.linger();
                }
                Ok(Flow::Over)
            }
            Answer::Sent(_) => {
                self.state = rest.map_or(ConnectionState::Head, ConnectionState::Rest);
                Ok(Flow::Again)
            }
            Answer::Stream(sent, pieces) => {
                let keep_alive = sent.keep_alive && rest.is_none();
                self.state = ConnectionState::Stream(Streaming::new(pieces, http_1_0, keep_alive));
                Ok(Flow::Again)
            }
            Answer::Upgrade(_, mut handler) => {
                handler.setup(request)?;
                self.state = ConnectionState::Upgraded(handler);
                Ok(Flow::Again)
            }
            Answer::Failed(_, failure) => {
                if rest.is_some() {
                    request.linger();
                }
                match failure {
                    Failure::Error(error) | Failure::Lost(error) => Err(error),
                    Failure::Panic(panic) => resume_unwind(panic),
                }
            }
        }
    }
}

impl HttpHandler {
    /// Takes steps until the connection waits for something, or ends.
    fn go_on(&mut self, request: &mut StreamRequest) -> Result<Next> {
        for _ in 0..MAX_PIPELINED {
            if let ConnectionState::Upgraded(handler) = &mut self.state {
                return handler.handle(request);
            }
            match self.step(request)? {
                Flow::Over => {
                    request.wfile.close_follows();
                    return Ok(Next::Close);
                }
                Flow::Wait(_) if request.rfile.is_eof() && !self.answers_after_eof() => {
                    return Ok(Next::Close);
                }
                Flow::Wait(next) => return Ok(next),
                // What is written next would have to wait for it.
                Flow::Again if request.wfile.has_tail() => return Ok(Next::Again),
                Flow::Again => {}
            }
        }
        Ok(match self.state {
            ConnectionState::Body { .. }
            | ConnectionState::Gather(_)
            | ConnectionState::Receive { .. }
            | ConnectionState::Rest(_) => Next::in_message(),
            // These go on although the client sends nothing more.
            ConnectionState::Stream(_) | ConnectionState::Upgraded(_) => Next::Again,
            ConnectionState::Head | ConnectionState::Delayed(_) => Next::Wait,
        })
    }

    /// Whether an answer is still to come that needs nothing more of the client, which may have
    /// ended its side after the request (`nc -N`).
    fn answers_after_eof(&self) -> bool {
        matches!(
            self.state,
            ConnectionState::Stream(_) | ConnectionState::Delayed(_)
        )
    }
}

impl StreamRequestHandler for HttpHandler {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        self.log_sent(request);
        match self.go_on(request)? {
            // Called again once the answers are sent, so that they are logged then, and not only
            // with the next request.
            Next::Wait | Next::WaitFor(_) if self.has_record_to_write() => Ok(Next::Again),
            next => Ok(next),
        }
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        let finished = match &mut self.state {
            ConnectionState::Upgraded(handler) => handler.finish(request),
            _ => request.wfile.flush().map_err(Into::into),
        };
        self.log_all(request);
        finished
    }

    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        match &mut self.state {
            ConnectionState::Upgraded(handler) => handler.on_timeout(request, what),
            // Its answer has begun: another can't follow.
            ConnectionState::Rest(_) | ConnectionState::Stream(_) | ConnectionState::Delayed(_) => {
            }
            // A silent client hasn't asked for anything.
            ConnectionState::Head if what == Timeout::Idle => {}
            state => {
                let head = match std::mem::replace(state, ConnectionState::Head) {
                    ConnectionState::Body { head, .. }
                    | ConnectionState::Gather(Gathering { head, .. })
                    | ConnectionState::Receive { head, .. } => Some(head),
                    _ => None,
                };
                // If this fails, the client is gone.
                let _ = self.refuse(
                    request,
                    head.as_deref(),
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
