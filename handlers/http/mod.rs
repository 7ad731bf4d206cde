//! The HTTP service.

pub mod conditional;
pub mod range;
pub mod target;
