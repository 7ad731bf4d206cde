//! One connection: a request, its response, and the next.

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use socketserver::{ClientAddress, Expiry, Next, Result, StreamRequest, StreamRequestHandler, WFile};

use crate::common::access_log::{AccessLog, Record};

use super::body::{Body, Progress};
use super::conditional::{self, Conditions, Outcome, Validators};
use super::head::{self, Framing, Head, HeadError, Method, Scanner, Status, Target, Version};
use super::range::{self, Ranges};
use super::reply::{self, Frame, Sent};
use super::site::{Entry, Resource, Site};
use super::{date, listing, target};

/// Requests that are answered in one go before the answers are sent: what a pipelining client has sent at once.
const PIPELINED: usize = 16;
/// An unread body up to this size is read and dropped, so that the connection can go on.
const DROPPED_BODY: u64 = 64 * 1024;
const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";
/// The page that is shown for what isn't there.
const NOT_FOUND_PAGE: &[u8] = b"404.html";

/// Serves one HTTP connection.
#[derive(Debug)]
pub struct HttpHandler {
    site: Arc<Site>,
    access_log: Option<Arc<AccessLog>>,
    scanner: Scanner,
    pending: Option<Pending>,
}

/// A request whose body is awaited before it is answered: a malformed one makes the whole request malformed.
#[derive(Debug)]
struct Pending {
    /// The head's bytes, as parsing them again costs less than keeping the result apart from them.
    head: Vec<u8>,
    body: Body,
}

impl HttpHandler {
    /// A handler of a new connection.
    pub fn new(site: Arc<Site>, access_log: Option<Arc<AccessLog>>) -> HttpHandler {
        HttpHandler { site, access_log, scanner: Scanner::default(), pending: None }
    }

    fn log(&self, client: &ClientAddress, request: Option<(&[u8], &Head<'_>)>, sent: Sent) {
        let Some(log) = &self.access_log else { return };
        log.log(&Record {
            client,
            request_line: request.map_or(b"-", |(line, _)| line),
            status: sent.status,
            bytes: sent.bytes,
            referer: request.and_then(|(_, head)| head.referer),
            user_agent: request.and_then(|(_, head)| head.user_agent),
            date: &date::now(),
        });
    }

    /// Refuses what isn't a request that can be served; the connection ends.
    fn refuse(&mut self, request: &mut StreamRequest, refused: HeadError) -> io::Result<()> {
        let frame = Frame { head_only: false, keep_alive: false, http_1_0: false };
        let detail = format!("The request was refused: {}.", refused.reason);
        let sent = reply::error(&mut request.wfile, frame, refused.status, "", &detail)?;
        self.log(&request.client_address, None, sent);
        request.linger();
        Ok(())
    }

    /// Takes and answers one request, as far as it has come.
    fn serve_one(&mut self, request: &mut StreamRequest) -> io::Result<Turn> {
        if self.pending.is_some() {
            return self.serve_pending(request);
        }
        let rfile = &mut request.rfile;
        let (consumed, turn) = match head::parse(rfile.buffer(), &mut self.scanner) {
            Ok(Status::Partial) => return Ok(Turn::Wait),
            Err(refused) => {
                self.refuse(request, refused)?;
                return Ok(Turn::Over);
            }
            Ok(Status::Complete { head, consumed }) => match Body::announced(head.body) {
                Some(body) if !is_in_the_way(&head) => {
                    self.pending = Some(Pending { head: rfile.buffer()[..consumed].to_vec(), body });
                    (consumed, Turn::Again)
                }
                unread => {
                    let keep_alive = unread.is_none() && !request.server.is_shutting_down();
                    let bytes = &rfile.buffer()[..consumed];
                    let turn = self.answer(&request.client_address, &mut request.wfile, &head, bytes, keep_alive)?;
                    if unread.is_some() {
                        request.linger();
                    }
                    (consumed, turn)
                }
            },
        };
        request.rfile.consume(consumed);
        Ok(turn)
    }

    /// Drops what has come of the body; answers when all of it was there.
    fn serve_pending(&mut self, request: &mut StreamRequest) -> io::Result<Turn> {
        let Some(Pending { head: bytes, mut body }) = self.pending.take() else { return Ok(Turn::Again) };
        let too_long = match body.take(&mut request.rfile, |_| {}) {
            Ok(Progress::Whole) => false,
            Ok(Progress::Partial) if body.taken() <= DROPPED_BODY => {
                self.pending = Some(Pending { head: bytes, body });
                return Ok(Turn::Wait);
            }
            Ok(Progress::Partial) => true,
            Ok(Progress::CutShort) => {
                self.refuse(request, HeadError::bad("the body ended before its end"))?;
                return Ok(Turn::Over);
            }
            Err(refused) => {
                self.refuse(request, refused)?;
                return Ok(Turn::Over);
            }
        };
        if too_long {
            request.linger();
        }
        let keep_alive = !too_long && !request.server.is_shutting_down();
        match head::parse(&bytes, &mut Scanner::default()) {
            Ok(Status::Complete { head, .. }) => {
                self.answer(&request.client_address, &mut request.wfile, &head, &bytes, keep_alive)
            }
            // These bytes were a whole head before.
            Ok(Status::Partial) | Err(_) => Ok(Turn::Over),
        }
    }

    fn answer(
        &self,
        client: &ClientAddress,
        wfile: &mut WFile,
        head: &Head<'_>,
        bytes: &[u8],
        keep_alive: bool,
    ) -> io::Result<Turn> {
        let frame = Frame {
            head_only: head.method == Method::Head,
            keep_alive: head.keep_alive && keep_alive,
            http_1_0: head.version == Version::Http10,
        };
        let sent = Exchange { site: &self.site, head, frame, wfile }.answer()?;
        self.log(client, Some((first_line(bytes), head)), sent);
        Ok(if frame.keep_alive { Turn::Again } else { Turn::Over })
    }
}

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The next step can follow at once.
    Again,
    /// More must come.
    Wait,
    /// The connection ends.
    Over,
}

