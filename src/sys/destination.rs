//! Datagrams with the address that they were sent to, which std does not offer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

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
