//! Lines of the control connection of `ftp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::ftp::command::check(data));
