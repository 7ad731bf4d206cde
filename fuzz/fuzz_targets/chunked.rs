//! The chunked coding of a request's body.
#![no_main]

use socketserver_handlers::http::protocol::chunked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| chunked::check(data));
