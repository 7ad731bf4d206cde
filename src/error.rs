//! Errors, the deadlines that can pass, and the reasons for a refusal.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::Path;

/// The result of fallible operations of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of any type, as [`Error::Handler`] holds it.
pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The failure of a server or of one connection. Displays as one line.
///
/// # Errors of a handler
///
/// A handler returns its own errors with `?` where the compiler knows the conversion:
///
/// | error | what `?` makes of it |
/// |---|---|
/// | [`io::Error`] | [`Error::Io`]; an `Error` that passed through `Read` or `Write` is itself again |
/// | of parsing, UTF-8 and conversion in the standard library | [`Error::Handler`] |
/// | [`std::fmt::Error`], `SystemTimeError` | [`Error::Handler`] |
/// | `Box<dyn Error + Send + Sync>` | [`Error::Handler`]; a boxed `Error` or [`io::Error`] is itself again |
/// | any other, also `anyhow::Error` and text | needs [`Error::handler`]: `.map_err(Error::handler)?` |
///
/// A handler whose errors are mostly of the last row does its work in a function that returns
/// `Result<T, Box<dyn Error + Send + Sync>>`, where `?` works for every error, and calls that
/// function with `?`. A conversion for all error types is impossible. Rust allows it only if
/// `Error` itself does not implement [`std::error::Error`]. Then `Error` could not be the source of
/// another error, and could not pass through [`Read`](io::Read).
///
/// ```
/// use std::io::Write;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Error, Next, Result, StreamRequest};
///
/// /// Adds the numbers of each line.
/// fn add(request: &mut StreamRequest) -> Result<Next> {
///     while let Some(line) = request.rfile.take_line(4096)? {
///         let mut sum: i32 = 0;
///         for number in std::str::from_utf8(line)?.split_whitespace() {
///             let number: i32 = number.parse()?;
///             let added = sum.checked_add(number);
///             sum = added.ok_or_else(|| Error::handler("the sum is too large"))?;
///         }
///         writeln!(request.wfile, "{sum}")?;
///     }
///     Ok(Next::Wait)
/// }
///
/// let mut client = TestConnection::new(Builder::new(), |_| add);
/// client.send(b"1 2 3\n");
/// assert_eq!(client.received(), b"6\n");
/// client.send(b"one\n");
/// assert!(client.is_closed());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed, or a handler's own file or connection did.
    Io(io::Error),
    /// The connection failed because the peer has gone: a reset, a broken pipe, a vanished host, or
    /// an end of file in the middle of a message. A disconnect is normal, so it is neither counted
    /// as failed nor reported to [`handle_error`](crate::ServerHooks::handle_error).
    Disconnected(io::Error),
    /// An address could not be bound.
    Bind {
        /// The address.
        address: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A connection of the program's own could not be made.
    Connect {
        /// The address.
        address: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A text is not a valid address.
    Address(String),
    /// A file cannot be used.
    File {
        /// The path of the file.
        path: std::path::PathBuf,
        /// The reason.
        reason: String,
        /// The error that caused it, if there is one.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The handler failed with an error of its own.
    Handler(Box<dyn std::error::Error + Send + Sync>),
    /// The peer sent a line that is longer than the handler allows.
    LineTooLong {
        /// Maximum length of a line, in bytes.
        limit: usize,
    },
    /// The handler left more bytes unread than [`Limits::max_message`](crate::Limits::max_message).
    MessageTooLong {
        /// Maximum number of unread bytes.
        limit: usize,
    },
    /// A deadline has passed.
    Timeout(Timeout),
    /// The server refused the peer.
    Refused(Refusal),
    /// The peer broke the protocol of the handler, which gives the reason.
    Protocol(String),
    /// The peer sent a malformed PROXY header.
    Proxy(&'static str),
    /// TLS failed. Needs the feature `tls`.
    #[cfg(feature = "tls")]
    Tls(rustls::Error),
    /// A handler or a hook panicked, with this message.
    Panicked(String),
    /// A setting does not work in this process or with another setting.
    Unsupported(String),
    /// The connection was closed by [`Waker::close`](crate::Waker::close), which gave this reason,
    /// or by a [`Group`](crate::Group). It is not counted as failed.
    Closed(Cow<'static, str>),
}

/// The deadline that has passed; see [`Timeouts`](crate::Timeouts).
///
/// ```
/// use std::time::Duration;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Next, StreamRequest, Timeout};
///
/// let ignore = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     Ok(Next::Wait)
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| ignore);
/// client.advance(Duration::from_secs(600));
/// assert_eq!(client.server().stats().timeouts(Timeout::Idle), 1);
/// assert_eq!(Timeout::Idle.to_string(), "idle for too long");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timeout {
    /// The TLS handshake was not complete within the head timeout, or the peer of
    /// [`ServerHandle::connect`](crate::ServerHandle::connect) did not accept within it.
    Handshake,
    /// A PROXY header or a message was not complete within the head timeout.
    Head,
    /// No byte arrived between two messages within the idle timeout.
    Idle,
    /// No byte arrived within a message within the read timeout.
    Read,
    /// The peer took no byte of the output within the write timeout.
    Write,
    /// Bytes moved more slowly than the minimum rate.
    TooSlow,
}

impl Timeout {
    /// Every deadline, for statistics.
    pub const ALL: [Timeout; Timeout::COUNT] = [
        Timeout::Handshake,
        Timeout::Head,
        Timeout::Idle,
        Timeout::Read,
        Timeout::Write,
        Timeout::TooSlow,
    ];
    pub(crate) const COUNT: usize = 6;
}

/// The reason why a peer was refused.
///
/// ```
/// use socketserver::{ClientAddress, Refusal, ServerHooks};
///
/// struct Polite;
///
/// impl ServerHooks for Polite {
///     fn handle_refusal(&self, _: &ClientAddress, why: Refusal) -> Option<&[u8]> {
///         match why {
///             Refusal::Denied => None,
///             _ => Some(b"busy: come back later\n"),
///         }
///     }
/// }
///
/// assert!(Polite.handle_refusal(&ClientAddress::Memory, Refusal::QueueFull).is_some());
/// assert_eq!(Refusal::MaxConnections.to_string(), "too many connections");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// [`Limits::max_connections`](crate::Limits::max_connections) connections are open.
    MaxConnections,
    /// This client address has
    /// [`Limits::max_per_address`](crate::Limits::max_per_address) connections open.
    MaxPerAddress,
    /// [`Limits::max_queue`](crate::Limits::max_queue) connections wait for a thread. Or, with
    /// [`ordered_datagrams`](crate::Builder::ordered_datagrams), 64 datagrams of this peer wait for
    /// an earlier one.
    QueueFull,
    /// `verify_request` returned false or panicked.
    Denied,
}

impl Refusal {
    /// Every reason, for statistics.
    pub const ALL: [Refusal; Refusal::COUNT] = [
        Refusal::MaxConnections,
        Refusal::MaxPerAddress,
        Refusal::QueueFull,
        Refusal::Denied,
    ];
    pub(crate) const COUNT: usize = 4;
}

impl Error {
    /// The error of a handler, from an error of any type or from text. What `?` converts too
    /// becomes what `?` makes of it.
    ///
    /// ```
    /// use socketserver::{Error, Result};
    ///
    /// fn parse(text: &str) -> Result<serde_json::Value> {
    ///     serde_json::from_str(text).map_err(Error::handler)
    /// }
    /// let error = parse("{").unwrap_err();
    /// assert!(matches!(&error, Error::Handler(own) if own.is::<serde_json::Error>()));
    /// ```
    pub fn handler(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::from(error.into())
    }

    /// A file that cannot be used because of `error`.
    pub(crate) fn file(path: &Path, error: impl Into<AnyError>) -> Error {
        let error = error.into();
        Error::File {
            path: path.to_owned(),
            reason: error.to_string(),
            source: Some(error),
        }
    }

    /// Whether the peer disconnected. Only an error of the connection itself is a disconnect. The
    /// same kind of error from a handler's own file or upstream connection is a failure.
    ///
    /// ```
    /// use std::io;
    /// use socketserver::Error;
    ///
    /// let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    /// assert!(Error::Disconnected(reset()).is_disconnect());
    /// assert!(!Error::Io(reset()).is_disconnect());
    /// ```
    pub fn is_disconnect(&self) -> bool {
        matches!(self, Error::Disconnected(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) | Error::Disconnected(error) => write!(f, "{error}"),
            Error::Bind { address, source } => {
                write!(f, "can't listen on {address}: {}", bind_advice(source))
            }
            Error::Connect { address, source } => {
                write!(f, "can't connect to {address}: {source}")
            }
            Error::Address(text) | Error::Protocol(text) | Error::Unsupported(text) => {
                f.write_str(text)
            }
            Error::File { path, reason, .. } => write!(f, "{}: {reason}", path.display()),
            Error::Handler(error) => write!(f, "{error}"),
            Error::LineTooLong { limit } => write!(f, "a line is longer than {limit} bytes"),
            Error::MessageTooLong { limit } => write!(f, "a message is longer than {limit} bytes"),
            Error::Timeout(what) => write!(f, "{what}"),
            Error::Refused(why) => write!(f, "refused: {why}"),
            Error::Proxy(reason) => write!(f, "bad PROXY header: {reason}"),
            #[cfg(feature = "tls")]
            Error::Tls(error) => write!(f, "TLS: {error}"),
            Error::Panicked(message) => write!(f, "the handler panicked: {message}"),
            Error::Closed(reason) => write!(f, "closed: {reason}"),
        }
    }
}

/// The system's error in words that help to start the server.
fn bind_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use: another server listens there".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}: ports below 1024 need privileges; take a higher one")
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address".to_owned()
        }
        _ => error.to_string(),
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Timeout::Handshake => "the handshake took too long",
            Timeout::Head => "the beginning of a message took too long",
            Timeout::Idle => "idle for too long",
            Timeout::Read => "the peer stopped sending within a message",
            Timeout::Write => "the peer stopped reading",
            Timeout::TooSlow => "the peer is too slow",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::MaxConnections => "too many connections",
            Refusal::MaxPerAddress => "too many connections of this address",
            Refusal::QueueFull => "too many requests wait for a thread",
            Refusal::Denied => "not allowed",
        })
    }
}

