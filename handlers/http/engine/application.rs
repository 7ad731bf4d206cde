//! What answers the requests of a connection: the files of a site, or the routes of an author's own
//! service.

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
    /// Decides on a request by its head.
    fn begin(&self, exchange: &Exchange<'_>) -> Begun;
}

/// What an application does with a request.
pub enum Begun {
    /// This is the response. A short body is awaited and dropped before it is sent, because a
    /// malformed body makes the whole request malformed.
    Respond(Response),
    /// This is the response, and it is sent before the body is read.
    Refuse(Response),
    /// The receiver takes the body as it comes, and then makes the response.
    Receive(Receiving),
}

/// A receiver, and what is done with its response.
pub struct Receiving {
    pub receiver: Box<dyn Receiver>,
    /// Completes the response, whether the receiver finishes or refuses the rest of the body.
    pub complete: Option<Complete>,
}

/// Adds to a response what all responses of an application have.
pub type Complete = Box<dyn FnOnce(&mut Response) + Send>;

impl Begun {
    /// The same, with something added to the response, now or once a receiver has made it.
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

    /// A receiver whose responses need nothing more.
    pub fn receive(receiver: impl Receiver) -> Begun {
        Begun::Receive(Receiving {
            receiver: Box::new(receiver),
            complete: None,
        })
    }
}

/// Takes the body of one request, piece by piece. While more is to come, the connection is parked,
/// and no thread waits. Dropped before the body was whole, it leaves nothing behind that was not
/// there before.
pub trait Receiver: Send + 'static {
    /// Takes what has come. Never waits.
    ///
    /// # Errors
    /// The body is not taken to its end.
    fn receive(&mut self, body: &mut Body, rfile: &mut RFile) -> Result<Reception, Stopped>;

    /// Whether a client that waits for 100 (Continue) is told to send the body before anything of
    /// it has come. A receiver that reads the rest in `finish` may leave that to the reader.
    /// Defaults to true.
    fn sends_continue(&self) -> bool {
        true
    }

    /// The response. `rest` is what `receive` left of the body.
    fn finish(self: Box<Self>, exchange: &Exchange<'_>, rest: BodyReader<'_>) -> Response;
}

/// Whether a receiver wants more of the body before it finishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// It takes all that comes.
    WantsAll,
    /// It can finish now, whether the body is whole or not.
    Enough,
}

/// Why a connection ends after its response.
pub enum Failure {
    /// A panic that was caught; it goes on when the response is written.
    Panic(Box<dyn Any + Send>),
    Error(io::Error),
    /// The connection is gone: no response can be sent.
    Lost(io::Error),
}

/// Why a body isn't received to its end.
#[derive(Debug)]
pub enum Stopped {
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
