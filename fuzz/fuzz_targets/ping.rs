//! The datagrams of `ping`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::ping::packet::check(data));
