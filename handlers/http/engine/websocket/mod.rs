//! WebSocket (RFC 6455). An idle WebSocket connection is parked like any other connection. The
//! crate `tungstenite` implements the protocol.

mod connection;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;

use base64_simd::STANDARD;
use sha1::{Digest, Sha1};
use socketserver::{Outbox, StreamRequest, Waker};
pub use tungstenite::protocol::Message;
use tungstenite::protocol::WebSocket;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::engine::request::Request;
use crate::engine::response::{Content, Response};
use crate::protocol::head::Method;
use connection::{Pipe, WebSocketConnection};

/// Handles one connection of a WebSocket service.
///
/// This service counts its clients and their messages. The client of the test writes its frames
/// as bytes:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use socketserver::Builder;
/// use socketserver::testing::TestConnection;
/// use socketserver_http::{
///     Message, Router, WebSocketHandler, WebSocketPeer, encode_message, websocket_with,
/// };
///
/// struct Counter(Arc<Mutex<usize>>, usize);
///
/// impl WebSocketHandler for Counter {
///     fn on_open(&mut self, peer: &mut WebSocketPeer<'_>) {
///         *self.0.lock().unwrap() += 1;
///         let _ = peer.send("welcome"); // fails only while the connection is closing
///     }
///     fn on_message(&mut self, message: Message, peer: &mut WebSocketPeer<'_>) {
///         self.1 += 1;
///         let _ = match &message {
///             Message::Text(text) if text.as_str() == "bye" => peer.close(),
///             _ => peer.send(format!("message {}", self.1)),
///         };
///     }
///     fn on_wake(&mut self, peer: &mut WebSocketPeer<'_>) {
///         let _ = peer.send("woken"); // by a clone of `peer.waker()`
///     }
///     fn on_close(&mut self) {
///         *self.0.lock().unwrap() -= 1;
///     }
/// }
///
/// let clients = Arc::new(Mutex::new(0));
/// let shared = Arc::clone(&clients);
/// let router = Router::new().get("/count", move |request| {
///     Ok(websocket_with(request, Counter(Arc::clone(&shared), 0)))
/// });
/// let mut client = TestConnection::new(Builder::new(), router.into_class());
/// client.send(
///     b"GET /count HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
///       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
/// );
/// let answer = client.received();
/// assert!(answer.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
/// assert!(answer.ends_with(&encode_message(&Message::text("welcome"))));
/// assert_eq!(*clients.lock().unwrap(), 1);
/// client.send(b"\x81\x82\0\0\0\0hi"); // a final frame of text, 2 bytes, masked with zeros
/// assert_eq!(client.received(), &*encode_message(&Message::text("message 1")));
/// client.send(b"\x81\x83\0\0\0\0bye").finish();
/// assert_eq!(*clients.lock().unwrap(), 0);
/// ```
pub trait WebSocketHandler: Send + 'static {
    /// Called once, when the connection is open. Does nothing by default.
    fn on_open(&mut self, peer: &mut WebSocketPeer<'_>) {
        let _ = peer;
    }

    /// Called for each text or binary message.
    fn on_message(&mut self, message: Message, peer: &mut WebSocketPeer<'_>);

    /// Called after a [waker](WebSocketPeer::waker) of this connection was used. Does nothing by
    /// default.
    fn on_wake(&mut self, peer: &mut WebSocketPeer<'_>) {
        let _ = peer;
    }

    /// Called once, when the connection has ended for any reason. Does nothing by default.
    fn on_close(&mut self) {}
}

/// The handler of a service that only reacts to messages.
struct OnMessage<F>(F);