/// The message of a caught panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error)
            | Error::Disconnected(error)
            | Error::Bind { source: error, .. }
            | Error::Connect { source: error, .. } => Some(error),
            #[cfg(feature = "tls")]
            Error::Tls(error) => Some(error),
            Error::Handler(error) => Some(&**error),
            Error::File { source, .. } => source.as_deref().map(|error| error as _),
            Error::Address(_)
            | Error::LineTooLong { .. }
            | Error::MessageTooLong { .. }
            | Error::Timeout(_)
            | Error::Refused(_)
            | Error::Protocol(_)
            | Error::Proxy(_)
            | Error::Panicked(_)
            | Error::Unsupported(_)
            | Error::Closed(_) => None,
        }
    }
}

impl From<io::Error> for Error {
    /// An error of this crate that passed through `Read` or `Write` becomes the same error again.
    fn from(error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(own) => own,
            Err(error) => Error::Io(error),
        }
    }
}

impl From<AnyError> for Error {
    /// An error of this crate or of I/O that was boxed becomes the same error again.
    fn from(error: AnyError) -> Error {
        match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(error) => match error.downcast::<io::Error>() {
                Ok(error) => Error::from(*error),
                Err(error) => Error::Handler(error),
            },
        }
    }
}

/// Errors of the standard library that a handler meets when it parses what a client sent.
macro_rules! handler_errors {
    ($($type:ty),* $(,)?) => {$(
        impl From<$type> for Error {
            fn from(error: $type) -> Error {
                Error::Handler(Box::new(error))
            }
        }
    )*};
}

