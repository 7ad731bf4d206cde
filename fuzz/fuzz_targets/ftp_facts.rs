//! The argument of `OPTS MLST`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::ftp::facts::check(data));
