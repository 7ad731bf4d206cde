//! A Markdown file, shown as a page to who wants one.

use super::head::Head;
use super::listing::page::accepts;
use super::query::Query;
use super::site::Entry;
use super::{document, markdown, markup, target};

const VARY: &str = "Vary: Accept\r\n";

/// The page of a file; or the file as it is, but told that others may get another form of it. `None` if it is no Markdown, or too long.
/// `raw_target` is the path and query as they were sent.
pub(crate) fn page(entry: &Entry, head: &Head<'_>, raw_target: &[u8]) -> Option<Entry> {
    if !entry.media_type.starts_with("text/markdown") || entry.length > markdown::LONGEST {
        return None;
    }
    let source = entry.content().ok()?;
    let target = target::parse(raw_target).ok()?;
    if Query(target.query.unwrap_or_default()).has("raw") || !accepts(head, b"text/html") {
        return Some(entry.represented(source.to_vec(), &entry.media_type, VARY.to_owned()));
    }
    let name = target.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let mut content = Vec::new();
    document::begin(&markup::escape(name), &mut content);
    content.extend(b"<main>\n");
    content.extend(markdown::render(&String::from_utf8_lossy(&source)).bytes());
    content.extend(b"</main>\n<p><a href=\"?raw\">Source</a></p>\n");
    document::end(&mut content);
    Some(entry.represented(
        content,
        "text/html; charset=utf-8",
        format!("{VARY}Content-Security-Policy: {}\r\n", document::POLICY),
    ))
}
