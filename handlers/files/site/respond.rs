//! Makes a site's responses: files, folders, redirects and errors.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use socketserver_http::engine::error_page::error_page;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::engine::response::{Content, Response};
use socketserver_http::protocol::head::{Framing, Head, Method};
use socketserver_http::protocol::query::Query;
use socketserver_http::protocol::{accept, disposition};

use super::entry::Entry;
use super::listing::entries::Folder;
use super::options::cors;
use super::pages::{markup, rendered, upload_area};
use super::{Resource, Site, hash, listing};
use crate::accounts::Rights;
use crate::common::store::is_reserved;
use crate::files::access::Permit;

/// The methods that change nothing.
pub(crate) const METHODS: &str = "GET, HEAD, OPTIONS";
/// Maximum length of a request's body that is ignored, in bytes. A longer body is an error of the
/// client, and the request is refused.
const MAX_UNWANTED_BODY: u64 = 1 << 20;
/// The page for paths that do not exist.
const NOT_FOUND_PAGE: &[u8] = b"404.html";
/// The header line of responses that depend on the header `Accept`.
const VARY_BY_TYPE: &str = "Vary: Accept\r\n";

impl Site {
    /// Makes the response to a request of a client with this permit. The headers that all responses
    /// of a site have are added later.
    pub(crate) fn respond(&self, exchange: &Exchange<'_>, permit: &Permit) -> Response {
        let asked = Asked {
            site: self,
            exchange,
            head: exchange.head,
            permit,
        };
        asked.respond().unwrap_or_else(|refused| refused)
    }
}

/// A request together with the site and the permit that its response depends on.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a, 'h> {
    pub(super) site: &'a Site,
    exchange: &'a Exchange<'h>,
    pub(super) head: &'a Head<'h>,
    pub(super) permit: &'a Permit,
}

/// A response. `Err` contains a response that refuses the request.
pub(super) type Outcome = Result<Response, Response>;

impl Asked<'_, '_> {
    fn respond(&self) -> Outcome {
        if matches!(self.head.body, Framing::Length(length) if length > MAX_UNWANTED_BODY) {
            return Err(error_page(
                413,
                "This server does not accept a request body.",
            ));
        }
        match self.head.method {
            Method::Get | Method::Head => self.get(),
            Method::Options => Ok(self.options()),
            Method::Other => Err(error_page(501, "The server does not know this method.")),
            _ => Err(
                error_page(405, "Only GET, HEAD and OPTIONS are available here.")
                    .header("Allow", METHODS),
            ),
        }
    }

    fn options(&self) -> Response {
        let mut response = Response::new(204).header("Allow", METHODS);
        if self.site.policy.cors {
            response.add_lines(&cors::preflight(self.head, METHODS).unwrap_or_default());
        }
        response
    }

    fn get(&self) -> Outcome {
        let request_path = self.exchange.raw_path;
        if let Some(response) = self.drop_box() {
            return response;
        }
        if let Some(entry) = self.cached(request_path) {
            return self.send_file(entry, request_path);
        }
        let target = self
            .exchange
            .target()
            .map_err(|error| error_page(400, &format!("The path was refused: {error}.")))?;
        let Some(path) = self.site.policy.base_path.below(&target.path) else {
            return Err(not_found());
        };
        if let Some((status, location)) = self.site.policy.redirect(path, target.query) {
            return Ok(redirect(status, &location));
        }
        match self.site.find(path, target.trailing_slash) {
            Resource::File(entry) => {
                let asked = (path, target.trailing_slash);
                self.site
                    .cache
                    .insert(request_path, asked, &entry, now_ms());
                self.send_file(entry, request_path)
            }
            Resource::NeedsSlash => Ok(redirect(301, &target.location_of_directory())),
            Resource::Directory(folder) if !self.site.listing.no_listing => {
                self.send_folder(folder)
            }
            Resource::Directory(_) | Resource::NotFound => self.not_found(),
            Resource::Forbidden => Err(error_page(403, "The server may not read this file.")),
            Resource::Unavailable => Err(error_page(
                503,
                "The server cannot read this just now. Try again soon.",
            )
            .header("Retry-After", "5")),
        }
    }

    /// The response for a folder that the client must not see. If the client may store files in it,
    /// the response is an upload page. It does not show whether the folder exists. `None` if the
    /// client may see the folder.
    fn drop_box(&self) -> Option<Outcome> {
        if self.permit.is_everything() || !self.exchange.raw_path.ends_with(b"/") {
            return None;
        }
        let target = self.exchange.target().ok()?;
        let path = self.site.policy.base_path.below(&target.path)?;
        if self.permit.may(Rights::LIST, path) || self.permit.may(Rights::READ, path) {
            return None;
        }
        let takes_files = self.site.listing.upload
            && self.permit.may(Rights::WRITE, path)
            && !path.split(|&byte| byte == b'/').any(is_reserved);
        // A browser asks for a user name and a password only after a refusal, so the link `?login`
        // leads to one.
        let is_anonymous = self.permit.user().is_none();
        let logs_in = is_anonymous && self.exchange.query().has("login");
        let is_wanted = takes_files && !logs_in && accept::names(self.head, b"text/html");
        Some(if is_wanted {
            Ok(upload_area::drop_box(path, is_anonymous))
        } else {
            Err(self.permit.refusal())
        })
    }

