//! What several services share.

pub mod access_log;
pub mod echo;
pub(crate) mod log_writer;
pub(crate) mod trace;
pub mod progress;
