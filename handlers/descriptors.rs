//! The limit on open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to `wanted`, as far as the system allows. Returns the resulting maximum number
/// of open files; `None` means no limit.
pub(crate) fn raise(wanted: u64) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    if current >= wanted {
        return Some(current);
    }
    let possible = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(possible),
            maximum,
        },
    ) {
        Ok(()) => Some(possible),
        Err(_) => Some(current),
    }
}
