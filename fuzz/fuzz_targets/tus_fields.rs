//! `Upload-Metadata`, `Upload-Checksum` and `Upload-Offset`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::http::tus_fields::check(data));
