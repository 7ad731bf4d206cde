//! The interface of an access log: one record per request.

use socketserver::ClientAddress;

/// Receives the records of requests. It must not block, because the thread that serves the
/// connection calls it.
pub trait RequestLog: Send + Sync {
    /// Logs a request whose response was sent, or whose connection ended before.
    fn log(&self, record: &RequestRecord<'_>);
}

/// A request and the size of its response.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    pub client_address: &'a ClientAddress,
    /// The user, if the application knows one.
    pub user: Option<&'a str>,
    /// The request line as sent, without its line end; `-` for a request without one.
    pub request_line: &'a [u8],
    /// The response's status.
    pub status: u16,
    /// Bytes of the response's body that were sent. If the client disconnected, these are fewer
    /// than the body has.
    pub bytes: u64,
    pub referer: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
}
