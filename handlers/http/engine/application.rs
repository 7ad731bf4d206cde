//! What answers the requests of a connection: the files of a site, or the routes of an author's own
//! service.

use std::any::Any;
use std::io;

use socketserver::{ClientAddress, RFile, StreamRequestHandler};

use crate::files::access::Permit;
use crate::http::engine::body::Body;
use crate::http::engine::body_reader::BodyReader;
use crate::http::engine::message::{Produce, Response};
use crate::http::engine::reply::{Frame, Sent};
use crate::http::protocol::head::{Head, HeadError};

/// Answers requests. One value serves all connections.
pub(crate) trait Application: Send + Sync + 'static {
    /// Maximum length of a body that `respond` reads, in bytes. `None` if it reads none: then a
    /// short body is awaited and dropped before the answer. Asked for requests with a body only.
    fn max_body(&self, head: &Head<'_>) -> Option<u64> {
        let _ = head;
        None
    }

    /// The receiver that takes this request's body as it comes, or the refusal of the request;
    /// `None` for a request that `respond` answers. Asked for all methods but GET and HEAD.
    fn receive(
        &self,
        head: &Head<'_>,
        client_address: &ClientAddress,
        permit: &Permit,
    ) -> Option<Result<Box<dyn Receiver>, Response>> {
        let _ = (head, client_address, permit);
        None
    }

    /// Writes the answer, or its beginning.
    fn respond(&self, request: Incoming<'_>, frame: Frame) -> io::Result<Answer>;
}

/// A request as it comes from the connection.
pub(crate) struct Incoming<'a> {
    pub(crate) head: &'a Head<'a>,
    pub(crate) client_address: &'a ClientAddress,
    /// What the client may do.
    pub(crate) permit: &'a Permit,
    pub(crate) body: BodyReader<'a>,
}

/// How an answer goes on after what was written.
pub(crate) enum Answer {
    /// It doesn't: all of it is written.
    Sent(Sent),
    /// Its content is made piece by piece.
    Stream(Sent, Box<dyn Produce>),
    /// The connection is handed on.
    Upgrade(Sent, Box<dyn StreamRequestHandler>),
    /// All of it is written, and the connection ends by a failure that the server has to see.
    Failed(Sent, Failure),
}

/// Why a connection ends after its answer.
pub(crate) enum Failure {
    /// A panic that was caught; it goes on when the answer is written.
    Panic(Box<dyn Any + Send>),
    Error(io::Error),
    /// The connection is gone: no answer can be sent.
    Lost(io::Error),
}

impl Answer {
    pub(crate) fn sent(&self) -> Sent {
        match self {
            Answer::Sent(sent)
            | Answer::Stream(sent, _)
            | Answer::Upgrade(sent, _)
            | Answer::Failed(sent, _) => *sent,
        }
    }
}

/// Takes the body of one request, piece by piece. While more is to come, the connection is parked,
/// and no thread waits. Dropped before the body was whole, it leaves nothing behind that was not
/// there before.
pub(crate) trait Receiver: Send + 'static {
    /// Takes what has come. Never waits.
    fn receive(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<(), Stopped>;

    /// The answer, now that all of the body was taken.
    fn finish(self: Box<Self>) -> Response;
}

/// Why a body isn't received to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// It isn't wanted; the rest may be dropped.
    Refused(Box<Response>),
    /// It isn't HTTP, or was cut: no other request can follow.
    Malformed(HeadError),
    /// The connection is gone.
    Lost(io::Error),
}

impl From<Response> for Stopped {
    fn from(response: Response) -> Stopped {
        Stopped::Refused(Box::new(response))
    }
}

impl Stopped {
    /// For an error of [`Body::try_read`]. There is no `From` for all of `io::Error`: an error of a
    /// file must not pass for one of the client.
    pub(crate) fn reading(error: io::Error) -> Stopped {
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<HeadError>())
        {
            Some(malformed) => Stopped::Malformed(*malformed),
            None => Stopped::Lost(error),
        }
    }
}
