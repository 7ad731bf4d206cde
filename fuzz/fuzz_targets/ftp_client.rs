//! What a server of FTP sends: replies and listings, as the client reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::ftp::client::check(data));
