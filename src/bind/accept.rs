//! Taking one connection off a listening socket.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::SocketAddrAny;

/// Accepts a connection without waiting. Its descriptor does not block, and commands do not inherit
/// it. One system call.
#[cfg(all(
    any(target_os = "linux", target_os = "freebsd"),
    not(feature = "portable-sockets")
))]
pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::acceptfrom_with(listener, flags)?)
}

/// Accepts a connection without waiting. Its descriptor does not block, and commands do not inherit
/// it, unless another thread starts one between the calls: macOS has no `accept4(2)`.
#[cfg(not(all(
    any(target_os = "linux", target_os = "freebsd"),
    not(feature = "portable-sockets")
)))]
pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    let (fd, peer) = rustix::net::acceptfrom(listener)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    // A write to a connection that the peer has closed must fail, and not raise SIGPIPE.
    #[cfg(target_vendor = "apple")]
    socket2::SockRef::from(&fd).set_nosigpipe(true)?;
    Ok((fd, peer))
}
