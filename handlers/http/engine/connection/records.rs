//! Records for the access log. A request is logged when its response has been sent, or when the
//! connection ends before that. So the log has the number of bytes that were really sent.

use socketserver::StreamRequest;

use super::HttpHandler;
use crate::engine::log::RequestRecord;
use crate::engine::writer::{Following, Written};
use crate::protocol::head::Head;

/// A request whose response is being sent. Only connections with an access log have such records.
pub(super) struct PendingRecord {
    user: Option<String>,
    request_line: Vec<u8>,
    referer: Option<Vec<u8>>,
    user_agent: Option<Vec<u8>>,
    status: u16,
    /// Where the response's body begins, counted in bytes from the connection's first sent byte.
    body_begin: u64,
    /// Where the response's body ends. `None` while more pieces will be written.
    body_end: Option<u64>,
}

impl PendingRecord {
    fn is_sent(&self, bytes_sent: u64) -> bool {
        self.body_end.is_some_and(|end| end <= bytes_sent)
    }
}

/// Bytes written since the connection began, both sent and still buffered.
fn bytes_written(request: &StreamRequest) -> u64 {
    request.wfile.bytes_sent() + request.wfile.bytes_unsent()
}

impl HttpHandler {
    /// Queues the record of a request whose response was just written. The request is logged once
    /// the response is sent.
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
        // A response without a body is logged immediately: its count of body bytes can't change.
        if body_end == Some(body_begin) && self.records.len() == 1 {
            self.log_all(request);
        }
    }

    /// Completes the record of a streamed response whose last piece was written.
    pub(super) fn end_record(&mut self, request: &StreamRequest) {
        if let Some(record) = self.records.back_mut() {
            record.body_end = Some(bytes_written(request));
        }
    }

    /// Whether a complete response waits to be logged.
    pub(super) fn has_record_to_write(&self) -> bool {
        self.records.iter().any(|record| record.body_end.is_some())
    }

    /// Logs the requests whose responses were sent.
    pub(super) fn log_sent(&mut self, request: &StreamRequest) {
        if self.records.is_empty() {
            return;
        }
        let sent = request.wfile.bytes_sent();
        while let Some(record) = self.records.pop_front_if(|record| record.is_sent(sent)) {
            self.write_record(request, &record);
        }
    }

    /// Logs all pending requests, because the connection ends.
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
