//! Uploads leave some of the process's descriptors to connections and downloads.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit};

use super::StoreError;
use super::error::NO_DESCRIPTORS;

/// Descriptors that uploads leave: an eighth of what the process may have, but no more than this.
const MAX_RESERVE: u64 = 256;

/// Checks that enough descriptors are free for an upload to take one.
///
/// The system gives a new descriptor the lowest free number: if that is high, nearly all are taken,
/// whatever for.
///
/// # Errors
/// [`StoreError::Unavailable`]
pub(super) fn check_reserve(any: impl AsFd) -> Result<(), StoreError> {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return Ok(());
    };
    let lowest_free = rustix::io::fcntl_dupfd_cloexec(any, 0)?.as_raw_fd();
    let reserve = (limit / 8).min(MAX_RESERVE);
    if u64::try_from(lowest_free).is_ok_and(|number| number + reserve >= limit) {
        Err(StoreError::Unavailable(NO_DESCRIPTORS))
    } else {
        Ok(())
    }
}
