//! The frame and header of an upload.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::upload::header::check(data));
