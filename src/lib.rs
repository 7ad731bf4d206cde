//! Python's `socketserver`, reborn in Rust.

#[allow(dead_code)]
mod proxy;

/// Invariants of the parsers, for the fuzzer; no part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::proxy::check as proxy;
}
