//! The server side of HTTP/1.1 and HTTP/1.0 connections: it reads requests and writes responses.
//! Authors of services use `Router`.
//!
//! ```text
//! bytes ─▶ connection ─▶ Exchange ─▶ Application::begin ─▶ Begun
//!                                                           │ Respond, Refuse: a Response
//!                                                           │ Receive: a Receiver, then a Response
//!          WFile ◀─ writer ◀─ connection ◀──────────────────┘
//! ```

pub mod after_body;
pub mod application;
pub mod body;
pub mod body_reader;
pub mod connection;
pub mod error_page;
pub mod events;
pub mod exchange;
pub mod file_content;
pub mod http_error;
pub mod https;
pub mod log;
pub mod pending;
pub mod produce;
pub mod request;
pub mod response;
pub mod router;
pub mod status;
pub mod websocket;
pub mod writer;
