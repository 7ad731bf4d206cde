//! `multipart/form-data`: a boundary, a line end, a form.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketserver_handlers::files::form::check(data));
