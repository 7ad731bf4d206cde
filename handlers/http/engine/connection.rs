//! One HTTP connection: it serves one request after the other.
//!
//! | state | what the connection waits for | next state |
//! |---|---|---|
//! | `Head` | the head of the next request | any; `Head` after a request without a body |
//! | `Receive` | more bytes of a body that a receiver takes | `Respond` |
//! | `Respond` | a body to drop, a delay, pending headers | `Head`, `Rest`, `Stream`, `Upgraded` |
//! | `Stream` | the time of the response's next piece, or space in the send buffer | `Head` |
//! | `Rest` | the unread rest of a body, after the response | `Head` |
//! | `Upgraded` | decided by the handler of the other protocol | none |

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use socketserver::{Next, Result, StreamRequest, StreamRequestHandler, Timeout};

use super::application::{Application, Begun, Failure};
use super::body::Body;
use super::exchange::Exchange;
use super::https::Https;
use super::log::RequestLog;
use super::writer::{self, Following, Frame, Written};
use crate::protocol::head::{self, Head, HeadError, OwnedHead, Scanner, Status};
use receiving::ReceivingBody;
use records::PendingRecord;
use refusal::first_line;
use responding::Responding;
use streaming::Streaming;

mod receiving;
mod records;
mod refusal;
mod responding;
mod streaming;

/// Maximum number of steps per call of `handle`. Responses to pipelined requests of one call are
/// sent together.
const MAX_PIPELINED: usize = 16;

/// Serves one HTTP connection. [`Router::into_class`](crate::Router::into_class) creates one
/// handler per client. Authors need the type's name only where a function returns the class:
///
/// ```
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, RequestHandlerClass};
/// use socketserver_http::{HttpHandler, Response, Router};
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
    log: Option<Arc<dyn RequestLog>>,
    https: Option<Https>,
    /// The progress of the scan of a head that has only partly arrived. `None` between requests,
    /// so that idle connections need less memory.
    scanner: Option<Box<Scanner>>,
    state: ConnectionState,
    /// Requests that are logged once their responses are sent. Always empty without a log.
    records: VecDeque<PendingRecord>,
}

/// The state of a connection between two calls of `handle`. The module's table shows the
/// transitions. The larger states are boxed, so that idle connections need less memory.
enum ConnectionState {
    Head,
    Receive(Box<ReceivingBody>),
    Respond(Box<Responding>),
    Stream(Streaming),
    Rest(Body),
    Upgraded(Box<dyn StreamRequestHandler>),
}

/// What the connection does after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// The next step can follow immediately.
    Again,
    /// The connection waits as the value describes: for more bytes, or until a time.
    Wait(Next),
    /// The connection ends.
    Over,
}

/// What the connection needs to know after a response was written.
struct Afterwards {
    /// The unread rest of the request's body.
    rest: Option<Body>,
    /// Whether the client speaks HTTP/1.0, which has no chunks.
    http_1_0: bool,
    /// The error or panic that ends the connection.
    failure: Option<Failure>,
}

impl HttpHandler {
    /// A handler for a new connection.
    #[doc(hidden)]
    pub fn new(application: Arc<dyn Application>, log: Option<Arc<dyn RequestLog>>) -> HttpHandler {
        HttpHandler {
            application,
            log,
            https: None,
            scanner: None,
            state: ConnectionState::Head,
            records: VecDeque::new(),
        }
    }

    /// Adds the HTTPS settings of a service that runs with TLS.
    #[doc(hidden)]
    pub fn with_https(self, https: Option<Https>) -> HttpHandler {
        HttpHandler { https, ..self }
    }

    /// The lifetime in the `Strict-Transport-Security` header: how long clients use HTTPS only.
    /// `None` if the header is not sent, as on connections without TLS.
    fn hsts(&self, request: &StreamRequest) -> Option<Duration> {
        self.https
            .and_then(|https| https.hsts)
            .filter(|_| request.is_tls())
    }

    fn frame_of(&self, request: &StreamRequest, head: &Head<'_>) -> Frame {
        Frame::of(head, !request.is_shutting_down(), self.hsts(request))
    }

