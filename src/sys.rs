//! The only file with `unsafe` code: what the safe wrappers of the system don't offer.
#![allow(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    Parent(rustix::process::Pid),
    Child,
}

/// How many threads this process has.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// What the calling thread has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadUsage {
    cpu: Duration,
    /// How often it gave up its core by itself.
    sleeps: i64,
}

impl ThreadUsage {
    /// As of now (getrusage(2), `RUSAGE_THREAD`).
    #[cfg(target_os = "linux")]
    pub(crate) fn now() -> ThreadUsage {
        // SAFETY: all zeros are a valid `rusage`, and getrusage, which can't fail for the calling
        // thread, only writes it.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
            usage
        };
        let time =
            |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
        ThreadUsage {
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            sleeps: usage.ru_nvcsw,
        }
    }

    /// For how much of the time that `took` since then the calling thread slept. None, if it only
    /// waited for a core.
    #[cfg(target_os = "linux")]
    pub(crate) fn slept(self, took: Duration) -> Duration {
        let now = ThreadUsage::now();
        if now.sleeps == self.sleeps {
            Duration::ZERO
        } else {
            took.saturating_sub(now.cpu.saturating_sub(self.cpu))
        }
    }

    /// Nothing is known here of a thread alone.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now() -> ThreadUsage {
        ThreadUsage {
            cpu: Duration::ZERO,
            sleeps: 0,
        }
    }

    /// Long turns are taken for waiting ones.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn slept(self, took: Duration) -> Duration {
        took
    }
}

/// `fork(2)` for a process with a single thread; with more, the child could hang on a lock that
/// another thread held.
pub(crate) fn fork() -> io::Result<Fork> {
    if thread_count()? != 1 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "can't fork a process that has other threads",
        ));
    }
    // SAFETY: fork has no precondition of its own; this thread was just seen to be the only one, so
    // the child finds every lock and the allocator in a consistent state.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => rustix::process::Pid::from_raw(pid)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Has `descriptor` stand for what `instead` stands for; what it stood for is closed in this
/// process. Its owner still has a descriptor, and closes it as ever.
pub(crate) fn replace(descriptor: BorrowedFd<'_>, instead: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open, as they are borrowed; that the first stays so is what dup2 does.
    let result = unsafe { libc::dup2(instead.as_raw_fd(), descriptor.as_raw_fd()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // dup2 forgets it; a command that the child starts shall not inherit it.
    Ok(rustix::io::fcntl_setfd(
        descriptor,
        rustix::io::FdFlags::CLOEXEC,
    )?)
}

/// How many bytes of a TCP connection, the FIN included, the peer's system has not acknowledged
/// (tcp(7), SIOCOUTQ).
#[cfg(target_os = "linux")]
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> Option<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which SIOCOUTQ is a name for, writes one int to the pointer.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    (result == 0).then_some(usize::try_from(count).unwrap_or(0))
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unacknowledged(_socket: BorrowedFd<'_>) -> Option<usize> {
    None
}

/// Registers `fd` with `poller`.
#[cfg(any(not(target_os = "linux"), feature = "portable-poller"))]
pub(crate) fn poller_add(
    poller: &polling::Poller,
    fd: std::os::fd::RawFd,
    event: polling::Event,
    mode: polling::PollMode,
) -> io::Result<()> {
    // SAFETY: `polling` asks that a source is deleted from the poller before it is closed. The
    // registry owns every registered connection and deletes it first (`Registry::remove`);
    // listeners are deleted by their server's guard.
    unsafe { poller.add_with_mode(fd, event, mode) }
}

/// Has the system tell, with each datagram, which address it was sent to.
pub(crate) fn ask_for_destination(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)
    }
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and length describe `on`, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Room for the control messages of one datagram, aligned as they must be.
#[repr(C)]
union Control {
    _align: libc::cmsghdr,
    bytes: [u8; 64],
}

/// The address that a datagram was sent to, and the number of its interface.
type Destination = (IpAddr, u32);

/// `recvmsg(2)`: the length, whether the datagram was longer than `buffer`, who sent it, and where
/// to.
pub(crate) fn receive_with_destination(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, bool, SocketAddr, Option<Destination>)> {
    // SAFETY: all of these are plain data, for which zeros are valid.
    let (mut peer, mut message): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { std::mem::zeroed() };
    let mut control = Control { bytes: [0; 64] };
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    message.msg_name = (&raw mut peer).cast();
    message.msg_namelen = size_of_val(&peer) as libc::socklen_t;
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer in `message` is to a local or to `buffer`, with its true length.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    let peer = socket_address(&peer)?;
    // SAFETY: the system has filled `message` and the control buffer that it points to.
    let destination = unsafe { destination_of(&message) };
    Ok((
        length as usize,
        message.msg_flags & libc::MSG_TRUNC != 0,
        peer,
        destination,
    ))
}

/// # Safety
/// `message` must have been filled by `recvmsg`, and its control buffer must still live.
unsafe fn destination_of(message: &libc::msghdr) -> Option<Destination> {
    // SAFETY: as promised by the caller; CMSG_FIRSTHDR and CMSG_NXTHDR stay within the control
    // buffer, and the data of these two types is as large as the structures read from it, perhaps
    // unaligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(found) = header.as_ref() {
            let data = libc::CMSG_DATA(header);
            match (found.cmsg_level, found.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    let ip = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    return Some((ip.into(), info.ipi_ifindex as u32));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some((
                        Ipv6Addr::from(info.ipi6_addr.s6_addr).into(),
                        info.ipi6_ifindex as u32,
                    ));
                }
                _ => header = libc::CMSG_NXTHDR(message, header),
            }
        }
    }
    None
}