    /// Sends a folder as a listing or as an archive.
    fn send_folder(&self, folder: Folder) -> Outcome {
        self.permit.check(Rights::LIST, folder.real_path())?;
        let query = self.exchange.query();
        if query.has("hash") {
            let detail = "A folder has no digest. Ask for the digest of a file.";
            return Err(error_page(400, detail));
        }
        let folder = folder.seen_by(self.permit);
        let response = listing::respond(self.head, folder, query, self.site.listing)
            .map_err(|(status, detail)| error_page(status, detail))?;
        if query.has("archive") && self.head.method != Method::Head {
            self.permit.begin_download(false)?;
        }
        Ok(response)
    }

    fn cached(&self, request_path: &[u8]) -> Option<Arc<Entry>> {
        let site = self.site;
        site.cache
            .get(request_path, now_ms(), |path, slash, entry| {
                site.is_current(path, slash, entry)
            })
    }

    /// The response for a path that does not exist: the page of `--spa`, or an error page.
    fn not_found(&self) -> Outcome {
        if let Some(response) = self.spa() {
            return response;
        }
        match self.not_found_page() {
            Some(entry) if self.permit.may(Rights::READ, entry.real_path()) => {
                let page = Content::Part(entry.body.clone(), 0..entry.length);
                Ok(Response::new(404)
                    .header("Content-Type", &entry.media_type)
                    .with_content(page))
            }
            _ => Err(not_found()),
        }
    }

    /// The page of `--spa`, for requests that accept HTML explicitly. Browsers request the scripts
    /// and images of a page with `*/*` or with their own types.
    fn spa(&self) -> Option<Outcome> {
        let page = self.site.policy.spa.as_deref()?;
        let path = page.as_os_str().as_bytes();
        if !accept::names(self.head, b"text/html") || !self.permit.may(Rights::READ, path) {
            return None;
        }
        // The page is handled as if it had been requested by its own path.
        let request_path = self.site.policy.base_path.url_path(path).into_bytes();
        let entry = self.kept(&request_path, path)?;
        self.permit
            .may(Rights::READ, entry.real_path())
            .then(|| self.send(entry, &request_path, VARY_BY_TYPE))
    }

    fn not_found_page(&self) -> Option<Arc<Entry>> {
        // The cache key has no leading slash, so it differs from the path of every request.
        self.kept(NOT_FOUND_PAGE, NOT_FOUND_PAGE)
    }

    /// Gets a file at a path below the root from the cache, or opens it and adds it to the cache.
    fn kept(&self, key: &[u8], path: &[u8]) -> Option<Arc<Entry>> {
        if let Some(entry) = self.cached(key) {
            return Some(entry);
        }
        let Resource::File(entry) = self.site.find(path, false) else {
            return None;
        };
        self.site.cache.insert(key, (path, false), &entry, now_ms());
        Some(entry)
    }

    /// Sends a file in the form that the query requests.
    fn send_file(&self, entry: Arc<Entry>, request_path: &[u8]) -> Outcome {
        self.permit.check(Rights::READ, entry.real_path())?;
        let Some(query) = self.exchange.raw_query.map(Query) else {
            if self.site.listing.render_markdown
                && let Some(page) = self.rendered(&entry)
            {
                return self.send_form(page, "");
            }
            return self.send(entry, request_path, "");
        };
        if let Some(name) = query.get("hash") {
            return self.send_hash(&entry, &name);
        }
        let download = download(query, &entry);
        if self.site.listing.render_markdown
            && download.is_empty()
            && let Some(page) = self.rendered(&entry)
        {
            return self.send_form(page, "");
        }
        self.send(entry, request_path, &download)
    }

    fn rendered(&self, entry: &Entry) -> Option<Arc<Entry>> {
        let headers = &self.site.policy.file_headers;
        rendered::page(entry, self.head, self.exchange.query(), headers).map(Arc::new)
    }

    /// Sends a line with a digest of a file.
    fn send_hash(&self, entry: &Entry, name: &str) -> Outcome {
        let algorithm = hash::named(name).map_err(|detail| error_page(400, detail))?;
        hash::line(entry, algorithm, &self.site.digests).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                error_page(503, "Too many digests are being computed. Try again soon.")
                    .header("Retry-After", "5")
            }
            _ => unreadable(entry, &error),
        })
    }
}

fn not_found() -> Response {
    error_page(404, "There is nothing at this address.")
}

fn redirect(status: u16, location: &str) -> Response {
    let shown = markup::escape(location.as_bytes());
    let detail = format!("It is at <a href=\"{shown}\">{shown}</a>.");
    error_page(status, &detail).header("Location", location)
}

/// The response if a file cannot be read. The client gets 500; if the error were returned, the
/// connection would end without a response.
pub(super) fn unreadable(entry: &Entry, error: &io::Error) -> Response {
    log::error!("{}: {error}", entry.path.display());
    error_page(500, "The server cannot read this file.")
}

/// The header line for `?download`, which makes the client save the file instead of showing it.
fn download(query: Query<'_>, entry: &Entry) -> String {
    if !query.has("download") {
        return String::new();
    }
    let name = entry.path.file_name().unwrap_or_default();
    format!(
        "Content-Disposition: {}\r\n",
        disposition::attachment(name.as_bytes())
    )
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}
