//! `Content-Digest` and `Repr-Digest`.
#![no_main]

use socketserver_handlers::http::protocol::digest_fields;

libfuzzer_sys::fuzz_target!(|data: &[u8]| digest_fields::check(data));
