//! The user and the group that a process runs as.

use std::io;

/// Gives up root: from now on all threads of the process run as this user, in this group alone.
pub(crate) fn drop_privileges(user: u32, group: u32) -> io::Result<()> {
    let check = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // The libraries' calls change all threads; the system's would change only this one. The user
    // comes last, because only root may change the groups.
    // SAFETY: setgroups reads one number, which is there.
    check(unsafe { libc::setgroups(1, &raw const group) })?;
    // SAFETY: setgid takes a number.
    check(unsafe { libc::setgid(group) })?;
    // SAFETY: setuid takes a number.
    check(unsafe { libc::setuid(user) })?;
    // SAFETY: geteuid has no conditions.
    if unsafe { libc::geteuid() } == user {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}