fn socket_address(storage: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    let pointer = (&raw const *storage).cast::<u8>();
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in is there; the storage is large and aligned
            // enough for it.
            let v4 = unsafe { pointer.cast::<libc::sockaddr_in>().read() };
            Ok((
                Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)),
                u16::from_be(v4.sin_port),
            )
                .into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that a sockaddr_in6 is there; the storage is large and
            // aligned enough for it.
            let v6 = unsafe { pointer.cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Ok(std::net::SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the datagram has no sender",
        )),
    }
}

/// `sendmsg(2)` from one of the socket's addresses, through the interface that the question came
/// by.
pub(crate) fn send_from(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    peer: SocketAddr,
    from: IpAddr,
    interface: u32,
) -> io::Result<usize> {
    let peer = socket2::SockAddr::from(peer);
    let mut control = Control { bytes: [0; 64] };
    // SAFETY: msghdr is plain data, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    let mut piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    message.msg_name = peer.as_ptr().cast_mut().cast();
    message.msg_namelen = peer.len();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the control buffer has room for one header and either structure (checked by
    // CMSG_SPACE below), and sendmsg only reads what the pointers, all to locals or `bytes`,
    // describe.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        match from {
            IpAddr::V4(ip) => {
                // The interface stays open: routing finds it, and a local address may belong to
                // another one.
                let address = libc::in_addr {
                    s_addr: u32::from(ip).to_be(),
                };
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: address,
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                put(
                    &mut message,
                    header,
                    libc::IPPROTO_IP,
                    libc::IP_PKTINFO,
                    info,
                );
            }
            IpAddr::V6(ip) => {
                // A link-local address means nothing without its interface; a mapped one must not
                // name any.
                let index = if ip.is_unicast_link_local() {
                    interface
                } else {
                    0
                };
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: ip.octets(),
                    },
                    ipi6_ifindex: index as _,
                };
                put(
                    &mut message,
                    header,
                    libc::IPPROTO_IPV6,
                    libc::IPV6_PKTINFO,
                    info,
                );
            }
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const message, 0)
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(sent as usize)
    }
}

/// # Safety
/// `header` must be the first of `message`, whose control buffer must have room for a `T`.
unsafe fn put<T>(
    message: &mut libc::msghdr,
    header: *mut libc::cmsghdr,
    level: libc::c_int,
    kind: libc::c_int,
    data: T,
) {
    const { assert!(size_of::<libc::cmsghdr>() + size_of::<T>() + 16 <= 64) };
    // SAFETY: as promised by the caller, and just checked for the size; the data may be unaligned.
    unsafe {
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(data);
        message.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_computes_does_not_sleep() {
        let long = Duration::from_millis(20);
        let (usage, begun) = (ThreadUsage::now(), Instant::now());
        while begun.elapsed() < long {
            std::hint::spin_loop();
        }
        let computed = usage.slept(begun.elapsed());
        let (usage, begun) = (ThreadUsage::now(), Instant::now());
        std::thread::sleep(long);
        let slept = usage.slept(begun.elapsed());
        assert!(
            computed < long / 2 && slept >= long / 2,
            "{computed:?} of computing, {slept:?} of sleeping"
        );
    }
}
