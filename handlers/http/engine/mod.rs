//! Connections of HTTP/1.1 and 1.0: requests in, answers out. [`Router`](router::Router) is what
//! authors of services use.

pub(crate) mod application;
pub(crate) mod body;
pub(crate) mod body_reader;
pub(crate) mod connection;
pub(crate) mod events;
pub(crate) mod http_error;
pub(crate) mod https;
pub(crate) mod message;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod router;
pub(crate) mod websocket;
