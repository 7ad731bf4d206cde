//! The requests that the routes of an HTTP service get.

use std::fmt;
use std::io::{self, Read};

use serde::de::DeserializeOwned;
use socketserver::ClientAddress;

use crate::engine::application::Failure;
use crate::engine::body_reader::BodyReader;
use crate::engine::http_error::HttpError;
use crate::protocol::cookie;
use crate::protocol::head::{Head, Method};
use crate::protocol::query::Query;

/// A request: its head, and a reader for its body.
///
/// ```
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{Response, Router};
///
/// let router = Router::new()
///     .get("/orders/{id}", |request| {
///         let id = request.parameter("id").to_owned();
///         let part = request.query("part").unwrap_or_default();
///         let language = request.header("Accept-Language").unwrap_or("en");
///         let name = request.cookie("name").unwrap_or_default();
///         Ok(Response::text(format!("{id} {part} {language} {name}\n")))
///     })
///     .post("/sum", |request| {
///         let numbers: Vec<i32> = request.json()?;
///         Response::json(&numbers.iter().map(|number| i64::from(*number)).sum::<i64>())
///     })
///     .post("/text", |request| Ok(Response::text(request.text()?)))
///     .post("/bytes", |request| Ok(Response::new(200).content("a/b", request.bytes()?)))
///     .post("/size", |request| {
///         let size = std::io::copy(request.body(), &mut std::io::sink())?; // of any size
///         Ok(Response::text(size.to_string()))
///     })
///     .post("/form", |request| Ok(Response::text(request.form()?.get("name").unwrap_or("?"))));
/// let ask = |request: &str| {
///     let mut client = TestConnection::new(Builder::new(), router.clone().into_class());
///     let answer = client.send(request.as_bytes()).received();
///     String::from_utf8(answer).unwrap().split_once("\r\n\r\n").unwrap().1.to_owned()
/// };
/// let get = "GET /orders/7?part=lid HTTP/1.0\r\nCookie: name=Ada\r\n\r\n";
/// assert_eq!(ask(get), "7 lid en Ada\n");
/// let post = "HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n[1,2,3]";
/// assert_eq!(ask(&format!("POST /sum {post}")), "6");
/// assert_eq!(ask(&format!("POST /text {post}")), "[1,2,3]");
/// assert_eq!(ask(&format!("POST /bytes {post}")), "[1,2,3]");
/// assert_eq!(ask(&format!("POST /size {post}")), "7");
/// assert!(ask(&format!("POST /form {post}")).starts_with("send the request body as"));
/// ```
pub struct Request<'a> {
    /// The method, the target and the headers.
    pub head: &'a Head<'a>,
    /// The address of the client.
    pub client_address: &'a ClientAddress,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a [u8]>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) body: BodyReader<'a>,
    /// The first failure of the route or of a filter. It ends the connection after the response.
    pub(crate) failure: Option<Failure>,
}

impl<'a> Request<'a> {
    /// The method.
    ///
    /// This filter writes a log:
    ///
    /// ```
    /// use socketserver::Builder;
    /// use socketserver::testing::TestConnection;
    /// use socketserver_http::{Response, Router};
    ///
    /// let router = Router::new()
    ///     .get("/hello", |_| Ok(Response::text("hello\n")))
    ///     .filter(|request, inner| {
    ///         let response = inner.respond(request)?;
    ///         let (method, path) = (request.method(), request.path());
    ///         let query = request.query_string().unwrap_or_default();
    ///         println!("{method:?} {path} {query}: {}", response.status());
    ///         Ok(response)
    ///     });
    /// let mut client = TestConnection::new(Builder::new(), router.into_class());
    /// client.send(b"GET /hello?a=b HTTP/1.0\r\n\r\n");
    /// assert!(client.received().starts_with(b"HTTP/1.1 200 OK\r\n"));
    /// ```
    pub fn method(&self) -> Method {
        self.head.method
    }

    /// The percent-decoded path with its leading slash, without the query. For a request that is
    /// refused because its path can't be decoded, which filters see too, this is the path as sent.
    pub fn path(&self) -> &str {
        self.path
    }

