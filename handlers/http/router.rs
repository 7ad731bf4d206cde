//! Routes: which of an author's functions answers which requests.

use std::fmt;
use std::io;
use std::sync::Arc;

use socketserver::{ClientAddress, RequestHandlerClass};

use super::HttpHandler;
use super::application::{Answer, Application, Incoming};
use super::files::path_and_query;
use super::head::{Head, HeadError, Method};
use super::message::{Request, Response};
use super::reply::{self, Frame};
use super::target;

/// Answers a request. Closures implement it.
pub trait Respond: Send + Sync {
    /// The answer to this request. It may read the body, and may take its time: it holds its
    /// thread, and others are served by other threads.
    ///
    /// # Errors
    /// An error is answered by 500, and logged; one that reading the body gave, by 400.
    fn respond(&self, request: &mut Request<'_>) -> io::Result<Response>;
}

impl<F> Respond for F
where
    F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync,
{
    fn respond(&self, request: &mut Request<'_>) -> io::Result<Response> {
        self(request)
    }
}

/// A filter: sees every request before its route does, and may answer itself, or change the route's
/// answer.
type Filter = Box<dyn Fn(&mut Request<'_>, &dyn Respond) -> io::Result<Response> + Send + Sync>;

/// An HTTP service: routes, and filters around them. Hand it to a server as its handler class.
///
/// ```
/// use socketserver::Builder;
/// use socketserver_handlers::http::{Response, Router};
///
/// let router = Router::new().get("/hello/{name}", |request| {
///     Ok(Response::text(format!("Hello, {}!\n", request.parameter("name"))))
/// });
/// let server = Builder::new().tcp("127.0.0.1:0", router)?;
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Router(Arc<Routes>);

#[derive(Default)]
struct Routes {
    routes: Vec<Route>,
    filters: Vec<Filter>,
}

struct Route {
    method: &'static str,
    /// Between slashes.
    segments: Vec<Segment>,
    respond: Box<dyn Respond>,
}

enum Segment {
    Literal(String),
    Parameter(String),
    /// Whatever follows, slashes included.
    Rest(String),
}

impl Router {
    /// No routes yet: everything is 404.
    pub fn new() -> Router {
        Router::default()
    }

    /// Answers `GET` of a path, and `HEAD` by the same without the content. `{name}` stands for one
    /// part of the path, `{*name}` at the end for all that follows.
    ///
    /// # Panics
    /// For a pattern that doesn't begin with a slash.
    pub fn get<F>(self, pattern: &str, respond: F) -> Router
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.route("GET", pattern, respond)
    }

    /// Answers `POST` of a path.
    ///
    /// # Panics
    /// As [`get`](Router::get).
    pub fn post<F>(self, pattern: &str, respond: F) -> Router
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.route("POST", pattern, respond)
    }

    /// Answers another method of a path.
    ///
    /// # Panics
    /// As [`get`](Router::get); for a router that is in use.
    pub fn route<F>(mut self, method: &'static str, pattern: &str, respond: F) -> Router
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        let path = pattern
            .strip_prefix('/')
            .unwrap_or_else(|| panic!("`{pattern}` doesn't begin with a slash"));
        let segments = path.split('/').map(Segment::new).collect();
        self.own().routes.push(Route {
            method,
            segments,
            respond: Box::new(respond),
        });
        self
    }

    /// Puts a filter around all routes; the first one added is the outermost.
    ///
    /// # Panics
    /// For a router that is in use.
    pub fn filter<F>(mut self, filter: F) -> Router
    where
        F: Fn(&mut Request<'_>, &dyn Respond) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.own().filters.push(Box::new(filter));
        self
    }

    fn own(&mut self) -> &mut Routes {
        Arc::get_mut(&mut self.0)
            .expect("routes are added before the router is cloned or handed to a server")
    }
}

impl RequestHandlerClass<HttpHandler> for Router {
    fn instantiate(&self, _: &ClientAddress) -> HttpHandler {
        HttpHandler::new(Arc::<Routes>::clone(&self.0), None)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.0.routes.iter().map(|route| route.method);
        f.debug_list().entries(routes).finish()
    }
}

impl Segment {
    fn new(text: &str) -> Segment {
        match text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
        {
            Some(name) => match name.strip_prefix('*') {
                Some(name) => Segment::Rest(name.to_owned()),
                None => Segment::Parameter(name.to_owned()),
            },
            None => Segment::Literal(text.to_owned()),
        }
    }
}

impl Route {
    /// The parameters' values, if the path is this route's.
    fn matches(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let mut parameters = Vec::new();
        let mut left = Some(path);
        for segment in &self.segments {
            let path = left?;
            if let Segment::Rest(name) = segment {
                parameters.push((&**name, path.to_owned()));
                return Some(parameters);
            }
            let (part, rest) = path
                .split_once('/')
                .map_or((path, None), |(part, rest)| (part, Some(rest)));
            match segment {
                Segment::Literal(text) if text == part => {}
                Segment::Parameter(name) if !part.is_empty() => {
                    parameters.push((name, part.to_owned()))
                }
                _ => return None,
            }
            left = rest;
        }
        left.is_none().then_some(parameters)
    }
}

