//! The lists of entity tags and the dates of conditional requests.
#![no_main]

use socketserver_handlers::http::protocol::conditional;

libfuzzer_sys::fuzz_target!(|data: &[u8]| conditional::check(data));
