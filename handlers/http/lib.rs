//! HTTP/1.1 and 1.0 on the framework, for services of your own. `serve http` is built on it, in
//! `files`.
//!
//! [`protocol`] parses and writes bytes, and knows no socket. `engine` serves connections.

/// For `serve http`, which is built of the same parts. Authors use what is exported below.
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