impl<F> WebSocketHandler for OnMessage<F>
where
    F: FnMut(Message, &mut WebSocketPeer<'_>) + Send + 'static,
{
    fn on_message(&mut self, message: Message, peer: &mut WebSocketPeer<'_>) {
        (self.0)(message, peer);
    }
}

/// Like [`websocket_with`], for a service that only reacts to messages.
///
/// ```
/// use socketserver_http::{Router, websocket};
///
/// let router = Router::new().get("/echo", |request| {
///     Ok(websocket(request, |message, peer| drop(peer.send(message))))
/// });
/// # let _ = router;
/// ```
pub fn websocket(
    request: &Request<'_>,
    on_message: impl FnMut(Message, &mut WebSocketPeer<'_>) + Send + 'static,
) -> Response {
    websocket_with(request, OnMessage(on_message))
}

/// Converts a request's connection into a WebSocket. The server replies to pings. It sends a ping
/// to a client that sends nothing for 30 s, and closes the connection if the client sends nothing
/// for another 30 s. Between messages the connection holds no thread. A shutdown closes it with the
/// code 1001 (going away).
///
/// A request that is not a WebSocket handshake gets the status 400 or 426 (RFC 6455 §4.4).
///
/// ```
/// use socketserver::Group;
/// use socketserver_http::{
///     Message, Router, WebSocketHandler, WebSocketPeer, encode_message, websocket_with,
/// };
///
/// struct Chat(Group);
///
/// impl WebSocketHandler for Chat {
///     fn on_open(&mut self, peer: &mut WebSocketPeer<'_>) {
///         self.0.join(peer.sender(64 * 1024).outbox());
///     }
///
///     fn on_message(&mut self, message: Message, _: &mut WebSocketPeer<'_>) {
///         self.0.broadcast(encode_message(&message));
///     }
/// }
///
/// let room = Group::new();
/// let router = Router::new().get("/chat", move |request| {
///     Ok(websocket_with(request, Chat(room.clone())))
/// });
/// # let _ = router;
/// ```
pub fn websocket_with(request: &Request<'_>, handler: impl WebSocketHandler) -> Response {
    let upgrades = request
        .head
        .upgrade
        .is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"));
    let key = request
        .header("sec-websocket-key")
        .filter(|key| key.len() == 24);
    let (Method::Get, true, Some(key)) = (request.method(), upgrades, key) else {
        return Response::text("400 Bad Request: this address speaks WebSocket\n").with_status(400);
    };
    if request.header("sec-websocket-version") != Some("13") {
        return Response::new(426).header("Sec-WebSocket-Version", "13");
    }
    let connection = WebSocketConnection::new(Box::new(handler));
    Response::new(101)
        .with_content(Content::Upgrade(Box::new(connection)))
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Accept", &accept_key(key))
}

/// The value of `Sec-WebSocket-Accept`, which proves that the server understood the request as a
/// WebSocket handshake (RFC 6455 §4.2.2).
fn accept_key(key: &str) -> String {
    let hashed = Sha1::new()
        .chain_update(key)
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode_to_string(hashed.finalize())
}

/// The client of a WebSocket during a call of its handler.
///
/// This service replies to one message and then closes the connection:
///
/// ```
/// use socketserver_http::{Message, WebSocketHandler, WebSocketPeer, WebSocketSender};
///
/// struct Morning(Vec<WebSocketSender>);
///
/// impl WebSocketHandler for Morning {
///     fn on_open(&mut self, peer: &mut WebSocketPeer<'_>) {
///         self.0.push(peer.sender(1024)); // for other threads and connections
///         let waker = peer.waker(); // likewise; here for a thread that wakes it once
///         std::thread::spawn(move || waker.wake());
///     }
///     fn on_message(&mut self, _: Message, peer: &mut WebSocketPeer<'_>) {
///         let sent = peer.send("good morning").and_then(|()| peer.close());
///         if let Err(error) = sent {
///             eprintln!("the client has gone: {error}");
///         }
///     }
/// }
/// ```
pub struct WebSocketPeer<'a> {
    socket: &'a mut WebSocket<Pipe>,
    request: &'a StreamRequest,
    outbox: &'a mut Option<Outbox>,
}

impl WebSocketPeer<'_> {
    /// Sends a message.
    ///
    /// # Errors
    /// The connection is closing.
    pub fn send(&mut self, message: impl Into<Message>) -> io::Result<()> {
        if self.outbox.as_ref().is_some_and(Outbox::has_last_bytes) {
            return Err(io::Error::other(tungstenite::Error::AlreadyClosed));
        }
        self.socket.send(message.into()).map_err(io::Error::other)
    }

    /// Begins to close the connection. The close frame follows the messages that a
    /// [`sender`](WebSocketPeer::sender) has sent before. No message can follow the close frame
    /// (RFC 6455 §5.5.1).
    ///
    /// # Errors
    /// The connection is already closed.
    pub fn close(&mut self) -> io::Result<()> {
        self.socket.close(None).map_err(io::Error::other)
    }

    /// Creates a handle with which other threads and connections send messages to this client. At
    /// most `capacity` bytes may be unsent.
    pub fn sender(&mut self, capacity: usize) -> WebSocketSender {
        let outbox = self.request.outbox(capacity);
        *self.outbox = Some(outbox.clone());
        WebSocketSender(outbox)
    }

    /// Creates a handle with which other threads and connections can close this connection or
    /// trigger a call of [`on_wake`](WebSocketHandler::on_wake).
    pub fn waker(&self) -> Waker {
        self.request.waker()
    }
}

