//! Answering from files: what a path stands for, its conditions, its ranges.

use std::borrow::Cow;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use socketserver::WFile;

use super::application::{Answer, Application, Incoming};
use super::conditional::{self, Conditions, Outcome, Validators};
use super::head::{Head, Method, Target};
use super::query::Query;
use super::range::{self, Ranges};
use super::reply::{self, Frame};
use super::site::{Entry, Resource, Site};
use super::{listing, rendered, target};

const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";
/// The page that is shown for what isn't there.
const NOT_FOUND_PAGE: &[u8] = b"404.html";

impl Application for Site {
    fn wants_body(&self, _: &Head<'_>) -> bool {
        false
    }

    fn respond(&self, request: Incoming<'_>, frame: Frame) -> io::Result<Answer> {
        Exchange { site: self, head: request.head, frame, wfile: request.body.wfile }.answer()
    }
}

/// A request with what its answer needs.
struct Exchange<'a> {
    site: &'a Site,
    head: &'a Head<'a>,
    frame: Frame,
    wfile: &'a mut WFile,
}

impl Exchange<'_> {
    fn answer(&mut self) -> io::Result<Answer> {
        match self.head.method {
            Method::Get | Method::Head => self.get(),
            Method::Options => reply::empty(self.wfile, self.frame, 204, ALLOW).map(Answer::Sent),
            Method::Other => self.error(501, "", "This method is unknown here."),
            _ => self.error(405, ALLOW, "Only GET, HEAD and OPTIONS are possible here."),
        }
    }

    fn get(&mut self) -> io::Result<Answer> {
        let raw = &*path_and_query(&self.head.target);
        let path_end = memchr::memchr(b'?', raw).unwrap_or(raw.len());
        let now_ms = now_ms();
        let site = self.site;
        if let Some(entry) = site.cache.get(&raw[..path_end], now_ms, |path, entry| site.is_current(path, entry)) {
            return self.send(&entry, raw);
        }
        let target = match target::parse(raw) {
            Ok(target) => target,
            Err(error) => return self.error(400, "", &format!("The path was refused: {error}.")),
        };
        match site.find(&target.path, target.trailing_slash) {
            Resource::File(entry) => {
                site.cache.insert(&raw[..path_end], &target.path, &entry, now_ms);
                self.send(&entry, raw)
            }
            Resource::NeedsSlash => {
                let location = target.location_of_directory();
                let fields = format!("Location: {location}\r\n");
                self.error(301, &fields, &format!("It is at <a href=\"{location}\">{location}</a>."))
            }
            Resource::Directory(folder) if !site.options.no_listing => {
                let query = Query(target.query.unwrap_or_default());
                match listing::respond(self.head, folder, query, site.options.hidden) {
                    Ok(response) => reply::response(self.wfile, self.frame, response),
                    Err((status, detail)) => self.error(status, "", detail),
                }
            }
            Resource::Directory(_) => self.not_found(),
            Resource::NotFound => self.not_found(),
            Resource::Forbidden => self.error(403, "", "Reading this isn't allowed."),
        }
    }

    fn not_found(&mut self) -> io::Result<Answer> {
        match self.site.find(NOT_FOUND_PAGE, false) {
            Resource::File(entry) => reply::page_file(self.wfile, self.frame, 404, &entry).map(Answer::Sent),
            _ => self.error(404, "", "There is nothing at this address."),
        }
    }

    fn error(&mut self, status: u16, fields: &str, detail: &str) -> io::Result<Answer> {
        reply::error(self.wfile, self.frame, status, fields, detail).map(Answer::Sent)
    }

    /// A file, or what its conditions and range leave of it.
    fn send(&mut self, entry: &Entry, raw_target: &[u8]) -> io::Result<Answer> {
        let head = self.head;
        let rendered = self.site.options.render_markdown.then(|| rendered::page(entry, head, raw_target)).flatten();
        let entry = rendered.as_ref().unwrap_or(entry);
        let if_match = self.joined("if-match", head.if_match);
        let if_none_match = self.joined("if-none-match", head.if_none_match);
        let conditions = Conditions {
            if_match: if_match.as_deref(),
            if_none_match: if_none_match.as_deref(),
            if_modified_since: head.if_modified_since,
            if_unmodified_since: head.if_unmodified_since,
            if_range: head.if_range,
        };
        let current = Validators { etag: Some(entry.etag.as_bytes()), last_modified: Some(entry.modified) };
        let honour_range = match conditional::evaluate(&conditions, Some(&current), true) {
            Outcome::NotModified => return reply::not_modified(self.wfile, self.frame, entry).map(Answer::Sent),
            Outcome::PreconditionFailed => return self.error(412, "", "The file isn't what the request expects."),
            // A range has a meaning for GET only (RFC 9110 §14.2).
            Outcome::Proceed { honour_range } => honour_range && head.method == Method::Get,
        };
        match head.range.filter(|_| honour_range).map(|range| range::parse(range, entry.length)) {
            Some(Ranges::Satisfiable(ranges)) => match &ranges[..] {
                [range] => reply::part(self.wfile, self.frame, entry, range.clone()).map(Answer::Sent),
                _ => reply::parts(self.wfile, self.frame, entry, ranges),
            },
            Some(Ranges::Unsatisfiable) => {
                let fields = format!("Content-Range: bytes */{}\r\n", entry.length);
                self.error(416, &fields, "The file has no bytes in that range.")
            }
            Some(Ranges::Ignore) | None => reply::file(self.wfile, self.frame, entry).map(Answer::Sent),
        }
    }

    /// A list that may come in several fields (RFC 9110 §5.3).
    fn joined(&self, name: &str, first: Option<&[u8]>) -> Option<Vec<u8>> {
        first.map(|_| self.head.values(name).collect::<Vec<_>>().join(&b", "[..]))
    }
}

/// What the target asks for here. The parser lets no other form of GET through than these two.
pub(super) fn path_and_query<'a>(target: &Target<'a>) -> Cow<'a, [u8]> {
    match *target {
        Target::Origin(path) => Cow::Borrowed(path),
        Target::Absolute { path: path @ [b'/', ..], .. } => Cow::Borrowed(path),
        Target::Absolute { path, .. } => [b"/", path].concat().into(), // RFC 9110 §7.1
        Target::Asterisk | Target::Authority(_) => Cow::Borrowed(b"/"),
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
