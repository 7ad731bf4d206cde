//! Python's `socketserver`, reborn in Rust.
