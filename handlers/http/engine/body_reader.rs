//! The body of a request, as the author of an HTTP service reads it.

use std::fmt;
use std::io::{self, Read, Write};

use socketserver::{RFile, WFile};

use crate::engine::body::Body;
use crate::protocol::head::HeadError;

/// Tells a client that it may send its body (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The body of a request, whatever its framing.
///
/// A route that counts the bytes of a body of any length, without holding it in memory:
///
/// ```
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{Response, Router};
///
/// let router = Router::new().post("/count", |request| {
///     let count = std::io::copy(request.body(), &mut std::io::sink())?;
///     Ok(Response::text(format!("{count} bytes\n")))
/// });
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(b"POST /count HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello");
/// assert!(client.received().ends_with(b"\r\n\r\n5 bytes\n"));
/// ```
pub struct BodyReader<'a> {
    /// The part of the body that arrived before the route was called.
    gathered: Vec<u8>,
    /// Bytes of `gathered` that were read.
    read: usize,
    /// The source of the rest. `None` for a request without a body.
    source: Option<BodySource<'a>>,
    /// Maximum length of the whole body, in bytes.
    limit: u64,
    /// Why the body can't be read to its end.
    failure: Option<BodyFailure>,
    /// Whether a read has failed. If so, the start of the next request is unknown.
    is_broken: bool,
}

/// Where the rest of a body comes from.
pub struct BodySource<'a> {
    pub(crate) body: &'a mut Body,
    pub(crate) rfile: &'a mut RFile,
    pub(crate) wfile: &'a mut WFile,
    /// The client waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1).
    pub(crate) continue_due: &'a mut bool,
}

/// Why a body can't be read to its end.
#[derive(Debug)]
pub enum BodyFailure {
    /// The body is malformed, too long or incomplete, which is the client's fault. The error holds
    /// the status of the response.
    Refused(HeadError),
    /// The client was slower than the server's timeouts allow.
    TooSlow(io::Error),
    /// The connection is lost.
    Lost(io::Error),
}

impl BodyFailure {
    fn of(error: io::Error) -> BodyFailure {
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<HeadError>())
        {
            Some(refused) => BodyFailure::Refused(*refused),
            // An error without an OS error code is a timeout of this server. ETIMEDOUT from the
            // operating system means instead that the peer is unreachable.
            None if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() => {
                BodyFailure::TooSlow(error)
            }
            None => BodyFailure::Lost(error),
        }
    }

    /// The error that the route gets. The route may inspect it or return it.
    fn for_route(&self) -> io::Error {
        match self {
            BodyFailure::Refused(refused) => {
                io::Error::new(io::ErrorKind::InvalidData, refused.reason)
            }
            BodyFailure::TooSlow(error) | BodyFailure::Lost(error) => {
                io::Error::new(error.kind(), error.to_string())
            }
        }
    }
}

impl<'a> BodyReader<'a> {
    /// A reader for a request without a body.
    #[doc(hidden)]
    pub fn empty() -> BodyReader<'a> {
        BodyReader {
            gathered: Vec::new(),
            read: 0,
            source: None,
            limit: u64::MAX,
            failure: None,
            is_broken: false,
        }
    }

    /// A reader for a body that is read from `source`.
    #[doc(hidden)]
    pub fn new(source: BodySource<'a>) -> BodyReader<'a> {
        BodyReader {
            source: Some(source),
            ..BodyReader::empty()
        }
    }

    /// Adds the first part of the body, which was taken from the connection before.
    #[doc(hidden)]
    pub fn with_gathered(self, gathered: Vec<u8>) -> BodyReader<'a> {
        BodyReader { gathered, ..self }
    }

    /// Sets the maximum length of the whole body in bytes. A longer body gets status 413.
    #[doc(hidden)]
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Whether the part gathered so far is already longer than the limit.
    #[doc(hidden)]
    pub fn is_over_limit(&self) -> bool {
        self.gathered.len() as u64 > self.limit
    }

    /// Takes the reason why a read has failed, if one has. Later reads still fail.
    #[doc(hidden)]
    pub fn take_failure(&mut self) -> Option<BodyFailure> {
        self.failure.take()
    }

    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(BodySource {
            body,
            rfile,
            wfile,
            continue_due,
        }) = &mut self.source
        else {
            return Ok(0);
        };
        if std::mem::take(*continue_due) {
            wfile.write_all(CONTINUE)?;
            wfile.flush()?;
        }
        let count = loop {
            match body.try_read(rfile, buffer)? {
                Some(count) => break count,
                None => drop(rfile.wait_for_more()?),
            }
        };
        if body.taken() > self.limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, TOO_LONG));
        }
        Ok(count)
    }
}

/// The error for a body that exceeds its limit (RFC 9110 §15.5.14).
pub const TOO_LONG: HeadError =
    HeadError::new(413, "the request body is longer than this address accepts");

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Some(failure) = &self.failure {
            return Err(failure.for_route());
        }
        if self.is_broken {
            return Err(io::Error::other("an earlier read of the body failed"));
        }
        let left = &self.gathered[self.read..];
        if !left.is_empty() {
            let count = left.len().min(buffer.len());
            buffer[..count].copy_from_slice(&left[..count]);
            self.read += count;
            return Ok(count);
        }
        self.read_on(buffer).map_err(|error| {
            let failure = BodyFailure::of(error);
            let error = failure.for_route();
            self.failure = Some(failure);
            self.is_broken = true;
            if let Some(source) = &mut self.source {
                source.body.set_broken();
            }
            error
        })
    }
}

impl fmt::Debug for BodyReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader").finish_non_exhaustive()
    }
}
