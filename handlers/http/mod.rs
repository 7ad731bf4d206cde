//! The HTTP service.

pub mod conditional;
pub mod date;
pub mod media;
pub mod range;
pub mod target;
