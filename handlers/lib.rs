//! The services of `socketserver`.

pub mod http;
