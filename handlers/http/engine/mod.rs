//! Connections of HTTP/1.1 and 1.0: requests in, responses out. [`Router`](router::Router) is what
//! authors of services use.
//!
//! ```text
//! bytes ─▶ connection ─▶ Exchange ─▶ Application::begin ─▶ Begun
//!                                                           │ Respond, Refuse: a Response
//!                                                           │ Receive: a Receiver, then a Response
//!          WFile ◀─ writer ◀─ connection ◀──────────────────┘
//! ```

pub(crate) mod after_body;
pub(crate) mod application;
pub(crate) mod body;
pub(crate) mod body_reader;
pub(crate) mod connection;
pub(crate) mod error_page;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod file_content;
pub(crate) mod http_error;
pub(crate) mod https;
pub(crate) mod log;
pub(crate) mod pending;
pub(crate) mod produce;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod router;
pub(crate) mod status;
pub(crate) mod websocket;
pub(crate) mod writer;
