//! `Content-Digest` and `Repr-Digest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::http::digest_fields::check(data));
