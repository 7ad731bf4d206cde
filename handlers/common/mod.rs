//! What several services share.

pub mod access_log;
pub(crate) mod log_writer;
pub(crate) mod trace;
