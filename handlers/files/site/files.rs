//! Answering from files: what a path stands for, its conditions, its ranges.

use std::borrow::Cow;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use socketserver::WFile;

use crate::common::accounts::Rights;
use crate::common::store::is_reserved;
use crate::files::access::Permit;
use crate::files::site::entry::{Entry, VARY};
use crate::files::site::hash;
use crate::files::site::hash::{Described, DigestPreference};
use crate::files::site::listing;
use crate::files::site::listing::entries::Folder;
use crate::files::site::listing::page::accepts;
use crate::files::site::options::cors;
use crate::files::site::pages::{markup, rendered};
use crate::files::site::{Resource, Site};
use crate::files::upload;
use crate::http::engine::application::{Answer, Application, Incoming};
use crate::http::engine::message::Response;
use crate::http::engine::reply;
use crate::http::engine::reply::{Frame, Selection};
use crate::http::protocol::conditional;
use crate::http::protocol::conditional::{Conditions, Outcome, Validators};
use crate::http::protocol::head::{Framing, Head, Method, Target};
use crate::http::protocol::query::Query;
use crate::http::protocol::range;
use crate::http::protocol::range::Ranges;
use crate::http::protocol::{accept_encoding, disposition, target};

/// The methods that change nothing.
pub(crate) const METHODS: &str = "GET, HEAD, OPTIONS";
const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";
/// A longer body is a mistake of the client, and told so, whatever the method.
const MAX_UNWANTED_BODY: u64 = 1 << 20;
/// The page that is shown for what isn't there.
const NOT_FOUND_PAGE: &[u8] = b"404.html";
/// Who asks for another type gets another answer.
const VARY_BY_TYPE: &str = "Vary: Accept\r\n";

impl Application for Site {
    fn respond(&self, request: Incoming<'_>, frame: Frame) -> io::Result<Answer> {
        Exchange {
            site: self,
            head: request.head,
            permit: request.permit,
            frame,
            wfile: request.body.wfile,
        }
        .answer()
    }
}

/// A request with what its answer needs.
struct Exchange<'a> {
    site: &'a Site,
    head: &'a Head<'a>,
    permit: &'a Permit,
    frame: Frame,
    wfile: &'a mut WFile,
}

