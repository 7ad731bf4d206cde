//! The `Accept-Encoding` header.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::http::accept_encoding::check(data));
