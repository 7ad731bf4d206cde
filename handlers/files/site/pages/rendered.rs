//! Shows a Markdown file as an HTML page to clients that accept HTML.

use std::os::unix::ffi::OsStrExt;

use socketserver_http::protocol::accept;
use socketserver_http::protocol::head::Head;
use socketserver_http::protocol::query::Query;

use crate::files::site::entry::Entry;
use crate::files::site::pages::{document, markdown, markup};

const VARY: &str = "Vary: Accept\r\n";

/// The page of a Markdown file. If the client does not want a page, the result is the file itself
/// with a header that says that other clients may get a page. `None` if the file is not Markdown or
/// is too long. `more` contains additional header lines.
pub(crate) fn page(entry: &Entry, head: &Head<'_>, query: Query<'_>, more: &str) -> Option<Entry> {
    if !entry.media_type.starts_with("text/markdown") || entry.length > markdown::MAX_LENGTH {
        return None;
    }
    let source = entry.whole().ok()?;
    if query.has("raw") || !accept::names(head, b"text/html") {
        return Some(entry.represented(source.to_vec(), &entry.media_type, &[VARY, more].concat()));
    }
    let name = entry.path.file_name().unwrap_or_default().as_bytes();
    let mut content = Vec::new();
    document::begin(&markup::escape(name), &mut content);
    content.extend(b"<main>\n");
    content.extend(markdown::render(&String::from_utf8_lossy(&source)).bytes());
    content.extend(b"</main>\n<p><a href=\"?raw\">Source</a></p>\n");
    document::end(&mut content);
    Some(entry.represented(
        content,
        "text/html; charset=utf-8",
        &format!(
            "{VARY}Content-Security-Policy: {}\r\n{more}",
            document::POLICY
        ),
    ))
}