    /// Takes one step of the current state with the bytes that have arrived.
    fn step(&mut self, request: &mut StreamRequest) -> io::Result<Flow> {
        match std::mem::replace(&mut self.state, ConnectionState::Head) {
            ConnectionState::Head => self.take_head(request),
            ConnectionState::Receive(receiving) => self.receive(request, receiving),
            ConnectionState::Respond(responding) => self.respond(request, responding),
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
        if bytes.is_empty() {
            return Ok(Flow::Wait(Next::Wait));
        }
        let mut scanner = self
            .scanner
            .take()
            .map_or_else(Scanner::default, |kept| *kept);
        let (head, consumed) = match head::parse(bytes, &mut scanner) {
            Ok(Status::Partial) => {
                self.scanner = Some(Box::new(scanner));
                return Ok(Flow::Wait(Next::Wait));
            }
            Err(refused) => return self.refuse(request, None, refused),
            Ok(Status::Complete { head, consumed }) => (head, consumed),
        };
        let bytes = &bytes[..consumed];
        if let Some(https) = self.https.filter(|_| !request.is_tls()) {
            let frame = Frame::of(&head, false, None);
            let written = writer::write(&mut request.wfile, frame, https.redirect(&head))?;
            self.log(request, first_line(bytes), Some(&head), &written, None);
            request.linger();
            return Ok(Flow::Over);
        }
        let exchange = Exchange::new(&head, &request.client_address, request.server.clock());
        let begun = self.application.begin(&exchange);
        match begun {
            // The usual case, in which the head is not copied.
            Begun::Respond(mut response) | Begun::Refuse(mut response)
                if !exchange.has_body() && response.is_due() =>
            {
                let user = response.take_delivery().and_then(|delivery| delivery.user);
                let frame = self.frame_of(request, &head);
                let written = writer::write(&mut request.wfile, frame, response)?;
                self.log(request, first_line(bytes), Some(&head), &written, user);
                request.rfile.consume(consumed);
                let afterwards = Afterwards {
                    rest: None,
                    http_1_0: frame.http_1_0,
                    failure: None,
                };
                self.follow(request, written, afterwards)
            }
            begun => {
                let body = Body::announced(head.body);
                let head = OwnedHead::new(&head, bytes);
                request.rfile.consume(consumed);
                let responding = match begun {
                    Begun::Receive(receiving) => {
                        return self.begin_receiving(request, head, body, receiving);
                    }
                    Begun::Respond(response) => Responding::after_body(head, body, response),
                    Begun::Refuse(response) => Responding::before_body(head, body, response),
                };
                self.respond(request, Box::new(responding))
            }
        }
    }

    /// Chooses the next state after a response was written.
    fn follow(
        &mut self,
        request: &mut StreamRequest,
        written: Written,
        afterwards: Afterwards,
    ) -> io::Result<Flow> {
        let Afterwards {
            rest,
            http_1_0,
            failure,
        } = afterwards;
        if let Some(failure) = failure {
            if rest.is_some() {
                request.linger();
            }
            match failure {
                Failure::Error(error) | Failure::Lost(error) => return Err(error),
                Failure::Panic(panic) => resume_unwind(panic),
            }
        }
        self.state = match (written.next, rest) {
            (Following::Nothing, rest) if !written.keep_alive => {
                if rest.is_some() {
                    request.linger();
                }
                return Ok(Flow::Over);
            }
            // `step` has already set the state to `Head`.
            (Following::Nothing, None) => return Ok(Flow::Again),
            (Following::Nothing, Some(body)) => ConnectionState::Rest(body),
            (Following::Stream(pieces), rest) => {
                let keep_alive = written.keep_alive && rest.is_none();
                ConnectionState::Stream(Streaming::new(pieces, http_1_0, keep_alive))
            }
            (Following::Upgrade(mut handler), _) => {
                handler.setup(request)?;
                ConnectionState::Upgraded(handler)
            }
        };
        Ok(Flow::Again)
    }

    /// Takes up to [`MAX_PIPELINED`] steps, until the connection waits for something or ends.
    fn take_steps(&mut self, request: &mut StreamRequest) -> Result<Next> {
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
                // The file that is being sent comes first: anything written now would only queue up
                // behind it.
                Flow::Again if request.wfile.has_tail() => return Ok(Next::Again),
                Flow::Again => {}
            }
        }
        Ok(match &self.state {
            ConnectionState::Receive(_) | ConnectionState::Rest(_) => Next::in_message(),
            // These states proceed even if the client sends nothing more.
            ConnectionState::Respond(_)
            | ConnectionState::Stream(_)
            | ConnectionState::Upgraded(_) => Next::Again,
            ConnectionState::Head => Next::Wait,
        })
    }

    /// Whether a response must still be sent although the client has closed its side. Some clients
    /// close their side after the request (`nc -N`) and still read the response.
    fn answers_after_eof(&self) -> bool {
        matches!(
            self.state,
            ConnectionState::Stream(_) | ConnectionState::Respond(_)
        )
    }
}

impl StreamRequestHandler for HttpHandler {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        self.log_sent(request);
        match self.take_steps(request)? {
            // `Next::Again` calls this handler again once the responses are sent. Otherwise the
            // responses would be logged only with the next request.
            Next::Wait | Next::WaitFor(_) if self.has_record_to_write() => Ok(Next::Again),
            next => Ok(next),
        }
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        let finished = match &mut self.state {
            ConnectionState::Upgraded(handler) => handler.finish(request),
            _ => io::Write::flush(&mut request.wfile).map_err(Into::into),
        };
        self.log_all(request);
        finished
    }

    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        let head = match std::mem::replace(&mut self.state, ConnectionState::Head) {
            ConnectionState::Upgraded(mut handler) => {
                handler.on_timeout(request, what);
                self.state = ConnectionState::Upgraded(handler);
                return;
            }
            // An idle client has not begun a request, so it gets no response.
            ConnectionState::Head if what == Timeout::Idle => return,
            ConnectionState::Head => None,
            ConnectionState::Receive(receiving) => Some(receiving.head),
            ConnectionState::Respond(responding) if responding.awaits_body => Some(responding.head),
            // The response has begun or is decided, so no error response can follow.
            state => {
                self.state = state;
                return;
            }
        };
        let too_slow = HeadError {
            status: 408,
            reason: "the request took too long",
        };
        // An error here means that the client is gone.
        let _ = self.refuse(request, head.as_ref().map(OwnedHead::bytes), too_slow);
    }
}

impl fmt::Debug for HttpHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHandler").finish_non_exhaustive()
    }
}
