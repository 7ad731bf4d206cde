//! Routes: which of an author's functions answers which requests.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use socketserver::{ClientAddress, RequestHandlerClass};

use super::application::{Application, Begun, Failure};
use super::body_reader::{BodyFailure, BodyReader, TOO_LONG};
use super::connection::HttpHandler;
use super::exchange::Exchange;
use super::http_error::HttpError;
use super::request::Request;
use super::response::Response;
use crate::protocol::head::{Framing, Head, HeadError, Method};
use gathering::Gathering;
pub use route::Route;

mod gathering;
mod route;

/// Default maximum length of a request's body, in bytes.
const MAX_BODY: u64 = 1 << 20;

/// Answers a request. Closures implement it.
///
/// Requests that a filter does not let through never reach their route:
///
/// ```
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{HttpError, Response, Router};
///
/// let router = Router::new()
///     .get("/", |_| Ok(Response::text("welcome\n")))
///     .filter(|request, inner| match request.header("X-Key") {
///         Some("secret") => inner.respond(request),
///         _ => Err(HttpError::new(403, "no valid X-Key"))?,
///     });
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(b"GET / HTTP/1.0\r\n\r\n");
/// assert!(client.received().starts_with(b"HTTP/1.1 403 Forbidden\r\n"));
/// ```
pub trait Respond: Send + Sync {
    /// The answer to this request. It may read the body, and may take its time: it holds its
    /// thread, and others are served by other threads.
    ///
    /// # Errors
    /// An [`HttpError`] is answered with its status. An error of reading the body is answered with
    /// 400, 408 or 413. Any other error is logged and answered with 500.
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

/// An HTTP service: routes, and filters around them. [`into_class`](Router::into_class) makes it
/// the handler class of a server.
///
/// Of two routes that match a request, the one that was added first answers. A path that no route
/// has is answered with 404, a method that no route of the path has with 405, and `OPTIONS` with
/// the methods that there are. A route that panics is answered with 500; the server counts and
/// reports the panic, and the connection ends.
///
/// ```
/// use socketserver::Builder;
/// use socketserver_http::{Response, Router};
///
/// let router = Router::new().get("/hello/{name}", |request| {
///     Ok(Response::text(format!("Hello, {}!\n", request.parameter("name"))))
/// });
/// let server = Builder::new().tcp("127.0.0.1:0", router.into_class())?;
/// # Ok::<(), socketserver::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Router(Arc<Routes>);

struct Routes {
    routes: Vec<Route>,
    filters: Vec<Filter>,
    max_body: u64,
}

impl Default for Routes {
    fn default() -> Routes {
        Routes {
            routes: Vec::new(),
            filters: Vec::new(),
            max_body: MAX_BODY,
        }
    }
}

impl Router {
    /// A router without routes: every path is 404.
    pub fn new() -> Router {
        Router::default()
    }

    /// Answers `GET` of the paths that a [pattern](Route#patterns) matches, and `HEAD` by the same
    /// without the content.
    ///
    /// # Panics
    /// As [`add_route`](Router::add_route).
    pub fn get<F>(self, pattern: &str, respond: F) -> Router
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.route("GET", pattern, respond)
    }