impl Routes {
    /// The route's answer, through the filters from the `at`th on.
    fn through(
        &self,
        at: usize,
        request: &mut Request<'_>,
        route: &dyn Respond,
    ) -> io::Result<Response> {
        match self.filters.get(at) {
            Some(filter) => filter(
                request,
                &Inner {
                    routes: self,
                    at: at + 1,
                    route,
                },
            ),
            None => route.respond(request),
        }
    }

    /// The methods that have a route for a path, for `Allow` (RFC 9110 §10.2.1).
    fn allowed(&self, path: &str) -> Option<String> {
        let mut methods: Vec<_> = self
            .routes
            .iter()
            .filter(|r| r.matches(path).is_some())
            .map(|r| r.method)
            .collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.sort_unstable();
        methods.dedup();
        (methods.len() > 1).then(|| methods.join(", "))
    }
}

/// What a filter calls: the filters behind it, and the route.
struct Inner<'a> {
    routes: &'a Routes,
    at: usize,
    route: &'a dyn Respond,
}

impl Respond for Inner<'_> {
    fn respond(&self, request: &mut Request<'_>) -> io::Result<Response> {
        self.routes.through(self.at, request, self.route)
    }
}

impl Application for Routes {
    fn wants_body(&self, _: &Head<'_>) -> bool {
        true
    }

    fn respond(&self, incoming: Incoming<'_>, frame: Frame) -> io::Result<Answer> {
        let Incoming {
            head,
            client_address,
            body,
            ..
        } = incoming;
        let raw = path_and_query(&head.target);
        let found = target::parse(&raw).ok().and_then(|target| {
            let slash = if target.trailing_slash && !target.path.is_empty() {
                "/"
            } else {
                ""
            };
            Some((
                format!("/{}{slash}", std::str::from_utf8(&target.path).ok()?),
                target.query,
            ))
        });
        let Some((path, query)) = found else {
            let sent = reply::error(
                body.wfile,
                Frame {
                    keep_alive: false,
                    ..frame
                },
                400,
                "",
                "The path was refused.",
            )?;
            return Ok(Answer::Sent(sent));
        };
        let mut request = Request {
            head,
            client_address,
            path: &path,
            query,
            parameters: Vec::new(),
            body,
        };
        let (answered, fault) = self.answer(&mut request);
        let body = request.body;
        let frame = Frame {
            keep_alive: frame.keep_alive && !fault && body.keeps_connection(),
            ..frame
        };
        reply::response(body.wfile, frame, answered)
    }
}

impl Routes {
    /// The response, and whether the connection can't go on because the request was malformed.
    fn answer(&self, request: &mut Request<'_>) -> (Response, bool) {
        let path = request.path.strip_prefix('/').unwrap_or(request.path);
        let method = match request.head.method {
            Method::Head => b"GET",
            _ => request.head.method_name,
        };
        let found = self
            .routes
            .iter()
            .filter(|route| route.method.as_bytes() == method);
        let found = found
            .filter_map(|route| Some((route, route.matches(path)?)))
            .next();
        let result = match found {
            Some((route, parameters)) => {
                request.parameters = parameters
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect();
                self.through(0, request, &*route.respond)
            }
            None => {
                let allowed = self.allowed(path);
                self.through(0, request, &|request: &mut Request<'_>| {
                    Ok(without_route(request, allowed.as_deref()))
                })
            }
        };
        result.map_or_else(
            |error| failed(request, &error),
            |response| (response, false),
        )
    }
}

/// No route has this method and path.
fn without_route(request: &Request<'_>, allowed: Option<&str>) -> Response {
    match (allowed, request.head.method) {
        (None, _) => Response::text("404 Not Found\n").with_status(404),
        (Some(allowed), Method::Options) => Response::new(204).field("Allow", allowed),
        (Some(_), Method::Other) => Response::text("501 Not Implemented\n").with_status(501),
        (Some(allowed), _) => Response::text("405 Method Not Allowed\n")
            .with_status(405)
            .field("Allow", allowed),
    }
}

/// A route failed: the client's fault if its body couldn't be read.
fn failed(request: &Request<'_>, error: &io::Error) -> (Response, bool) {
    if let Some(refused) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<HeadError>())
    {
        return (
            Response::text(format!("{}\n", refused.reason)).with_status(refused.status),
            true,
        );
    }
    log::error!(
        "{} {}: {error}",
        request.client_address,
        request.path.escape_debug()
    );
    (
        Response::text("500 Internal Server Error\n").with_status(500),
        false,
    )
}

#[cfg(test)]
mod tests;