handler_errors!(
    fmt::Error,
    std::array::TryFromSliceError,
    std::char::ParseCharError,
    std::char::CharTryFromError,
    std::ffi::FromBytesWithNulError,
    std::ffi::NulError,
    std::net::AddrParseError,
    std::num::ParseFloatError,
    std::num::ParseIntError,
    std::num::TryFromIntError,
    std::str::ParseBoolError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::string::FromUtf16Error,
    std::time::SystemTimeError,
);

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error {
            Error::Io(error) => return error,
            Error::Disconnected(ref error) => error.kind(),
            Error::Timeout(_) => io::ErrorKind::TimedOut,
            Error::LineTooLong { .. }
            | Error::MessageTooLong { .. }
            | Error::Protocol(_)
            | Error::Proxy(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_error_survives_the_way_through_io() {
        let back = Error::from(io::Error::from(Error::Timeout(Timeout::Read)));
        assert!(matches!(back, Error::Timeout(Timeout::Read)));
        let reset = Error::Disconnected(io::ErrorKind::ConnectionReset.into());
        let through = io::Error::from(reset);
        assert_eq!(through.kind(), io::ErrorKind::ConnectionReset);
        assert!(Error::from(through).is_disconnect());
    }

    #[test]
    fn an_own_error_survives_a_box() {
        let boxed: AnyError = Error::Refused(Refusal::Denied).into();
        assert!(matches!(
            Error::from(boxed),
            Error::Refused(Refusal::Denied)
        ));
        let through_both: AnyError = io::Error::from(Error::Timeout(Timeout::Read)).into();
        let back = Error::handler(through_both);
        assert!(matches!(back, Error::Timeout(Timeout::Read)));
        let text = Error::handler("no such user");
        assert_eq!(text.to_string(), "no such user");
    }

    #[test]
    fn every_error_that_has_a_cause_returns_it_as_its_source() {
        use std::error::Error as _;
        let io = || io::Error::from(io::ErrorKind::NotFound);
        let address = String::new;
        for error in [
            Error::Io(io()),
            Error::Disconnected(io()),
            Error::Bind {
                address: address(),
                source: io(),
            },
            Error::Connect {
                address: address(),
                source: io(),
            },
            Error::file(Path::new("a"), io()),
            Error::Handler(io().into()),
        ] {
            let source = error.source().and_then(|source| source.downcast_ref());
            let kind = source.map(io::Error::kind);
            assert_eq!(kind, Some(io::ErrorKind::NotFound), "{error}");
        }
    }

    #[test]
    fn only_an_error_of_the_connection_is_a_disconnect() {
        let own = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(!Error::from(own).is_disconnect());
    }
}
