//! The interface between a connection and the application that answers its requests: a site's
//! files, or the routes of an author's own service.

use std::any::Any;
use std::io;

use socketserver::RFile;

use super::body::Body;
use super::body_reader::BodyReader;
use super::exchange::Exchange;
use super::response::Response;
use crate::protocol::head::HeadError;

/// Answers requests. One value serves all connections.
pub trait Application: Send + Sync + 'static {
    /// Decides what happens to a request. Only the head has been read at this point.
    fn begin(&self, exchange: &Exchange<'_>) -> Begun;
}

/// What an application does with a request.
pub enum Begun {
    /// Send this response. If the request has a short body, the body is read and dropped first,
    /// because a malformed body makes the whole request malformed.
    Respond(Response),
    /// Send this response before the body is read.
    Refuse(Response),
    /// Pass the body to the receiver while it arrives. The receiver makes the response afterwards.
    Receive(Receiving),
}

/// A receiver, and the function that completes its response.
pub struct Receiving {
    pub receiver: Box<dyn Receiver>,
    /// Completes the response. It runs whether the receiver finishes or refuses the rest of the
    /// body.
    pub complete: Option<Complete>,
}

/// Adds the headers that all responses of an application have.
pub type Complete = Box<dyn FnOnce(&mut Response) + Send>;

impl Receiving {
    /// Lets the receiver make its response, and completes it.
    pub(super) fn finish(self, exchange: &Exchange<'_>, rest: BodyReader<'_>) -> Response {
        let Receiving { receiver, complete } = self;
        let mut response = receiver.finish(exchange, rest);
        if let Some(complete) = complete {
            complete(&mut response);
        }
        response
    }

    /// Completes a response with which the receiver refused the rest of the body.
    pub(super) fn complete(self, response: &mut Response) {
        if let Some(complete) = self.complete {
            complete(response);
        }
    }
}

impl Begun {
    /// Returns `self` with `complete` applied to its response. For a receiver, `complete` runs once
    /// the receiver has made the response.
    pub fn completed(self, complete: impl FnOnce(&mut Response) + Send + 'static) -> Begun {
        match self {
            Begun::Respond(mut response) => {
                complete(&mut response);
                Begun::Respond(response)
            }
            Begun::Refuse(mut response) => {
                complete(&mut response);
                Begun::Refuse(response)
            }
            Begun::Receive(Receiving {
                receiver,
                complete: earlier,
            }) => Begun::Receive(Receiving {
                receiver,
                complete: Some(Box::new(move |response| {
                    if let Some(earlier) = earlier {
                        earlier(response);
                    }
                    complete(response);
                })),
            }),
        }
    }

    /// Uses a receiver whose response needs no completion.
    pub fn receive(receiver: impl Receiver) -> Begun {
        Begun::Receive(Receiving {
            receiver: Box::new(receiver),
            complete: None,
        })
    }
}

/// Takes the body of one request, piece by piece. Between two pieces the connection is parked, so
/// no thread waits. If the receiver is dropped before the body was complete, it must leave no
/// visible change behind. Only an upload that can be resumed keeps its received bytes.
pub trait Receiver: Send + 'static {
    /// Takes the bytes that have arrived. Never waits.
    ///
    /// # Errors
    /// The receiver doesn't take the rest of the body; see [`Stopped`].
    fn receive(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<Reception, Stopped>;

    /// Whether 100 (Continue) is sent before the first call of `receive`, to a client that waits
    /// for it. A receiver that reads the body in `finish` may return false: the [`BodyReader`] then
    /// sends 100 (Continue) when it is read. Defaults to true.
    fn sends_continue(&self) -> bool {
        true
    }

    /// Makes the response. `rest` reads the part of the body that `receive` has not taken.
    fn finish(self: Box<Self>, exchange: &Exchange<'_>, rest: BodyReader<'_>) -> Response;
}

/// Whether a receiver wants more of the body before it finishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// The receiver takes the body up to its end.
    WantsAll,
    /// The receiver can finish now, even if the body is not complete.
    Enough,
}

/// Why a connection ends after a response, or without one.
pub enum Failure {
    /// A panic that was caught. It is resumed after the response is written.
    Panic(Box<dyn Any + Send>),
    /// An error of the application. The connection returns it after the response is written.
    Error(io::Error),
    /// The connection is lost: no response can be sent.
    Lost(io::Error),
}

/// Why a body is not received to its end.
#[derive(Debug)]
pub enum Stopped {
    /// The receiver refuses the body with this response. The rest of the body may be dropped.
    Refused(Box<Response>),
    /// The body is malformed, or the client closed its side within the body. No other request can
    /// follow on this connection.
    Malformed(HeadError),
    /// The connection is lost.
    Lost(io::Error),
}

impl From<Response> for Stopped {
    fn from(response: Response) -> Stopped {
        Stopped::Refused(Box::new(response))
    }
}

impl Stopped {
    /// Converts an error of [`Body::try_read`]. There is no `From<io::Error>`, because it would
    /// also convert errors of files, which are not the client's fault.
    pub fn reading(error: io::Error) -> Stopped {
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<HeadError>())
        {
            Some(malformed) => Stopped::Malformed(*malformed),
            None => Stopped::Lost(error),
        }
    }
}