/// Whether a body isn't worth waiting for: long, or still to be asked for by 100 (Continue), which nobody here does.
fn is_in_the_way(head: &Head<'_>) -> bool {
    head.expect_continue || matches!(head.body, Framing::Length(length) if length > DROPPED_BODY)
}

impl StreamRequestHandler for HttpHandler {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        for _ in 0..PIPELINED {
            match self.serve_one(request)? {
                Turn::Over => return Ok(Next::Close),
                Turn::Wait if request.rfile.is_eof() => return Ok(Next::Close),
                Turn::Wait => break,
                Turn::Again if request.wfile.has_tail() => break,
                Turn::Again if request.rfile.buffer().is_empty() && self.pending.is_none() => break,
                Turn::Again => {}
            }
        }
        if self.pending.is_some() {
            request.stay_in_flight();
        }
        Ok(Next::Wait)
    }

    fn expired(&mut self, request: &mut StreamRequest, what: Expiry) {
        if what == Expiry::Idle {
            return; // a silent client hasn't asked for anything
        }
        // It may not get through; there is nobody left to tell.
        let _ = self.refuse(request, HeadError { status: 408, reason: "the request took too long" });
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
    fn answer(&mut self) -> io::Result<Sent> {
        match self.head.method {
            Method::Get | Method::Head => self.get(),
            Method::Options => reply::empty(self.wfile, self.frame, 204, ALLOW),
            Method::Other => self.error(501, "", "This method is unknown here."),
            _ => self.error(405, ALLOW, "Only GET, HEAD and OPTIONS are possible here."),
        }
    }

    fn get(&mut self) -> io::Result<Sent> {
        let raw = &*path_and_query(&self.head.target);
        let path_end = memchr::memchr(b'?', raw).unwrap_or(raw.len());
        let now_ms = now_ms();
        let site = self.site;
        if let Some(entry) = site.cache.get(&raw[..path_end], now_ms, |path, entry| site.is_current(path, entry)) {
            return self.send(&entry);
        }
        let target = match target::parse(raw) {
            Ok(target) => target,
            Err(error) => return self.error(400, "", &format!("The path was refused: {error}.")),
        };
        match site.find(&target.path, target.trailing_slash) {
            Resource::File(entry) => {
                site.cache.insert(&raw[..path_end], &target.path, &entry, now_ms);
                self.send(&entry)
            }
            Resource::NeedsSlash => {
                let location = target.location_of_directory();
                let fields = format!("Location: {location}\r\n");
                self.error(301, &fields, &format!("It is at <a href=\"{location}\">{location}</a>."))
            }
            Resource::Directory(dir) => match listing::page(&dir, &target.path) {
                Ok(html) => reply::page(self.wfile, self.frame, 200, "", html),
                Err(error) => {
                    log::warn!("a directory can't be read: {error}");
                    self.error(500, "", "The directory can't be read.")
                }
            },
            Resource::NotFound => self.not_found(),
            Resource::Forbidden => self.error(403, "", "Reading this isn't allowed."),
        }
    }

    fn not_found(&mut self) -> io::Result<Sent> {
        match self.site.find(NOT_FOUND_PAGE, false) {
            Resource::File(entry) => reply::page_file(self.wfile, self.frame, 404, &entry),
            _ => self.error(404, "", "There is nothing at this address."),
        }
    }

    fn error(&mut self, status: u16, fields: &str, detail: &str) -> io::Result<Sent> {
        reply::error(self.wfile, self.frame, status, fields, detail)
    }

    /// A file, or what its conditions and range leave of it.
    fn send(&mut self, entry: &Entry) -> io::Result<Sent> {
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
        let current = Validators { etag: Some(entry.etag.as_bytes()), last_modified: Some(entry.modified) };
        let honour_range = match conditional::evaluate(&conditions, Some(&current), true) {
            Outcome::NotModified => return reply::not_modified(self.wfile, self.frame, entry),
            Outcome::PreconditionFailed => return self.error(412, "", "The file isn't what the request expects."),
            // A range has a meaning for GET only (RFC 9110 §14.2).
            Outcome::Proceed { honour_range } => honour_range && head.method == Method::Get,
        };
        match head.range.filter(|_| honour_range).map(|range| range::parse(range, entry.length)) {
            Some(Ranges::Satisfiable(ranges)) if ranges.len() == 1 => {
                reply::part(self.wfile, self.frame, entry, ranges[0].clone())
            }
            Some(Ranges::Unsatisfiable) => {
                let fields = format!("Content-Range: bytes */{}\r\n", entry.length);
                self.error(416, &fields, "The file has no bytes in that range.")
            }
            // Several ranges may be answered by the whole (RFC 9110 §14.2).
            _ => reply::file(self.wfile, self.frame, entry),
        }
    }

    /// A list that may come in several fields (RFC 9110 §5.3).
    fn joined(&self, name: &str, first: Option<&[u8]>) -> Option<Vec<u8>> {
        first.map(|_| self.head.values(name).collect::<Vec<_>>().join(&b", "[..]))
    }
}

/// The request line of a head, without its line end.
fn first_line(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())]
}

/// What the target asks for here. The parser lets no other form of GET through than these two.
fn path_and_query<'a>(target: &Target<'a>) -> Cow<'a, [u8]> {
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
