//! How many datagrams the system has dropped.

use std::os::fd::BorrowedFd;

/// The fields of `SO_MEMINFO` up to the count of dropped datagrams.
#[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
type MemoryInfo = [u32; libc::SK_MEMINFO_DROPS as usize + 1];

/// How many datagrams the system has dropped at this socket since it was made, modulo 2^32. 0 on
/// Linux before 4.12, which does not know the option.
#[cfg(all(target_os = "linux", not(feature = "portable-sockets")))]
pub(crate) fn dropped_datagrams(socket: BorrowedFd<'_>) -> u32 {
    use std::os::fd::AsRawFd;
    let mut info = MemoryInfo::default();
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the system writes at most `length` bytes to `info`, which lives through the call, and
    // any bytes are valid there.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    match result {
        0 => info[libc::SK_MEMINFO_DROPS as usize],
        _ => 0,
    }
}

/// The system does not say.
#[cfg(not(all(target_os = "linux", not(feature = "portable-sockets"))))]
pub(crate) fn dropped_datagrams(_: BorrowedFd<'_>) -> u32 {
    0
}
