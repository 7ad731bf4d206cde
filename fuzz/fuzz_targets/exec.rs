//! A request of `exec`: a frame or text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::exec::request::check(data));
