//! The token of a share link.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::accounts::share::check(data));
