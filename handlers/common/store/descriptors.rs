//! Keeps a reserve of descriptors for connections and downloads, which uploads do not use.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit};

use super::StoreError;
use super::error::NO_DESCRIPTORS;

/// Maximum size of the reserve. The reserve is an eighth of the descriptors that the process may
/// have, but not more than this.
const MAX_RESERVE: u64 = 256;

/// Checks that a new upload leaves the reserve of descriptors free.
///
/// The system gives a new descriptor the lowest free number. If this number is high, nearly all
/// descriptors are in use.
///
/// # Errors
/// [`StoreError::Unavailable`] if only the reserve is left.
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
