//! The `Authorization` header of Basic authentication.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::accounts::basic::check(data));
