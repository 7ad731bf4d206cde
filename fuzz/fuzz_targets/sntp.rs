//! SNTP's packets, as a server and as a client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::time::sntp::check(data));
