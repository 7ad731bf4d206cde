//! What is logged of each request.

use socketserver::ClientAddress;

/// Takes the records of requests. Must not block: the thread that serves the connection calls it.
pub trait RequestLog: Send + Sync {
    /// A request was answered, or its connection ended.
    fn log(&self, record: &RequestRecord<'_>);
}

/// One request with what was sent for it.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    pub client_address: &'a ClientAddress,
    /// The user, if the application knows one.
    pub user: Option<&'a str>,
    /// The request line as sent, without its line end; `-` for a request without one.
    pub request_line: &'a [u8],
    /// The response's status.
    pub status: u16,
    /// Bytes of its body that were sent, which are fewer than its length if the client left.
    pub bytes: u64,
    pub referer: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
}
