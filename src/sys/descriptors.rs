//! Descriptors that this process inherited.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The first descriptor after standard input, output and error.
const FIRST: RawFd = 3;

/// Marks every descriptor from 3 on: programs that this process executes do not get it.
pub(crate) fn close_inherited_on_exec() -> io::Result<()> {
    if mark_range() {
        return Ok(());
    }
    // Before Linux 5.11, and on other systems: one after the other.
    let numbers: Vec<RawFd> = std::fs::read_dir("/dev/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers.into_iter().filter(|number| *number >= FIRST) {
        // SAFETY: fcntl with F_SETFD takes a number. One that is not open is an error, which is
        // passed over: the descriptor of the listing itself is closed by now.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn mark_range() -> bool {
    let (first, last) = (FIRST as libc::c_uint, libc::c_uint::MAX);
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC takes numbers, and closes nothing by itself.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        ) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn mark_range() -> bool {
    false
}

/// A new descriptor for the same file as `number`. The number stays open.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes a number; one that is not open is an error.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, FIRST) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fcntl has just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
