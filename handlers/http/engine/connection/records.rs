//! Records for the access log. A request is logged when its answer has been sent, or when the
//! connection ends before that, so that the log holds the number of bytes that were really sent.

use socketserver::StreamRequest;

use super::HttpHandler;
use crate::engine::log::RequestRecord;
use crate::engine::writer::{Following, Written};
use crate::protocol::head::Head;

/// A request whose answer is on its way. Only a connection with an access log has any.
pub(super) struct PendingRecord {
    user: Option<String>,
    request_line: Vec<u8>,
    referer: Option<Vec<u8>>,
    user_agent: Option<Vec<u8>>,
    status: u16,
    /// Where the answer's body begins among all bytes that the connection sends.
    body_begin: u64,
    /// Where it ends; `None` while pieces of it are still made.
    body_end: Option<u64>,
}

impl PendingRecord {
    fn is_sent(&self, bytes_sent: u64) -> bool {
        self.body_end.is_some_and(|end| end <= bytes_sent)
    }
}

/// Bytes that were written since the connection began, whether they are sent or not.
fn bytes_written(request: &StreamRequest) -> u64 {
    request.wfile.bytes_sent() + request.wfile.bytes_unsent()
}

impl HttpHandler {
    /// Has a request logged once its response, which was just written, is sent.
    pub(super) fn log(
        &mut self,
        request: &StreamRequest,
        line: &[u8],
        head: Option<&Head<'_>>,
        written: &Written,
        user: Option<String>,
    ) {
        if self.log.is_none() {
            return;
        }
        let end = bytes_written(request);
        let (body_begin, body_end) = match written.next {
            Following::Stream(_) => (end, None),
            _ => (end - written.bytes, Some(end)),
        };
        self.records.push_back(PendingRecord {
            user,
            request_line: line.to_vec(),
            referer: head.and_then(|head| head.referer).map(<[u8]>::to_vec),
            user_agent: head.and_then(|head| head.user_agent).map(<[u8]>::to_vec),
            status: written.status,
            body_begin,
            body_end,
        });
        // A response without a body has nothing that could be cut.
        if body_end == Some(body_begin) && self.records.len() == 1 {
            self.log_all(request);
        }
    }

    /// The last piece of an answer that is made piece by piece was written.
    pub(super) fn end_record(&mut self, request: &StreamRequest) {
        if let Some(record) = self.records.back_mut() {
            record.body_end = Some(bytes_written(request));
        }
    }

    /// Whether a request waits to be logged whose answer is complete.
    pub(super) fn has_record_to_write(&self) -> bool {
        self.records.iter().any(|record| record.body_end.is_some())
    }

    /// Logs the requests whose answers were sent.
    pub(super) fn log_sent(&mut self, request: &StreamRequest) {
        if self.records.is_empty() {
            return;
        }
        let sent = request.wfile.bytes_sent();
        while let Some(record) = self.records.pop_front_if(|record| record.is_sent(sent)) {
            self.write_record(request, &record);
        }
    }

    /// Logs all requests, as the connection ends.
    pub(super) fn log_all(&mut self, request: &StreamRequest) {
        while let Some(record) = self.records.pop_front() {
            self.write_record(request, &record);
        }
    }

    fn write_record(&self, request: &StreamRequest, record: &PendingRecord) {
        let Some(log) = &self.log else { return };
        let sent = request.wfile.bytes_sent();
        let end = record.body_end.map_or(sent, |end| end.min(sent));
        let line = &record.request_line[..];
        log.log(&RequestRecord {
            client_address: &request.client_address,
            user: record.user.as_deref(),
            request_line: if line.is_empty() { b"-" } else { line },
            status: record.status,
            bytes: end.saturating_sub(record.body_begin),
            referer: record.referer.as_deref(),
            user_agent: record.user_agent.as_deref(),
        });
    }
}
