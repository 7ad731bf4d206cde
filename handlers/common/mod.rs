//! What several services share.

pub mod access_log;
pub mod echo;
pub mod framing;
pub(crate) mod log_writer;
pub mod progress;
pub(crate) mod trace;
