//! Sends a file: chooses its coded form, and applies the request's conditions and ranges.

use std::sync::Arc;

use socketserver_http::engine::error_page::error_page;
use socketserver_http::engine::response::{Content, Response};
use socketserver_http::protocol::accept_encoding;
use socketserver_http::protocol::conditional::{
    self, Conditions, Outcome as Evaluated, Validators,
};
use socketserver_http::protocol::head::Method;
use socketserver_http::protocol::range::{self, Ranges};

use super::entry::{Entry, VARY};
use super::hash::{self, Described, DigestPreference};
use super::multipart::Parts;
use super::respond::{Asked, Outcome, unreadable};
use crate::accounts::Rights;

impl Asked<'_, '_> {
    /// Sends a file in the coded form that the client prefers. `more` contains additional header
    /// lines.
    pub(super) fn send(&self, plain: Arc<Entry>, request_path: &[u8], more: &str) -> Outcome {
        let head = self.head;
        // A request with a range always gets the plain form. Otherwise the client could not know
        // of which form it gets a part.
        let coded = head
            .accept_encoding
            .filter(|_| head.range.is_none())
            .and_then(|_| {
                let accepted = accept_encoding::parse(head.values("accept-encoding"));
                let coded = self.site.coded_form(&accepted, &plain, request_path);
                coded.filter(|coded| self.permit.may(Rights::READ, coded.real_path()))
            });
        self.send_form(coded.unwrap_or(plain), more)
    }

    /// Sends one form of a file, as a whole or in part, or the response that the conditions demand.
    pub(super) fn send_form(&self, entry: Arc<Entry>, more: &str) -> Outcome {
        let honours_range = match self.evaluate(&entry) {
            Evaluated::NotModified => {
                let mut response = Response::new(304); // RFC 9110 §15.4.5
                response.add_lines(entry.validators());
                return Ok(response);
            }
            Evaluated::PreconditionFailed => {
                let detail = "The file does not meet the request's conditions.";
                return Err(error_page(412, detail));
            }
            // `Range` is defined only for GET (RFC 9110 §14.2).
            Evaluated::Proceed { honour_range } => honour_range && self.head.method == Method::Get,
        };
        let ranges = self
            .head
            .range
            .filter(|_| honours_range)
            .map(|range| range::parse(range, entry.length));
        let is_head = self.head.method == Method::Head;
        if !is_head && !matches!(ranges, Some(Ranges::Unsatisfiable)) {
            let is_part = matches!(ranges, Some(Ranges::Satisfiable(_)));
            self.permit.begin_download(is_part)?;
        }
        let mut response = match ranges {
            Some(Ranges::Satisfiable(ranges)) => partial(&entry, ranges),
            Some(Ranges::Unsatisfiable) => {
                let whole = format!("bytes */{}", entry.length);
                let page = error_page(416, "The requested range is outside the file.");
                return Err(page.header("Content-Range", &whole));
            }
            Some(Ranges::Ignore) | None => {
                Response::new(200).with_content(Content::File(Arc::clone(&entry) as _))
            }
        };
        response.add_lines(more);
        // For a file that is not text, `Vary` is needed only if a coded file was found beside it,
        // which is known only after the first look-up.
        if !entry.varies && entry.codings.is_any_beside() {
            response.add_lines(VARY);
        }
        // The content of a response to HEAD is empty (RFC 9530, appendix B.2), so a digest of it
        // would be useless.
        let is_whole = response.status() == 200 && !is_head;
        match DigestPreference::of(self.head, is_whole) {
            Some(wish) => self.describe(response, &entry, wish),
            None => Ok(response),
        }
    }

    /// Adds the digests that the client requests to a response.
    fn describe(&self, mut response: Response, entry: &Entry, wish: DigestPreference) -> Outcome {
        let described = hash::describe(entry, wish, &self.site.digests);
        match described.map_err(|error| unreadable(entry, &error))? {
            Described::Now(headers) => response.add_lines(&headers),
            Described::Later(pending) => response.delivery().pending = Some(pending),
        }
        Ok(response)
    }

    /// Evaluates the request's conditions for a file.
    fn evaluate(&self, entry: &Entry) -> Evaluated {
        let head = self.head;
        let if_match = self.joined("if-match", head.if_match);
        let if_none_match = self.joined("if-none-match", head.if_none_match);
        let conditions = Conditions {
            if_match: if_match.as_deref(),
            if_none_match: if_none_match.as_deref(),
            if_modified_since: head.if_modified_since,
            if_unmodified_since: head.if_unmodified_since,
            if_range: head.if_range,
        };
        let current = Validators {
            etag: Some(entry.etag.as_bytes()),
            last_modified: Some(entry.modified),
        };
        conditional::evaluate(&conditions, Some(&current), true)
    }

    /// The value of a list that may be spread over several headers (RFC 9110 §5.3).
    fn joined(&self, name: &str, first: Option<&[u8]>) -> Option<Vec<u8>> {
        first.and_then(|_| self.head.joined(name))
    }
}

/// A response with one range of a file (RFC 9110 §15.3.7), or with several ranges, each as a body
/// part (§14.6).
fn partial(entry: &Entry, ranges: Vec<std::ops::Range<u64>>) -> Response {
    let response = Response::new(206);
    let mut response = match &ranges[..] {
        [range] => {
            let (first, last, length) = (range.start, range.end - 1, entry.length);
            response
                .header("Content-Type", &entry.media_type)
                .header("Content-Range", &format!("bytes {first}-{last}/{length}"))
                .with_content(Content::Part(entry.body.clone(), range.clone()))
        }
        _ => {
            let parts = Parts::new(entry, ranges);
            let media_type = format!("multipart/byteranges; boundary={}", parts.boundary());
            response.stream(&media_type, parts)
        }
    };
    response.add_lines(entry.validators());
    response
}
