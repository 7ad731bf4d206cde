//! The JSON object of `transfer`, in both directions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::transfer::decode::check(data));
