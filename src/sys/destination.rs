//! Datagrams with the address that they were sent to, which std does not offer.
//!
//! Linux and macOS report it in `IP_PKTINFO`, FreeBSD in `IP_RECVDSTADDR`, and all of them report
//! the one of an IPv6 datagram in `IPV6_PKTINFO` (RFC 3542 §6). The same message, attached to a
//! reply, sets the address that the reply comes from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the system reports of an IPv4 datagram, and takes for a reply.
#[cfg(not(target_os = "freebsd"))]
mod v4 {
    pub(super) use libc::{IP_PKTINFO as RECEIVE, IP_PKTINFO as SEND, in_pktinfo as Info};
}
#[cfg(target_os = "freebsd")]
mod v4 {
    // The two constants have one value.
    pub(super) use libc::{IP_RECVDSTADDR as RECEIVE, IP_RECVDSTADDR as SEND, in_addr as Info};
}

/// The address and interface that a datagram was sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The address in the datagram's header. It may be a broadcast or multicast address.
    pub(crate) ip: IpAddr,
    /// The address of this machine that a reply comes from. `None` lets the system choose.
    pub(crate) reply_from: Option<IpAddr>,
    pub(crate) interface: u32,
}

/// One datagram, as `recvmsg(2)` returns it.
pub(crate) struct Message {
    pub(crate) len: usize,
    /// The datagram was longer than the buffer.
    pub(crate) truncated: bool,
    pub(crate) peer: SocketAddr,
    pub(crate) destination: Option<Destination>,
}

