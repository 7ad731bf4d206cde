//! The chunked coding of a request's body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::http::chunked::check(data));
