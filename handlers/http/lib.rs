//! An HTTP/1.1 and HTTP/1.0 server on the `socketserver` framework, for your own services.
//! `serve http` (in `handlers/files`) is built on this crate too.
//!
//! [`protocol`] parses and writes bytes and does no I/O. `engine` serves connections.

/// Public only because `serve http` uses these parts. Authors use the items exported below.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub mod engine;
pub mod protocol;

pub use engine::body_reader::BodyReader;
pub use engine::connection::HttpHandler;
pub use engine::events::{EventSender, Events, event_channel, events};
pub use engine::http_error::HttpError;
pub use engine::produce::{Produce, Produced};
pub use engine::request::{Form, Request};
pub use engine::response::Response;
pub use engine::router::{Respond, Route, Router};
pub use engine::websocket::{
    Message, WebSocketHandler, WebSocketPeer, WebSocketSender, encode_message, websocket,
    websocket_with,
};
pub use protocol::cookie::{Cookie, SameSite};