    /// Answers `POST` of the paths that a [pattern](Route#patterns) matches.
    ///
    /// # Panics
    /// As [`add_route`](Router::add_route).
    pub fn post<F>(self, pattern: &str, respond: F) -> Router
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.route("POST", pattern, respond)
    }

    /// Answers any method of the paths that a [pattern](Route#patterns) matches.
    ///
    /// # Panics
    /// As [`add_route`](Router::add_route).
    pub fn route<F>(self, method: &'static str, pattern: &str, respond: F) -> Router
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.add_route(Route::new(method, pattern, respond))
    }

    /// Adds a route, with settings of its own.
    ///
    /// ```
    /// use socketserver::Builder;
    /// use socketserver::testing::TestConnection;
    /// use socketserver_http::{Response, Route, Router};
    ///
    /// let router = Router::new()
    ///     .max_body(1000)
    ///     .post("/note", |_| Ok(Response::new(204)))
    ///     .route("PROPFIND", "/note", |_| Ok(Response::new(207)))
    ///     .add_route(Route::new("PUT", "/photo", |_| Ok(Response::new(201))).max_body(10 << 20));
    /// let status_of = |request: &str| {
    ///     let mut client = TestConnection::new(Builder::new(), router.clone().into_class());
    ///     let answer = client.send(request.as_bytes()).received();
    ///     String::from_utf8_lossy(&answer[9..12]).into_owned()
    /// };
    /// assert_eq!(status_of("POST /note HTTP/1.0\r\nContent-Length: 5000\r\n\r\n"), "413");
    /// assert_eq!(status_of("PROPFIND /note HTTP/1.0\r\n\r\n"), "207");
    /// assert_eq!(status_of("PUT /photo HTTP/1.0\r\nContent-Length: 2\r\n\r\nab"), "201");
    /// ```
    ///
    /// # Panics
    /// As [`Route::new`]; for a route that would never be called, because an earlier one takes all
    /// its requests; and for a router that is in use.
    pub fn add_route(mut self, route: Route) -> Router {
        let routes = &mut self.own().routes;
        if let Some(earlier) = routes.iter().find(|earlier| earlier.hides(&route)) {
            panic!("`{route}` would never be called: add it before `{earlier}`, or remove it");
        }
        routes.push(route);
        self
    }

    /// Puts a filter around all routes; the first one added is the outermost. It sees every request
    /// that is well-formed HTTP, including requests that the router refuses.
    ///
    /// A filter also sees every answer. An error or a panic of the route, or of a filter further
    /// in, becomes a response (400, 413, 422, 500) before `inner.respond(request)` returns. That
    /// call therefore never returns an error, and a header that a filter adds is on all answers.
    ///
    /// ```
    /// use socketserver_http::{HttpError, Router};
    ///
    /// let router = Router::new()
    ///     .get("/teapot", |_| Err(HttpError::new(418, "this is a teapot"))?)
    ///     .filter(|request, inner| Ok(inner.respond(request)?.header("X-Frame-Options", "DENY")));
    /// ```
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

    /// Maximum length of a request's body, in bytes, for all routes that have no
    /// [`max_body`](Route::max_body) of their own; a longer one is answered with 413. Defaults to
    /// 1 MiB.
    ///
    /// # Panics
    /// For a router that is in use.
    pub fn max_body(mut self, bytes: u64) -> Router {
        self.own().max_body = bytes;
        self
    }

    /// The handler class of this service, for [`Builder::tcp`](socketserver::Builder::tcp) and the
    /// other methods that make a server. Clone the router before, to serve it more than once.
    pub fn into_class(self) -> impl RequestHandlerClass<HttpHandler> + Clone {
        let application: Arc<dyn Application> = Arc::new(self);
        move |_: &ClientAddress| HttpHandler::new(Arc::clone(&application), None)
    }

    fn own(&mut self) -> &mut Routes {
        Arc::get_mut(&mut self.0)
            .expect("a router is changed before it is cloned or handed to a server")
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0.routes).finish()
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
        Ok(self.routes.through(self.at, request, self.route))
    }
}

impl Application for Router {
    fn begin(&self, exchange: &Exchange<'_>) -> Begun {
        if !exchange.has_body() {
            return Begun::Respond(self.0.respond(exchange, BodyReader::empty()));
        }
        let path = decoded_path(exchange);
        let route = path.and_then(|path| self.0.find(exchange.head, &path));
        let limit = self.0.limit_of(route.map(|(route, _)| route));
        Begun::receive(Gathering::new(self.clone(), exchange.head, limit))
    }
}

impl Routes {
    /// The response to a request, once as much of its body was gathered as is gathered.
    fn respond(&self, exchange: &Exchange<'_>, body: BodyReader<'_>) -> Response {
        let decoded = decoded_path(exchange);
        let is_refused = decoded.is_none();
        let path = decoded.map_or_else(|| String::from_utf8_lossy(exchange.raw_path), Cow::Owned);
        let mut request = Request {
            head: exchange.head,
            client_address: exchange.client_address,
            path: &path,
            query: exchange.raw_query,
            parameters: Vec::new(),
            body,
            failure: None,
        };
        let mut response = self.answer(&mut request, is_refused);
        let failure = request.failure;
        if is_refused || failure.is_some() {
            let delivery = response.delivery();
            delivery.closes = is_refused;
            delivery.failure = failure;
        }
        response
    }

