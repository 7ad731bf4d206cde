//! What answers the requests of a connection: the files of a site, or the routes of somebody's own service.

use std::io;

use socketserver::{ClientAddress, StreamRequestHandler};

use super::head::Head;
use super::message::{BodyReader, Produce};
use super::reply::{Frame, Sent};

/// Answers requests. One value serves all connections.
pub(crate) trait Application: Send + Sync + 'static {
    /// Whether a request's body is wanted. If not, a short one is awaited and dropped before the answer.
    fn wants_body(&self, head: &Head<'_>) -> bool;

    /// Writes the answer, or its beginning.
    fn respond(&self, request: Incoming<'_>, frame: Frame) -> io::Result<Answer>;
}

/// A request as it comes from the connection.
pub(crate) struct Incoming<'a> {
    pub(crate) head: &'a Head<'a>,
    pub(crate) client_address: &'a ClientAddress,
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
}

impl Answer {
    pub(crate) fn sent(&self) -> Sent {
        match self {
            Answer::Sent(sent) | Answer::Stream(sent, _) | Answer::Upgrade(sent, _) => *sent,
        }
    }
}
