//! The forms of a listing, and which one a request asks for.

use super::entries::{Facts, Folder, Kind};
use super::html::Html;
use super::json::Json;
use super::sort::Order;
use super::text::Text;
use crate::files::upload::page::Nonce;
use crate::http::protocol::head::Head;
use crate::http::protocol::query::Query;

/// A form of a listing: what stands before, for, and behind its entries.
pub(crate) trait Page: Send {
    fn begin(&mut self, folder: &Folder, to: &mut Vec<u8>);
    fn row(&mut self, row: &Row<'_>, to: &mut Vec<u8>);
    fn end(&mut self, folder: &Folder, to: &mut Vec<u8>);
}

/// An entry, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: Kind,
    /// `None` if the system doesn't tell.
    pub(crate) facts: Option<Facts>,
}

/// The form of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Html,
    Json,
    Text,
}

impl Form {
    /// `?json` asks for JSON; curl gets plain text, and so does who accepts that and no HTML; all
    /// others get the page.
    pub(crate) fn wanted(head: &Head<'_>, query: Query<'_>) -> Form {
        if query.has("json") {
            return Form::Json;
        }
        let html = accepts(head, b"text/html");
        let is_curl = head
            .user_agent
            .is_some_and(|agent| agent.starts_with(b"curl/"));
        if !html && (is_curl || accepts(head, b"text/plain")) {
            Form::Text
        } else {
            Form::Html
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Form::Html => "text/html; charset=utf-8",
            Form::Json => "application/json; charset=utf-8",
            Form::Text => "text/plain; charset=utf-8",
        }
    }

    pub(crate) fn page(self, order: Order, filter: String, upload: Option<Nonce>) -> Box<dyn Page> {
        match self {
            Form::Html => Box::new(Html::new(order, filter, upload)),
            Form::Json => Box::new(Json::default()),
            Form::Text => Box::new(Text),
        }
    }
}

/// Whether `Accept` names a media type (RFC 9110 §12.5.1); ranges such as `*/*` don't, as everybody
/// sends them, nor does a weight of 0.
pub(crate) fn accepts(head: &Head<'_>, media_type: &[u8]) -> bool {
    head.values("accept")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|range| {
            let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(media_type));
            let refused = |part: &[u8]| {
                let weight = part
                    .strip_prefix(b"q=")
                    .or_else(|| part.strip_prefix(b"Q="));
                weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
            };
            named && !parts.any(refused)
        })
}
