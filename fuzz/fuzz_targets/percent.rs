//! The percent decoder and the way of a request target to a path.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::http::target::check(data));