    /// The route's answer, through the filters.
    fn answer(&self, request: &mut Request<'_>, is_refused: bool) -> Response {
        if is_refused {
            return self.through(0, request, &|_: &mut Request<'_>| {
                Ok(Response::text("400 Bad Request: the path was refused\n").with_status(400))
            });
        }
        let found = self.find(request.head, request.path);
        let limit = self.limit_of(found.as_ref().map(|(route, _)| *route));
        request.body.set_limit(limit);
        let is_too_long = matches!(request.head.body, Framing::Length(length) if length > limit)
            || request.body.is_over_limit();
        match found {
            Some(_) if is_too_long => self.through(0, request, &|_: &mut Request<'_>| {
                Ok(of_head_error(TOO_LONG))
            }),
            Some((route, parameters)) => {
                request.parameters = parameters;
                self.through(0, request, &*route.respond)
            }
            None => {
                let allowed = self.allowed(request.path);
                self.through(0, request, &|request: &mut Request<'_>| {
                    Ok(self.without_route(request, allowed.as_deref()))
                })
            }
        }
    }

    /// The first route of this method and path, and its parameters' values.
    fn find(&self, head: &Head<'_>, path: &str) -> Option<(&Route, Vec<(String, String)>)> {
        let of_method = |method: &[u8]| {
            let routes = self.routes.iter();
            routes
                .filter(|route| route.method.as_bytes() == method)
                .find_map(|route| Some((route, route.matches(below_root(path))?)))
        };
        of_method(head.method_name).or_else(|| match head.method {
            Method::Head => of_method(b"GET"),
            _ => None,
        })
    }

    fn limit_of(&self, route: Option<&Route>) -> u64 {
        route
            .and_then(|route| route.max_body)
            .unwrap_or(self.max_body)
    }

    /// The route's answer, through the filters from the `at`th on. An error or a panic, of the
    /// route or of a filter, becomes a response here, so that the filters around it see every
    /// answer.
    fn through(&self, at: usize, request: &mut Request<'_>, route: &dyn Respond) -> Response {
        let answered = catch_unwind(AssertUnwindSafe(|| match self.filters.get(at) {
            Some(filter) => filter(
                request,
                &Inner {
                    routes: self,
                    at: at + 1,
                    route,
                },
            ),
            None => route.respond(request),
        }));
        match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => failed(request, &error),
            Err(panic) => panicked(request, panic),
        }
    }

    /// The methods that have a route for a path, for `Allow` (RFC 9110 §10.2.1).
    fn allowed(&self, path: &str) -> Option<String> {
        let mut methods: Vec<_> = self
            .routes
            .iter()
            .filter(|route| route.matches(below_root(path)).is_some())
            .map(|route| route.method)
            .collect();
        if methods.is_empty() {
            return None;
        }
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.sort_unstable();
        methods.dedup();
        Some(methods.join(", "))
    }

    /// No route has this method and path.
    fn without_route(&self, request: &Request<'_>, allowed: Option<&str>) -> Response {
        let head = request.head;
        let is_known = head.method != Method::Other
            || self
                .routes
                .iter()
                .any(|route| route.method.as_bytes() == head.method_name);
        match allowed {
            None => Response::text("404 Not Found\n").with_status(404),
            Some(allowed) if head.method == Method::Options => {
                Response::new(204).header("Allow", allowed)
            }
            // RFC 9110 §15.6.2
            Some(_) if !is_known => Response::text("501 Not Implemented\n").with_status(501),
            Some(allowed) => Response::text("405 Method Not Allowed\n")
                .with_status(405)
                .header("Allow", allowed),
        }
    }
}

/// The path of a request as routes see it; `None` if it can't be decoded, or leads out of the root.
fn decoded_path(exchange: &Exchange<'_>) -> Option<String> {
    let target = exchange.target().ok()?;
    let slash = if target.trailing_slash && !target.path.is_empty() {
        "/"
    } else {
        ""
    };
    Some(format!(
        "/{}{slash}",
        std::str::from_utf8(&target.path).ok()?
    ))
}

fn below_root(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// The answer to a request whose route or filter returned an error. What the server must see of the
/// error is kept in the request.
fn failed(request: &mut Request<'_>, error: &io::Error) -> Response {
    match request.body.take_failure() {
        Some(BodyFailure::Lost(error)) => {
            request.failure.get_or_insert(Failure::Lost(error));
            return internal_error(); // never sent
        }
        Some(BodyFailure::Refused(refused)) => return of_head_error(refused),
        Some(BodyFailure::TooSlow(error)) => {
            request.failure.get_or_insert(Failure::Error(error));
            return Response::text("408 Request Timeout\n").with_status(408);
        }
        None => {}
    }
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<HttpError>()) {
        return Response::text(format!("{}\n", error.message())).with_status(error.status());
    }
    let path = request.path.escape_debug();
    log::error!("{} {path}: {error}", request.client_address);
    internal_error()
}

/// The answer to a request whose route or filter panicked. The panic goes on once that is written,
/// so that the server counts and reports it like any other.
fn panicked(request: &mut Request<'_>, panic: Box<dyn Any + Send>) -> Response {
    request.failure.get_or_insert(Failure::Panic(panic));
    internal_error()
}

fn internal_error() -> Response {
    Response::text("500 Internal Server Error\n").with_status(500)
}

fn of_head_error(refused: HeadError) -> Response {
    Response::text(format!("{}\n", refused.reason)).with_status(refused.status)
}

#[cfg(test)]
mod tests;
