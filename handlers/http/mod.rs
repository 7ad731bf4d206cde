//! The HTTP service.

pub mod target;