impl Exchange<'_> {
    fn answer(&mut self) -> io::Result<Answer> {
        if matches!(self.head.body, Framing::Length(length) if length > MAX_UNWANTED_BODY) {
            return self.error(413, "", "This server does not accept a request body.");
        }
        match self.head.method {
            Method::Get | Method::Head => self.get(),
            Method::Options => self.options(),
            Method::Other => self.error(501, "", "The server does not know this method."),
            _ => self.error(405, ALLOW, "Only GET, HEAD and OPTIONS are available here."),
        }
    }

    fn options(&mut self) -> io::Result<Answer> {
        let policy = &self.site.policy;
        let preflight = if policy.cors {
            cors::preflight(self.head, METHODS)
        } else {
            None
        };
        let fields = [ALLOW, &policy.fields, &preflight.unwrap_or_default()].concat();
        reply::empty(self.wfile, self.frame, 204, &fields).map(Answer::Sent)
    }

    fn get(&mut self) -> io::Result<Answer> {
        let raw = &*path_and_query(&self.head.target);
        let (request_path, query) = match memchr::memchr(b'?', raw) {
            Some(at) => (&raw[..at], Some(&raw[at + 1..])),
            None => (raw, None),
        };
        if let Some(response) = self.drop_box(request_path, Query(query.unwrap_or_default())) {
            return self.with_site_headers(response);
        }
        if let Some(entry) = self.cached(request_path) {
            return self.send_file(&entry, request_path, query);
        }
        let target = match target::parse(raw) {
            Ok(target) => target,
            Err(error) => return self.error(400, "", &format!("The path was refused: {error}.")),
        };
        let Some(path) = self.site.policy.below_base(&target.path) else {
            return self.error(404, "", "There is nothing at this address.");
        };
        if let Some((status, location)) = self.site.policy.redirect(path, query) {
            return self.redirect(status, &location);
        }
        match self.site.find(path, target.trailing_slash) {
            Resource::File(entry) => {
                self.site.cache.insert(
                    request_path,
                    (path, target.trailing_slash),
                    &entry,
                    now_ms(),
                );
                self.send_file(&entry, request_path, query)
            }
            Resource::NeedsSlash => self.redirect(301, &target.location_of_directory()),
            Resource::Directory(folder) if !self.site.listing.no_listing => {
                self.send_folder(folder, Query(query.unwrap_or_default()))
            }
            Resource::Directory(_) | Resource::NotFound => self.not_found(),
            Resource::Forbidden => self.error(403, "", "The server may not read this file."),
            Resource::Unavailable => self.error(
                503,
                "Retry-After: 5\r\n",
                "The server cannot read this just now. Try again soon.",
            ),
        }
    }

    /// The answer for a folder in which the client may perhaps store files, but of which it may see
    /// nothing, not even whether it is there.
    fn drop_box(&self, request_path: &[u8], query: Query<'_>) -> Option<Response> {
        if self.permit.is_everything() || !request_path.ends_with(b"/") {
            return None;
        }
        let target = target::parse(request_path).ok()?;
        let path = self.site.policy.below_base(&target.path)?;
        if self.permit.may(Rights::LIST, path) || self.permit.may(Rights::READ, path) {
            return None;
        }
        let takes_files = self.site.listing.upload
            && self.permit.may(Rights::WRITE, path)
            && !path.split(|&byte| byte == b'/').any(is_reserved);
        // A browser asks for a name and a password only when it is refused.
        let is_anonymous = self.permit.user().is_none();
        let logs_in = is_anonymous && query.has("login");
        let is_wanted = takes_files && !logs_in && accepts(self.head, b"text/html");
        Some(if is_wanted {
            upload::page::drop_box(path, is_anonymous)
        } else {
            self.permit.refusal()
        })
    }

    /// A folder as a listing, or as an archive.
    fn send_folder(&mut self, folder: Folder, query: Query<'_>) -> io::Result<Answer> {
        if let Err(refused) = self.permit.check(Rights::LIST, folder.real_path()) {
            return self.with_site_headers(refused);
        }
        if query.has("hash") {
            return self.error(
                400,
                "",
                "A folder has no digest. Ask for the digest of a file.",
            );
        }
        let folder = folder.seen_by(self.permit);
        match listing::respond(self.head, folder, query, self.site.listing) {
            Ok(mut response) => {
                if query.has("archive")
                    && !self.frame.head_only
                    && let Err(refused) = self.permit.begin_download(false)
                {
                    return self.with_site_headers(refused);
                }
                response.fields += &self.permit.cookie();
                self.with_site_headers(response)
            }
            Err((status, detail)) => self.error(status, "", detail),
        }
    }

    /// An answer with the fields that the site gives to all of its own.
    fn with_site_headers(&mut self, mut response: Response) -> io::Result<Answer> {
        response.fields += &self.site.policy.fields;
        reply::response(self.wfile, self.frame, response)
    }

    fn cached(&self, request_path: &[u8]) -> Option<Arc<Entry>> {
        let site = self.site;
        site.cache
            .get(request_path, now_ms(), |path, slash, entry| {
                site.is_current(path, slash, entry)
            })
    }

    /// What isn't there: the page of the application that knows what the path means, or a page that
    /// says so.
    fn not_found(&mut self) -> io::Result<Answer> {
        // What a page loads, it asks for by `*/*` or by its own types.
        let spa = self
            .site
            .policy
            .spa
            .as_deref()
            .filter(|_| accepts(self.head, b"text/html"));
        let spa = spa.map(|page| page.as_os_str().as_bytes());
        if let Some(path) = spa.filter(|path| self.permit.may(Rights::READ, path)) {
            // As if the page itself had been asked for.
            let request_path = self.site.policy.url_path(path).into_bytes();
            let may_read = |entry: &Entry| self.permit.may(Rights::READ, entry.real_path());
            if let Some(entry) = self.cached(&request_path).filter(|entry| may_read(entry)) {
                return self.send(&entry, &request_path, VARY_BY_TYPE);
            }
            if let Resource::File(entry) = self.site.find(path, false)
                && may_read(&entry)
            {
                self.site
                    .cache
                    .insert(&request_path, (path, false), &entry, now_ms());
                return self.send(&entry, &request_path, VARY_BY_TYPE);
            }
        }
        let fields = &self.site.policy.fields;
        match self.not_found_page() {
            Some(entry) if self.permit.may(Rights::READ, entry.real_path()) => {
                reply::page_file(self.wfile, self.frame, 404, fields, &entry).map(Answer::Sent)
            }
            _ => self.error(404, "", "There is nothing at this address."),
        }
    }

    fn not_found_page(&self) -> Option<Arc<Entry>> {
        // No request's path: that would begin with a slash.
        const KEY: &[u8] = NOT_FOUND_PAGE;
        if let Some(entry) = self.cached(KEY) {
            return Some(entry);
        }
        let Resource::File(entry) = self.site.find(NOT_FOUND_PAGE, false) else {
            return None;
        };
        self.site
            .cache
            .insert(KEY, (NOT_FOUND_PAGE, false), &entry, now_ms());
        Some(entry)
    }

    fn redirect(&mut self, status: u16, location: &str) -> io::Result<Answer> {
        let shown = markup::escape(location.as_bytes());
        let fields = format!("Location: {location}\r\n");
        self.error(
            status,
            &fields,
            &format!("It is at <a href=\"{shown}\">{shown}</a>."),
        )
    }

    fn error(&mut self, status: u16, fields: &str, detail: &str) -> io::Result<Answer> {
        let fields = [fields, &self.site.policy.fields].concat();
        reply::error(self.wfile, self.frame, status, &fields, detail).map(Answer::Sent)
    }

    /// A file cannot be read. The client gets 500: an error would end the connection without an
    /// answer.
    fn unreadable(&mut self, entry: &Entry, error: &io::Error) -> io::Result<Answer> {
        log::error!("{}: {error}", entry.path.display());
        self.error(500, "", "The server cannot read this file.")
    }

    /// The file that a path stands for, as its query wants it.
    fn send_file(
        &mut self,
        entry: &Arc<Entry>,
        request_path: &[u8],
        query: Option<&[u8]>,
    ) -> io::Result<Answer> {
        if let Err(refused) = self.permit.check(Rights::READ, entry.real_path()) {
            return self.with_site_headers(refused);
        }
        if let Some(name) = query.and_then(|query| Query(query).get("hash")) {
            return self.send_hash(entry, &name);
        }
        let (site, download, cookie) = (self.site, download(query, entry), self.permit.cookie());
        if site.listing.render_markdown && download.is_empty() {
            let query = Query(query.unwrap_or_default());
            if let Some(page) = rendered::page(entry, self.head, query, &site.policy.file_fields) {
                return self.send_form(&page, &cookie);
            }
        }
        self.send(entry, request_path, &(download + &cookie))
    }

    /// A line with a digest of a file.
    fn send_hash(&mut self, entry: &Entry, name: &str) -> io::Result<Answer> {
        match hash::named(name) {
            Ok(algorithm) => match hash::line(entry, algorithm, &self.site.digests) {
                Ok(response) => self.with_site_headers(response),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.error(
                    503,
                    "Retry-After: 5\r\n",
                    "Too many digests are being computed. Try again soon.",
                ),
                Err(error) => self.unreadable(entry, &error),
            },
            Err(detail) => self.error(400, "", detail),
        }
    }

    /// A file, in the form that the client likes best. `more` are field lines for this answer.
    fn send(&mut self, plain: &Arc<Entry>, request_path: &[u8], more: &str) -> io::Result<Answer> {
        let head = self.head;
        // Ranges are those of the plain form: a client can't know which other it would get parts
        // of.
        let coded = head
            .accept_encoding
            .filter(|_| head.range.is_none())
            .and_then(|_| {
                let accepted = accept_encoding::parse(head.values("accept-encoding"));
                let coded = self.site.coded_form(&accepted, plain, request_path);
                coded.filter(|coded| self.permit.may(Rights::READ, coded.real_path()))
            });
        self.send_form(coded.as_ref().unwrap_or(plain), more)
    }

    /// One form of a file, or what its conditions and range leave of it.
    fn send_form(&mut self, entry: &Entry, more: &str) -> io::Result<Answer> {
        let honour_range = match self.outcome(entry) {
            Outcome::NotModified => {
                return reply::not_modified(self.wfile, self.frame, entry).map(Answer::Sent);
            }
            Outcome::PreconditionFailed => {
                return self.error(412, "", "The file does not meet the request's conditions.");
            }
            // A range has a meaning for GET only (RFC 9110 §14.2).
            Outcome::Proceed { honour_range } => honour_range && self.head.method == Method::Get,
        };
        // Whether a file that is not text has other forms is known only after the first look.
        let varies_too = !entry.varies && entry.codings.is_any_beside();
        let more = if varies_too {
            Cow::Owned([more, VARY].concat())
        } else {
            Cow::Borrowed(more)
        };
        let ranges = self
            .head
            .range
            .filter(|_| honour_range)
            .map(|range| range::parse(range, entry.length));
        if !self.frame.head_only
            && !matches!(ranges, Some(Ranges::Unsatisfiable))
            && let Err(refused) = self
                .permit
                .begin_download(matches!(ranges, Some(Ranges::Satisfiable(_))))
        {
            return self.with_site_headers(refused);
        }
        let selection = match ranges {
            Some(Ranges::Satisfiable(ranges)) => match &ranges[..] {
                [range] => Selection::Range(range.clone()),
                _ => Selection::Ranges(ranges),
            },
            Some(Ranges::Unsatisfiable) => {
                let fields = format!("Content-Range: bytes */{}\r\n", entry.length);
                return self.error(416, &fields, "The requested range is outside the file.");
            }
            Some(Ranges::Ignore) | None => Selection::Whole,
        };
        // The content of an answer to HEAD is empty (RFC 9530, appendix B.2), so its digest is
        // useless.
        let is_whole = matches!(selection, Selection::Whole) && !self.frame.head_only;
        match DigestPreference::of(self.head, is_whole) {
            Some(wish) => self.send_described(entry, &more, selection, wish),
            None => reply::file(self.wfile, self.frame, entry, &more, selection),
        }
    }

    /// The same with its digest, as the client wishes.
    fn send_described(
        &mut self,
        entry: &Entry,
        more: &str,
        selection: Selection,
        wish: DigestPreference,
    ) -> io::Result<Answer> {
        let digests = &self.site.digests;
        let described = hash::describe(entry, wish, digests, self.frame, more, &selection);
        let described = match described {
            Ok(described) => described,
            Err(error) => return self.unreadable(entry, &error),
        };
        match described {
            Described::Now(fields) => reply::file(
                self.wfile,
                self.frame,
                entry,
                &[more, &fields].concat(),
                selection,
            ),
            Described::Later(answer) => Ok(answer),
        }
    }

    /// What the request's conditions make of a file.
    fn outcome(&self, entry: &Entry) -> Outcome {
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

    /// A list that may come in several fields (RFC 9110 §5.3).
    fn joined(&self, name: &str, first: Option<&[u8]>) -> Option<Vec<u8>> {
        first.and_then(|_| self.head.joined(name))
    }
}

/// The field line for `?download`: the client is to save the file, not to show it.
fn download(query: Option<&[u8]>, entry: &Entry) -> String {
    if !query.is_some_and(|query| Query(query).has("download")) {
        return String::new();
    }
    let name = entry.path.file_name().unwrap_or_default();
    format!(
        "Content-Disposition: {}\r\n",
        disposition::attachment(name.as_bytes())
    )
}

/// What the target asks for here. The parser lets no other form of GET through than these two.
pub(crate) fn path_and_query<'a>(target: &Target<'a>) -> Cow<'a, [u8]> {
    match *target {
        Target::Origin(path) => Cow::Borrowed(path),
        Target::Absolute {
            path: path @ [b'/', ..],
            ..
        } => Cow::Borrowed(path),
        Target::Absolute { path, .. } => [b"/", path].concat().into(), // RFC 9110 §7.1
        Target::Asterisk | Target::Authority(_) => Cow::Borrowed(b"/"),
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}
