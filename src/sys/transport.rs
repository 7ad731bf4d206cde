//! What the system knows of a connection's output.

use std::os::fd::BorrowedFd;

/// How many bytes of a TCP connection, the FIN included, the peer's system has not acknowledged
/// (tcp(7), SIOCOUTQ); `None` if the socket is not a TCP connection.
#[cfg(target_os = "linux")]
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> Option<u32> {
    use std::os::fd::AsRawFd;

    let mut count: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which SIOCOUTQ is a name for, writes one int to the pointer.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    (result == 0).then_some(u32::try_from(count).unwrap_or(0))
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unacknowledged(_socket: BorrowedFd<'_>) -> Option<u32> {
    None
}
