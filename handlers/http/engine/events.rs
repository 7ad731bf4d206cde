//! Server-sent events (WHATWG HTML, section 9.2): a response that goes on for as long as there is
//! something to tell.

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

/// A response of events. `next` is asked for the next ones, and says when to ask again; between
/// them the connection holds no thread. A client that goes away is forgotten.
///
/// [`Produced::Over`] ends the response; the connection then serves the next request. Until then a
/// server that shuts down lets the response go on, at most for its grace period.
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

/// Takes events.
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

/// A comment is sent after this time without an event. It keeps the connection alive through
/// proxies, and shows that a client has gone.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// A response of events that other threads and connections send, and what they send them with. At
/// most `capacity` events, at least 1, wait for a client that reads slowly. The connection holds no
/// thread and uses no timer for the events.
///
/// The response ends when every [`EventSender`] was dropped, and when the server shuts down.
/// Browsers then connect again.
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

/// Sends events to one client, from any thread and from the handlers of other connections. Cheap to
/// clone.
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

/// The last clone of an [`EventSender`] drops this, which ends the response.
struct SenderSide(Arc<EventQueue>);

struct EventQueue {
    capacity: usize,
    state: Mutex<EventQueueState>,
    /// Set once the response has begun.
    waker: OnceLock<Waker>,
}

#[derive(Default)]
struct EventQueueState {
    /// One or more events each, as they are sent.
    events: VecDeque<Vec<u8>>,
    has_no_sender: bool,
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
    /// `Full` if the client has not read the events before it, `Disconnected` if it has left.
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

    /// Whether the client has left, as far as the server knows.
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

/// Makes the response from what was sent.
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
        // It cannot be set before.
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
