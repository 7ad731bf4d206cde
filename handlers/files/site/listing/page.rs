//! The formats of a listing, and the choice of the format for a request.

use socketserver_http::protocol::accept;
use socketserver_http::protocol::head::Head;
use socketserver_http::protocol::query::Query;

use super::entries::{Facts, Folder, Kind};
use super::html::Html;
use super::json::Json;
use super::sort::Order;
use super::text::Text;
use crate::files::site::pages::upload_area::Nonce;

/// A format of a listing: it writes the beginning, a row for each entry, and the end.
pub(crate) trait Page: Send {
    fn begin(&mut self, folder: &Folder, to: &mut Vec<u8>);
    fn row(&mut self, row: &Row<'_>, to: &mut Vec<u8>);
    fn end(&mut self, folder: &Folder, to: &mut Vec<u8>);
}

/// An entry with the values that are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: Kind,
    /// `None` if the metadata can't be read.
    pub(crate) facts: Option<Facts>,
}

/// The format of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Html,
    Json,
    Text,
}

impl Form {
    /// Chooses the format. `?json` requests JSON. curl and clients that accept plain text but not
    /// HTML get plain text. All others get the HTML page.
    pub(crate) fn wanted(head: &Head<'_>, query: Query<'_>) -> Form {
        if query.has("json") {
            return Form::Json;
        }
        let html = accept::names(head, b"text/html");
        let is_curl = head
            .user_agent
            .is_some_and(|agent| agent.starts_with(b"curl/"));
        if !html && (is_curl || accept::names(head, b"text/plain")) {
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
