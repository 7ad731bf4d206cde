//! The argument of LIST: options and patterns.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::ftp::listing::check(data));
