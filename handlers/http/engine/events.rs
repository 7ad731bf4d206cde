//! Server-sent events (WHATWG HTML, section 9.2): a response that stays open and sends events.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use socketserver::{StreamRequest, Waker};

use crate::engine::produce::{Produce, Produced};
use crate::engine::response::Response;

/// A response that sends events. The server calls `next` for the next events; its result says when
/// to call it again. Between two calls the connection holds no thread. When the client disconnects,
/// `next` is dropped.
///
/// [`Produced::Over`] ends the response, and the connection then serves the next request. A server
/// that shuts down lets the response continue, at most for its grace period.
///
/// ```
/// use std::time::Duration;
/// use socketserver_http::{Produced, Router, events};
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

/// Writes events to a response.
///
/// ```
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{Produced, Router, events};
///
/// let router = Router::new().get("/news", |_| {
///     Ok(events(|to| {
///         to.comment("two events follow");
///         to.data("it rains");
///         to.id("2");
///         to.event("warning", "it pours");
///         Produced::Over
///     }))
/// });
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(b"GET /news HTTP/1.0\r\n\r\n");
/// let answer = String::from_utf8(client.received()).unwrap();
/// let (_, events) = answer.split_once("\r\n\r\n").unwrap();
/// let expected = ":two events follow\n\ndata: it rains\n\n\
///                 id: 2\nevent: warning\ndata: it pours\n\n";
/// assert_eq!(events, expected);
/// ```
#[derive(Debug)]
pub struct Events<'a>(&'a mut Vec<u8>);

impl Events<'_> {
    /// Adds an event without a name. Line breaks in `data` are kept.
    pub fn data(&mut self, data: &str) {
        for line in data.split(['\n', '\r']) {
            self.line("data", line);
        }
        self.0.push(b'\n');
    }

    /// Adds an event with a name.
    pub fn event(&mut self, name: &str, data: &str) {
        self.line("event", name);
        self.data(data);
    }

    /// Sets the ID of the event that follows. A browser that reconnects sends the last ID in the
    /// header `Last-Event-ID`.
    pub fn id(&mut self, id: &str) {
        self.line("id", id);
    }

    /// Adds a comment, which keeps an idle connection alive through proxies.
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

/// Time without an event after which a comment is sent. The comment keeps the connection alive
/// through proxies, and shows whether the client has disconnected.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// A response of events that other threads and connections send, and the sender for them. At most
/// `capacity` events (at least 1) are queued for a client that reads slowly. The connection holds
/// no thread and needs no timer for the events.
///
/// The response ends when all clones of the [`EventSender`] are dropped, or when the server shuts
/// down. Browsers then reconnect.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{Router, event_channel};
///
/// let subscribers = Arc::new(Mutex::new(Vec::new()));
/// let new_subscribers = Arc::clone(&subscribers);
/// let router = Router::new().get("/news", move |_| {
///     let (sender, response) = event_channel(100);
///     new_subscribers.lock().unwrap().push(sender);
///     Ok(response)
/// });
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(b"GET /news HTTP/1.0\r\n\r\n").received();
/// // Elsewhere: clients that have left or do not read are forgotten.
/// let mut all = subscribers.lock().unwrap();
/// all.retain(|sender| sender.try_send(|to| to.data("it rains")).is_ok());
/// assert_eq!(client.received(), b"data: it rains\n\n");
/// ```
pub fn event_channel(capacity: usize) -> (EventSender, Response) {
    let queue = Arc::new(EventQueue {
        capacity: capacity.max(1),
        state: Mutex::default(),
        waker: OnceLock::new(),
    });
    let response = Response::new(200)
        .header("Cache-Control", "no-store")
        .stream("text/event-stream", QueueSource(Arc::clone(&queue)));
    (EventSender(Arc::new(SenderSide(queue))), response)
}

/// Sends events to one client, from any thread or from handlers of other connections. It is cheap
/// to clone.
///
/// ```
/// use std::sync::mpsc::TrySendError;
/// use socketserver_http::event_channel;
///
/// let (sender, response) = event_channel(1);
/// // A route returns the response. Until it is sent, events wait for it.
/// sender.try_send(|to| to.data("first")).unwrap();
/// assert!(matches!(sender.try_send(|to| to.data("second")), Err(TrySendError::Full(()))));
/// drop(response);
/// assert!(sender.is_closed());
/// ```
#[derive(Clone)]
pub struct EventSender(Arc<SenderSide>);

/// Shared by all clones of an [`EventSender`]. Dropping the last clone drops this, which ends the
/// response.
struct SenderSide(Arc<EventQueue>);

struct EventQueue {
    /// Maximum number of queued events.
    capacity: usize,
    state: Mutex<EventQueueState>,
    /// Wakes the connection. Set once the response has begun.
    waker: OnceLock<Waker>,
}

#[derive(Default)]
struct EventQueueState {
    /// Queued events in their wire format; each item has one or more events.
    events: VecDeque<Vec<u8>>,
    /// Whether all senders were dropped.
    has_no_sender: bool,
    /// Whether the response was dropped.
    has_no_client: bool,
}

impl EventQueue {
    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

impl EventSender {
    /// Sends what `write` writes, usually one event. Never waits.
    ///
    /// # Errors
    /// `Full` if the queue is full because the client reads slowly, `Disconnected` if the client
    /// has disconnected.
    pub fn try_send(&self, write: impl FnOnce(&mut Events<'_>)) -> Result<(), TrySendError<()>> {
        let queue = &self.0.0;
        let mut bytes = Vec::new();
        write(&mut Events(&mut bytes));
        {
            let mut state = queue.state.lock();
            if state.has_no_client || queue.waker.get().is_some_and(Waker::is_closed) {
                return Err(TrySendError::Disconnected(()));
            }
            if state.events.len() >= queue.capacity {
                return Err(TrySendError::Full(()));
            }
            state.events.push_back(bytes);
        }
        queue.wake();
        Ok(())
    }

    /// Whether the client has disconnected, as far as the server knows.
    pub fn is_closed(&self) -> bool {
        let queue = &self.0.0;
        queue.state.lock().has_no_client || queue.waker.get().is_some_and(Waker::is_closed)
    }
}

impl fmt::Debug for EventSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSender")
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Drop for SenderSide {
    fn drop(&mut self) {
        self.0.state.lock().has_no_sender = true;
        self.0.wake();
    }
}

/// Produces the response from the queued events.
struct QueueSource(Arc<EventQueue>);

impl Produce for QueueSource {
    fn produce(&mut self, piece: &mut Vec<u8>) -> io::Result<Produced> {
        let (events, has_no_sender) = {
            let mut state = self.0.state.lock();
            (std::mem::take(&mut state.events), state.has_no_sender)
        };
        if events.is_empty() && !has_no_sender {
            Events(piece).comment("");
        }
        for event in events {
            piece.extend_from_slice(&event);
        }
        Ok(if has_no_sender {
            Produced::Over
        } else {
            Produced::After(HEARTBEAT_INTERVAL)
        })
    }

    fn begin(&mut self, request: &StreamRequest) {
        // `begin` is called only once, so the waker is not set yet.
        let _ = self.0.waker.set(request.waker());
    }

    fn ends_at_shutdown(&self) -> bool {
        true
    }
}

impl Drop for QueueSource {
    fn drop(&mut self) {
        self.0.state.lock().has_no_client = true;
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
