//! Modules that several services share.

pub mod access_log;
pub mod command;
pub mod digest;
pub(crate) mod duration;
pub mod echo;
pub mod framing;
pub(crate) mod log_writer;
pub mod progress;
pub(crate) mod reflectors;
pub(crate) mod rename;
pub mod store;
pub(crate) mod trace;
pub(crate) mod values;
