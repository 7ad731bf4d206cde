//! The router: it chooses the author's function that responds to a request.

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

/// Responds to a request. Closures implement this trait.
///
/// A filter can respond itself, and then the request does not reach its route:
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
    /// Makes the response to this request. The function may read the body, and it may block: it
    /// holds its thread, and other threads serve the other clients.
    ///
    /// # Errors
    /// The response to an [`HttpError`] has the error's status. The response to an error of reading
    /// the body has the status 400, 408 or 413. Any other error is logged, and the response has the
    /// status 500.
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

/// A filter gets every request before its route. It may make the response itself, or change the
/// route's response.
type Filter = Box<dyn Fn(&mut Request<'_>, &dyn Respond) -> io::Result<Response> + Send + Sync>;

/// An HTTP service: routes, and filters around them. [`into_class`](Router::into_class) converts it
/// into a handler class for a server.
///
/// If two routes match a request, the route that was added first gets it. Status codes of requests
/// without a route: 404 if no route has the path, 405 if the path has routes but not for the
/// method. The response to `OPTIONS` lists the methods of the path. If a route panics, the response
/// has the status 500, the server counts and reports the panic, and the connection ends.
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
    /// In the order in which they were added.
    routes: Vec<Route>,
    /// The outermost filter is the first.
    filters: Vec<Filter>,
    /// Maximum length of a request's body, in bytes.
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
    /// A router without routes. Every path gets the status 404.
    pub fn new() -> Router {
        Router::default()
    }

    /// Adds a route for `GET` requests whose path matches a [pattern](Route#patterns). The route
    /// also gets `HEAD` requests; their responses are sent without content.
    ///
    /// # Panics
    /// In the cases of [`add_route`](Router::add_route).
    pub fn get<F>(self, pattern: &str, respond: F) -> Router
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.route("GET", pattern, respond)
    }

    /// Adds a route for `POST` requests whose path matches a [pattern](Route#patterns).
    ///
    /// # Panics
    /// In the cases of [`add_route`](Router::add_route).
    pub fn post<F>(self, pattern: &str, respond: F) -> Router
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.route("POST", pattern, respond)
    }

    /// Adds a route for one method and for paths that match a [pattern](Route#patterns).
    ///
    /// # Panics
    /// In the cases of [`add_route`](Router::add_route).
    pub fn route<F>(self, method: &'static str, pattern: &str, respond: F) -> Router
    where
        F: Fn(&mut Request<'_>) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.add_route(Route::new(method, pattern, respond))
    }

    /// Adds a route that has its own settings.
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
    /// In the cases of [`Route::new`]; if the route would never be called, because an earlier route
    /// gets all its requests; if the router is already in use.
    pub fn add_route(mut self, route: Route) -> Router {
        let routes = &mut self.own().routes;
        if let Some(earlier) = routes.iter().find(|earlier| earlier.hides(&route)) {
            panic!("`{route}` would never be called: add it before `{earlier}`, or remove it");
        }
        routes.push(route);
        self
    }

    /// Adds a filter around all routes. The filter that was added first is the outermost. A filter
    /// gets every request that is well-formed HTTP, including requests that the router refuses.
    ///
    /// A filter also gets every response. An error or a panic of the route or of an inner filter
    /// becomes a response (400, 413, 422, 500) before `inner.respond(request)` returns. So this
    /// call never returns an error, and a header that a filter adds is on all responses.
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
    /// If the router is already in use.
    pub fn filter<F>(mut self, filter: F) -> Router
    where
        F: Fn(&mut Request<'_>, &dyn Respond) -> io::Result<Response> + Send + Sync + 'static,
    {
        self.own().filters.push(Box::new(filter));
        self
    }

    /// Maximum length of a request's body, in bytes, for all routes that do not set their own
    /// [`max_body`](Route::max_body). A longer body gets the status 413. Defaults to 1 MiB.
    ///
    /// # Panics
    /// If the router is already in use.
    pub fn max_body(mut self, bytes: u64) -> Router {
        self.own().max_body = bytes;
        self
    }

    /// Converts the router into a handler class for [`Builder::tcp`](socketserver::Builder::tcp)
    /// and the other methods that create a server. To use the router for several servers, clone it
    /// first.
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

/// The `inner` that a filter calls: the filters inside it, and the route.
struct Inner<'a> {
    routes: &'a Routes,
    /// Index of the next filter.
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
    /// Makes the response to a request. The gathered part of the body is already in `body`.
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

    /// Passes the request through the filters to its route, and returns the response.
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

    /// The first route for this method and path, with the values of its parameters.
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

    /// Passes the request through the filters from index `at` on to the route. An error or a panic
    /// of the route or of a filter becomes a response here, so that outer filters get every
    /// response.
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

    /// The response to a request whose method and path match no route.
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

/// The decoded path of a request, which patterns are compared with. `None` if the path can't be
/// decoded or leads out of the root.
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

/// The response to a request whose route or filter returned an error. An error that must end the
/// connection is stored in the request.
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

/// The response to a request whose route or filter panicked. The panic is resumed after the
/// response is written, so that the server counts and reports it like any other panic.
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