    /// The decoded value of the first query parameter with this name. It is empty for a parameter
    /// without `=`. `None` if there is no such parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        Query(self.query.unwrap_or_default()).get(name)
    }

    /// The query as sent: the part after the `?`.
    pub fn query_string(&self) -> Option<&str> {
        self.query.and_then(|query| std::str::from_utf8(query).ok())
    }

    /// The decoded part of the path that matches `{name}` in the route's pattern. It is empty if
    /// the pattern does not contain the name.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }

    /// The value of the first header with this name. Upper and lower case are equal. `None` if the
    /// header is absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.head
            .values(name)
            .next()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The percent-decoded value of the first cookie with this name.
    pub fn cookie(&self, name: &str) -> Option<String> {
        cookie::find(self.head, name)
    }

    /// The body, to be read piece by piece. The server receives the first 64 KiB before it calls
    /// the route, and no thread waits for them. Reading the rest waits for the client, within the
    /// server's timeouts, and holds the route's thread meanwhile.
    ///
    /// A client that sends `Expect: 100-continue` sends no body before it gets 100 (Continue), so
    /// its route is called immediately. The first read sends 100 (Continue), and the whole body is
    /// then read while the route waits. A body that the route does not read is dropped.
    ///
    /// A read fails if the client closes its side within the body, is too slow, or sends more than
    /// the route's [`max_body`](crate::Route::max_body). If the route returns this error, the
    /// response has the status 400, 408 or 413.
    pub fn body(&mut self) -> &mut BodyReader<'a> {
        &mut self.body
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// Errors of reading the [`body`](Request::body).
    pub fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads the whole body as text.
    ///
    /// # Errors
    /// Errors of reading the [`body`](Request::body); 400 if the body is not UTF-8.
    pub fn text(&mut self) -> io::Result<String> {
        let text = String::from_utf8(self.bytes()?);
        text.map_err(|_| HttpError::new(400, "the request body is not UTF-8").into())
    }

    /// Reads the body as JSON and deserializes it.
    ///
    /// # Errors
    /// Errors of reading the [`body`](Request::body); 415 if `Content-Type` is not
    /// `application/json` or a type that ends in `+json`, 400 if the body is not JSON, 422 if the
    /// JSON does not match the type `T`.
    pub fn json<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let essence = self.media_type();
        if essence != "application/json" && !essence.ends_with("+json") {
            let message = "send the request body as Content-Type: application/json";
            return Err(HttpError::new(415, message).into());
        }
        let bytes = self.bytes()?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let status = if error.is_data() { 422 } else { 400 };
            let message = format!("the request body is not the expected JSON: {error}");
            HttpError::new(status, message).into()
        })
    }

    /// Reads the fields of an HTML form that was sent as `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// Errors of reading the [`body`](Request::body); 415 for another `Content-Type`.
    pub fn form(&mut self) -> io::Result<Form> {
        const FORM: &str = "application/x-www-form-urlencoded";
        if self.media_type() != FORM {
            let message = format!("send the request body as Content-Type: {FORM}");
            return Err(HttpError::new(415, message).into());
        }
        let bytes = self.bytes()?;
        Ok(Form(Query(&bytes).pairs().collect()))
    }

    /// The media type of the body, in lower case, without its parameters.
    fn media_type(&self) -> String {
        let value = self.head.content_type.unwrap_or_default();
        let essence = value.split(|&byte| byte == b';').next().unwrap_or(value);
        String::from_utf8_lossy(essence.trim_ascii()).to_ascii_lowercase()
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("head", self.head)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The fields of a form, in the order in which the client sent them.
///
/// ```
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{Response, Router};
///
/// let router = Router::new().post("/login", |request| {
///     let form = request.form()?;
///     let (name, count) = (form.get("name").unwrap_or("nobody"), form.iter().count());
///     Ok(Response::text(format!("{name}, {count} fields\n")))
/// });
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(
///     b"POST /login HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n\
///       Content-Length: 18\r\n\r\nname=Ada+L.&code=7",
/// );
/// assert!(client.received().ends_with(b"\r\n\r\nAda L., 2 fields\n"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// The value of the first field with this name. It is empty for a field without a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// All fields as pairs of name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}
