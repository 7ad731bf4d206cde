//! The percent decoder and the way of a request target to a path.
#![no_main]

use socketserver_handlers::http::protocol::target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::check(data));
