//! Errors of a route that set the response's status.

use std::fmt;
use std::io;

/// An error with a status. The response gets this status instead of 500. The operator `?` converts
/// it into the [`io::Error`] that a route returns.
///
/// ```
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{HttpError, Response, Router};
///
/// let router = Router::new().get("/users/{name}", |request| match request.parameter("name") {
///     "ada" => Ok(Response::text("Ada Lovelace\n")),
///     name => Err(HttpError::new(404, format!("there is no user `{name}`")))?,
/// });
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(b"GET /users/bob HTTP/1.0\r\n\r\n");
/// let answer = String::from_utf8(client.received()).unwrap();
/// assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"));
/// assert!(answer.ends_with("\r\n\r\nthere is no user `bob`\n"));
///
/// let error = HttpError::new(409, "the name is taken");
/// assert_eq!((error.status(), error.message()), (409, "the name is taken"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    status: u16,
    message: String,
}

impl HttpError {
    /// An error with this status. The client gets the message as plain text.
    pub fn new(status: u16, message: impl Into<String>) -> HttpError {
        HttpError {
            status,
            message: message.into(),
        }
    }

    /// The status of the response.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The message that the client gets.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.status)
    }
}

impl std::error::Error for HttpError {}

impl From<HttpError> for io::Error {
    fn from(error: HttpError) -> io::Error {
        io::Error::other(error)
    }
}
