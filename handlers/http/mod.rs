//! The HTTP service.

pub mod range;
pub mod target;
