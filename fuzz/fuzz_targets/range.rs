//! The `Range` header.
#![no_main]

use socketserver_handlers::http::protocol::range;

libfuzzer_sys::fuzz_target!(|data: &[u8]| range::check(data));
