//! The lists of entity tags and the dates of conditional requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::http::conditional::check(data));
