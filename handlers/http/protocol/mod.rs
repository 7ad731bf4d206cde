//! HTTP/1.1 as pure functions on bytes, without sockets, files or clocks. Every parser here has
//! table tests and a fuzz target.

pub mod accept;
pub mod accept_encoding;
pub mod base_path;
pub mod chunked;
pub mod conditional;
pub mod cookie;
pub mod date;
pub mod digest_fields;
pub mod disposition;
pub mod file_date;
pub mod head;
pub mod query;
pub mod range;
pub mod target;
pub mod tus_fields;
