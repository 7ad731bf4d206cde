//! One route: a method, a pattern for paths, and the function that makes the response.

use std::fmt;
use std::io;

use super::{Request, Respond, Response};

/// A function that responds to requests with one method and with paths that match a pattern. Pass
/// it to [`Router::add_route`](super::Router::add_route).
///
/// # Patterns
/// A pattern is compared with the path after percent-decoding. `{name}` matches one part between
/// slashes. `{*name}` at the end matches the rest of the path. A slash at the end is significant:
/// `/a` and `/a/` are two different paths.
///
/// ```
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{Response, Route, Router};
///
/// let file = Route::new("PUT", "/files/{*path}", |request| {
///     let length = request.bytes()?.len();
///     Ok(Response::text(format!("{}: {length} bytes\n", request.parameter("path"))))
/// });
/// let router = Router::new().add_route(file.max_body(100 << 20));
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(b"PUT /files/a/b.txt HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello");
/// assert!(client.received().ends_with(b"\r\n\r\na/b.txt: 5 bytes\n"));
/// ```
pub struct Route {
    pub(super) method: &'static str,
    pattern: String,
    /// The parts of the pattern between slashes.
    segments: Vec<Segment>,
    pub(super) respond: Box<dyn Respond>,
    /// Maximum length of a request's body, in bytes. `None` means the router's limit.
    pub(super) max_body: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    /// Matches exactly this text.
    Literal(String),
    /// `{name}`: matches one part of a path.
    Parameter(String),
    /// `{*name}`: matches the rest of the path, including slashes.
    Rest(String),
}

impl Route {
    /// Creates a route. A `GET` route also gets `HEAD` requests, unless `HEAD` has its own route.
    /// Their responses are sent without content.
    ///
    /// # Panics
    /// If the method is not in capital letters, or if the pattern is invalid: it does not begin
    /// with a slash, `{*name}` is not at the end, braces are not around a whole part, a name occurs
    /// twice, or a part in the middle is empty, `.` or `..`. The panic names the pattern.
    pub fn new<F>(method: &'static str, pattern: &str, respond: F) -> Route
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        assert!(
            is_method(method),
            "invalid method `{method}`: use capitals, digits and `-`"
        );
        let segments = parse(pattern)
            .unwrap_or_else(|mistake| panic!("invalid pattern `{pattern}`: {mistake}"));
        Route {
            method,
            pattern: pattern.to_owned(),
            segments,
            respond: Box::new(respond),
            max_body: None,
        }
    }

    /// Sets the maximum length of a request's body, in bytes. A longer body gets the status 413.
    /// Defaults to the router's [`max_body`](super::Router::max_body).
    pub fn max_body(self, bytes: u64) -> Route {
        Route {
            max_body: Some(bytes),
            ..self
        }
    }

    /// The values of the parameters, if the path matches this route. `path` has no leading slash.
    pub(super) fn matches(&self, path: &str) -> Option<Vec<(String, String)>> {
        let mut parameters = Vec::new();
        let mut left = Some(path);
        for segment in &self.segments {
            let path = left?;
            if let Segment::Rest(name) = segment {
                parameters.push((name.clone(), path.to_owned()));
                return Some(parameters);
            }
            let (part, rest) = match path.split_once('/') {
                Some((part, rest)) => (part, Some(rest)),
                None => (path, None),
            };
            match segment {
                Segment::Literal(text) if text == part => {}
                Segment::Parameter(name) if !part.is_empty() => {
                    parameters.push((name.clone(), part.to_owned()));
                }
                _ => return None,
            }
            left = rest;
        }
        left.is_none().then_some(parameters)
    }

    /// Whether this route matches every request that `other` matches.
    pub(super) fn hides(&self, other: &Route) -> bool {
        let (mut own, mut others) = (self.segments.iter(), other.segments.iter());
        self.method == other.method
            && loop {
                match (own.next(), others.next()) {
                    (Some(Segment::Rest(_)), Some(_)) | (None, None) => break true,
                    (Some(Segment::Literal(own)), Some(Segment::Literal(other)))
                        if own == other => {}
                    (Some(Segment::Parameter(_)), Some(Segment::Parameter(_))) => {}
                    (Some(Segment::Parameter(_)), Some(Segment::Literal(other)))
                        if !other.is_empty() => {}
                    _ => break false,
                }
            }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.pattern)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({self})")
    }
}

/// Whether this is a method in capital letters. Methods are case-sensitive (RFC 9110 §9.1), so a
/// route for `get` would never match.
fn is_method(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.bytes().all(is_allowed)
}

/// Parses a pattern into segments.
///
/// # Errors
/// The pattern is invalid. The error says how to correct it.
fn parse(pattern: &str) -> Result<Vec<Segment>, String> {
    let path = pattern.strip_prefix('/').ok_or("begin it with a slash")?;
    let parts: Vec<&str> = path.split('/').collect();
    let mut segments = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        let segment = segment(part)?;
        match &segment {
            Segment::Rest(_) if !is_last => {
                return Err(format!(
                    "`{part}` takes all that follows, so put it at the end"
                ));
            }
            Segment::Literal(text) if text.is_empty() && !is_last => {
                return Err("paths have no empty parts, so remove the second slash".to_owned());
            }
            Segment::Parameter(name) | Segment::Rest(name) if is_taken(&segments, name) => {
                return Err(format!("`{name}` is there twice, so rename one of them"));
            }
            _ => segments.push(segment),
        }
    }
    Ok(segments)
}

fn segment(part: &str) -> Result<Segment, String> {
    let inside = part
        .strip_prefix('{')
        .and_then(|part| part.strip_suffix('}'));
    let name = inside.map(|inside| inside.strip_prefix('*').unwrap_or(inside));
    match (inside, name) {
        (Some(_), Some("")) => Err(format!("`{part}` has no name")),
        (Some(inside), Some(name)) if !name.contains(['{', '}', '*']) => {
            let name = name.to_owned();
            Ok(if inside.starts_with('*') {
                Segment::Rest(name)
            } else {
                Segment::Parameter(name)
            })
        }
        _ if part.contains(['{', '}']) => Err(format!(
            "braces must be around a whole part between slashes, which `{part}` is not"
        )),
        _ if matches!(part, "." | "..") => {
            Err(format!("`{part}` is removed from the paths of requests"))
        }
        _ if part.contains(|c: char| c.is_ascii_control() || c == '\\') => {
            Err("paths with control characters or `\\` are refused".to_owned())
        }
        _ => Ok(Segment::Literal(part.to_owned())),
    }
}

fn is_taken(segments: &[Segment], wanted: &str) -> bool {
    segments.iter().any(|segment| match segment {
        Segment::Parameter(name) | Segment::Rest(name) => name == wanted,
        Segment::Literal(_) => false,
    })
}
