//! The limit on open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to what is wanted, as far as the system allows; tells how many files may then
/// be open, `None` for any number.
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