impl fmt::Debug for WebSocketPeer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebSocketPeer")
    }
}

/// Sends messages to the client of a WebSocket, from any thread or from handlers of other
/// connections. [`WebSocketPeer::sender`] creates it. It is cheap to clone, and does not keep the
/// connection open.
///
/// This example is a service whose threads send messages to its clients:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use socketserver::Group;
/// use socketserver_http::{
///     Message, WebSocketHandler, WebSocketPeer, WebSocketSender, encode_message,
/// };
///
/// #[derive(Clone, Default)]
/// struct Listeners {
///     senders: Arc<Mutex<Vec<WebSocketSender>>>,
///     everybody: Group,
/// }
///
/// impl WebSocketHandler for Listeners {
///     fn on_open(&mut self, peer: &mut WebSocketPeer<'_>) {
///         let sender = peer.sender(64 * 1024);
///         self.everybody.join(sender.outbox());
///         self.senders.lock().unwrap().push(sender);
///     }
///     fn on_message(&mut self, _: Message, _: &mut WebSocketPeer<'_>) {}
/// }
///
/// let listeners = Listeners::default();
/// // A message to each client. Clients that have left are forgotten:
/// let mut senders = listeners.senders.lock().unwrap();
/// senders.retain(|sender| !sender.is_closed());
/// for (number, sender) in senders.iter().enumerate() {
///     let _ = sender.try_send(format!("you are client {number}")); // a slow client misses it
/// }
/// // The same message to all:
/// let told = listeners.everybody.broadcast(encode_message(&Message::text("it rains")));
/// assert_eq!(told.delivered, senders.len());
/// ```
#[derive(Clone, Debug)]
pub struct WebSocketSender(Outbox);

impl WebSocketSender {
    /// Sends a message. Never waits. A [`Message::Close`] closes the connection: it is accepted
    /// even if the outbox is full, and no message can follow it (RFC 6455 §5.5.1).
    ///
    /// # Errors
    /// `Full` if the outbox is full because the client reads slowly, `Disconnected` if the
    /// connection is closing or has ended. Both return the message.
    pub fn try_send(
        &self,
        message: impl Into<Message>,
    ) -> std::result::Result<(), TrySendError<Message>> {
        let message = message.into();
        if message.is_close() {
            return if self.0.close_with(encode_message(&message)) {
                Ok(())
            } else {
                Err(TrySendError::Disconnected(message))
            };
        }
        match self.0.try_send(encode_message(&message)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(TrySendError::Full(message)),
            Err(TrySendError::Disconnected(_)) => Err(TrySendError::Disconnected(message)),
        }
    }

    /// The outbox, to join a [`Group`](socketserver::Group). All messages of that group must come
    /// from [`encode_message`].
    pub fn outbox(&self) -> &Outbox {
        &self.0
    }

    /// Whether the connection is closing or has ended.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Encodes a message as a server sends it (RFC 6455 §5.2), for
/// [`Group::broadcast`](socketserver::Group::broadcast). So it is encoded only once for all
/// members. To close the connections of a group, use [`Group::close`](socketserver::Group::close).
/// Do not broadcast a [`Message::Close`], because no message may follow it.
///
/// ```
/// use socketserver_http::{Message, encode_message};
///
/// assert_eq!(&*encode_message(&Message::text("hi")), b"\x81\x02hi");
/// ```
pub fn encode_message(message: &Message) -> Arc<[u8]> {
    let frame = match message {
        Message::Text(text) => Frame::message(text.clone(), OpCode::Data(Data::Text), true),
        Message::Ping(bytes) => Frame::ping(bytes.clone()),
        Message::Pong(bytes) => Frame::pong(bytes.clone()),
        Message::Close(frame) => Frame::close(frame.clone()),
        other => Frame::message(other.clone().into_data(), OpCode::Data(Data::Binary), true),
    };
    let mut bytes = Vec::with_capacity(frame.len());
    // Writing to memory cannot fail.
    let _ = frame.format(&mut bytes);
    bytes.into()
}
