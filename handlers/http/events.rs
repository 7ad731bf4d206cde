//! Server-sent events (WHATWG HTML, section 9.2): a response that goes on for as long as there is
//! something to tell.

use std::io;

use super::message::{Produce, Produced, Response};

/// A response of events. `next` is asked for the next ones, and says when to ask again; between
/// them the connection holds no thread. A client that goes away is forgotten.
///
/// [`Produced::Over`] ends the response; the connection then serves the next request. Until then a
/// server that shuts down lets the response go on, at most for its grace period.
///
/// ```
/// use std::time::Duration;
/// use socketserver_handlers::http::{Produced, Router, events};
///
/// let router = Router::new().get("/countdown", |_| {
///     let mut left = 10;
///     Ok(events(move |to| {
///         to.data(&left.to_string());
///         if left == 0 {
///             return Produced::Over;
///         }
///         left -= 1;
///         Produced::After(Duration::from_secs(1))
///     }))
/// });
/// ```
pub fn events(next: impl FnMut(&mut Events<'_>) -> Produced + Send + 'static) -> Response {
    Response::new(200)
        .header("Cache-Control", "no-store")
        .stream("text/event-stream", Source(next))
}

/// Takes events.
#[derive(Debug)]
pub struct Events<'a>(&'a mut Vec<u8>);

impl Events<'_> {
    /// An event without a name; its lines are kept.
    pub fn data(&mut self, data: &str) {
        for line in data.split(['\n', '\r']) {
            self.line("data", line);
        }
        self.0.push(b'\n');
    }

    /// An event with a name.
    pub fn event(&mut self, name: &str, data: &str) {
        self.line("event", name);
        self.data(data);
    }

    /// What the browser tells as `Last-Event-ID` when it comes again; belongs to the event that
    /// follows.
    pub fn id(&mut self, id: &str) {
        self.line("id", id);
    }

    /// A comment, which keeps a quiet connection alive through proxies.
    pub fn comment(&mut self, text: &str) {
        self.line("", text);
        self.0.push(b'\n');
    }

    fn line(&mut self, field: &str, value: &str) {
        let value = value.split(['\n', '\r', '\0']).next().unwrap_or_default();
        let gap = if field.is_empty() { ":" } else { ": " };
        self.0
            .extend_from_slice([field, gap, value, "\n"].concat().as_bytes());
    }
}

struct Source<F>(F);

impl<F> Produce for Source<F>
where
    F: FnMut(&mut Events<'_>) -> Produced + Send + 'static,
{
    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced> {
        Ok((self.0)(&mut Events(piece)))
    }
}
