//! The `Accept-Encoding` header.
#![no_main]

use socketserver_handlers::http::protocol::accept_encoding;

libfuzzer_sys::fuzz_target!(|data: &[u8]| accept_encoding::check(data));
