//! The arguments of PORT, EPRT and EPSV.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::ftp::address::check(data));
