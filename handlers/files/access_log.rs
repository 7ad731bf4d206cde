//! Writes the requests of `serve http` to the access log.

use std::sync::Arc;

use socketserver_http::engine::log::{RequestLog, RequestRecord};
use socketserver_http::protocol::date;

use crate::accounts::share::without_token;
use crate::common::access_log::{AccessLog, Record};

/// Writes requests to the access log.
pub(super) struct FileLog {
    pub(super) log: Arc<AccessLog>,
    /// Whether tokens of share links are replaced in the log. A reader of the log could use them.
    pub(super) hides_tokens: bool,
}

impl RequestLog for FileLog {
    fn log(&self, record: &RequestRecord<'_>) {
        let line = match self.hides_tokens {
            true => without_token(record.request_line),
            false => record.request_line.into(),
        };
        self.log.log(&Record {
            client: record.client_address,
            user: record.user,
            request_line: &line,
            status: record.status,
            bytes: record.bytes,
            referer: record.referer,
            user_agent: record.user_agent,
            date: &date::now(),
        });
    }
}
