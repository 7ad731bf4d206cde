//! `Upload-Metadata`, `Upload-Checksum` and `Upload-Offset`.
#![no_main]

use socketserver_handlers::http::protocol::tus_fields;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tus_fields::check(data));