/// Has the system report, with each datagram, the address that it was sent to.
pub(crate) fn ask_for_destination(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if !v6 {
        return set_option(socket, libc::IPPROTO_IP, v4::RECEIVE);
    }
    set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
    // An IPv6 socket may receive IPv4 datagrams too. Of these, only the IPv4 message names a local
    // address when they were broadcast. Systems that refuse the option have the other message.
    let _ = set_option(socket, libc::IPPROTO_IP, v4::RECEIVE);
    Ok(())
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

/// Space for the control messages of one datagram: both of an IPv4 datagram on an IPv6 socket.
const CONTROL_BYTES: usize = 128;

/// A buffer for control messages, aligned as they must be.
#[repr(C)]
union Control {
    _align: libc::cmsghdr,
    bytes: [u8; CONTROL_BYTES],
}

/// Receives one datagram by `recvmsg(2)`.
pub(crate) fn receive_with_destination(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<Message> {
    // SAFETY: all of these are plain data, for which zeros are valid.
    let (mut peer, mut message): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { std::mem::zeroed() };
    let mut control = Control {
        bytes: [0; CONTROL_BYTES],
    };
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    message.msg_name = (&raw mut peer).cast();
    message.msg_namelen = size_of_val(&peer) as libc::socklen_t;
    message.msg_iov = &raw mut slice;
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
    Ok(Message {
        len: length as usize,
        truncated: message.msg_flags & libc::MSG_TRUNC != 0,
        peer,
        destination,
    })
}

/// # Safety
/// `message` must have been filled by `recvmsg`, and its control buffer must still live.
unsafe fn destination_of(message: &libc::msghdr) -> Option<Destination> {
    let mut found = None;
    // SAFETY: as promised by the caller; CMSG_FIRSTHDR and CMSG_NXTHDR stay within the control
    // buffer, and the data of these two types is as large as the structures read from it, perhaps
    // unaligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(present) = header.as_ref() {
            let data = libc::CMSG_DATA(header);
            match (present.cmsg_level, present.cmsg_type) {
                // This message knows more of an IPv4 datagram than the other one.
                (libc::IPPROTO_IP, v4::RECEIVE) => {
                    return Some(from_v4(data.cast::<v4::Info>().read_unaligned()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    found = Some(from_v6(data.cast::<libc::in6_pktinfo>().read_unaligned()));
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    found
}

/// The system names the local address that it would reply from: for a broadcast, that of the
/// interface.
#[cfg(all(not(target_os = "freebsd"), not(feature = "portable-sockets")))]
fn from_v4(info: v4::Info) -> Destination {
    let local = ipv4(info.ipi_spec_dst);
    Destination {
        ip: ipv4(info.ipi_addr).into(),
        reply_from: is_unicast(local.into()).then_some(local.into()),
        interface: info.ipi_ifindex as u32,
    }
}

/// The system names the address in the header only. For a reply to a broadcast it must choose the
/// address itself. A directed broadcast address looks like any other here: `send_from` finds it
/// out.
#[cfg(any(target_os = "freebsd", feature = "portable-sockets"))]
fn from_v4(info: v4::Info) -> Destination {
    #[cfg(target_os = "freebsd")]
    let ip = IpAddr::from(ipv4(info));
    #[cfg(not(target_os = "freebsd"))]
    let ip = IpAddr::from(ipv4(info.ipi_addr));
    Destination {
        ip,
        reply_from: is_unicast(ip).then_some(ip),
        interface: 0,
    }
}

fn from_v6(info: libc::in6_pktinfo) -> Destination {
    let ip = IpAddr::from(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical();
    Destination {
        ip,
        reply_from: is_unicast(ip).then_some(ip),
        interface: info.ipi6_ifindex,
    }
}

fn ipv4(address: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from_be(address.s_addr))
}

/// Whether a reply may come from this address, as far as the address itself shows.
fn is_unicast(ip: IpAddr) -> bool {
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    !broadcast && !ip.is_multicast() && !ip.is_unspecified()
}

fn socket_address(storage: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    let pointer = (&raw const *storage).cast::<u8>();
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in is there; the storage is large and aligned
            // enough for it.
            let v4 = unsafe { pointer.cast::<libc::sockaddr_in>().read() };
            Ok((ipv4(v4.sin_addr), u16::from_be(v4.sin_port)).into())
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

/// Sends one datagram to `peer`, from the address that `destination` names for a reply.
pub(crate) fn send_from(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    peer: SocketAddr,
    destination: &Destination,
) -> io::Result<usize> {
    let (from, interface) = (destination.reply_from, destination.interface);
    let sent = send_message(socket, bytes, peer, from, interface);
    if cfg!(any(target_os = "freebsd", feature = "portable-sockets"))
        && from.is_some()
        && sent.as_ref().is_err_and(is_about_the_source)
    {
        return send_message(socket, bytes, peer, None, interface);
    }
    sent
}

/// Whether the system may have refused the address that a datagram was to come from. Linux has two
/// errors for it, FreeBSD a third.
fn is_about_the_source(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, InvalidInput, NetworkUnreachable};
    matches!(
        error.kind(),
        AddrNotAvailable | InvalidInput | NetworkUnreachable
    )
}

/// `sendmsg(2)`. `from` of `None` lets the system choose the address. Only a link-local address
/// needs the interface.
fn send_message(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    peer: SocketAddr,
    from: Option<IpAddr>,
    interface: u32,
) -> io::Result<usize> {
    let peer = socket2::SockAddr::from(peer);
    let mut control = Control {
        bytes: [0; CONTROL_BYTES],
    };
    // SAFETY: msghdr is plain data, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    let mut slice = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    message.msg_name = peer.as_ptr().cast_mut().cast();
    message.msg_namelen = peer.len();
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the control buffer has room for one header and either structure (checked in
    // `put`), and sendmsg only reads what the pointers, all to locals or `bytes`, describe.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        match from {
            Some(IpAddr::V4(ip)) => {
                let info = v4_info(ip);
                put(&mut message, header, libc::IPPROTO_IP, v4::SEND, info);
            }
            Some(IpAddr::V6(ip)) => {
                let info = v6_info(ip, interface);
                put(
                    &mut message,
                    header,
                    libc::IPPROTO_IPV6,
                    libc::IPV6_PKTINFO,
                    info,
                );
            }
            None => {
                message.msg_control = std::ptr::null_mut();
                message.msg_controllen = 0;
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

/// The interface stays open: routing finds it, and a local address may belong to another one.
fn v4_info(from: Ipv4Addr) -> v4::Info {
    let address = libc::in_addr {
        s_addr: u32::from(from).to_be(),
    };
    #[cfg(target_os = "freebsd")]
    return address;
    #[cfg(not(target_os = "freebsd"))]
    v4::Info {
        ipi_ifindex: 0,
        ipi_spec_dst: address,
        ipi_addr: libc::in_addr { s_addr: 0 },
    }
}

/// A link-local address is ambiguous without its interface; for others routing finds it.
fn v6_info(from: Ipv6Addr, interface: u32) -> libc::in6_pktinfo {
    let index = if from.is_unicast_link_local() {
        interface
    } else {
        0
    };
    libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr {
            s6_addr: from.octets(),
        },
        ipi6_ifindex: index as _,
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
    const { assert!(size_of::<libc::cmsghdr>() + size_of::<T>() + 16 <= CONTROL_BYTES) };
    // SAFETY: as promised by the caller, and just checked for the size; the data may be unaligned.
    unsafe {
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(data);
        message.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
    }
}
