//! The only folder with `unsafe` code: calls that the safe wrappers of the system do not offer.
#![allow(unsafe_code)]

mod descriptors;
mod destination;
mod drops;
mod pipe;
mod privileges;
mod shared;
mod signals;
mod transport;
mod usage;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

pub(crate) use descriptors::{close_inherited_on_exec, duplicate};
pub(crate) use destination::{
    Destination, ask_for_destination, receive_with_destination, send_from,
};
pub(crate) use drops::dropped_datagrams;
pub(crate) use pipe::SplicePipe;
pub(crate) use privileges::drop_privileges;
pub(crate) use shared::Shared;
pub(crate) use signals::{
    Registration, SignalFlags, has_terminal, is_ignored, is_terminal_gone, register_hangup,
    register_termination, reset_ignored_signals, unblock_signals,
};
pub(crate) use transport::unacknowledged;
pub(crate) use usage::ThreadUsage;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    Parent(rustix::process::Pid),
    Child,
}

/// How many threads this process has.
#[cfg(target_os = "linux")]
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// How many threads this process has (proc_pidinfo, `PROC_PIDTASKINFO`).
#[cfg(target_vendor = "apple")]
pub(crate) fn thread_count() -> io::Result<usize> {
    let size = size_of::<libc::proc_taskinfo>() as libc::c_int;
    // SAFETY: all zeros are a valid proc_taskinfo, and proc_pidinfo writes at most `size` bytes.
    let (written, info) = unsafe {
        let mut info: libc::proc_taskinfo = std::mem::zeroed();
        let pointer = (&raw mut info).cast();
        let pid = libc::getpid();
        let written = libc::proc_pidinfo(pid, libc::PROC_PIDTASKINFO, 0, pointer, size);
        (written, info)
    };
    if written == size {
        Ok(info.pti_threadnum as usize)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How many threads this process has (sysctl, `kern.proc.pid`).
#[cfg(target_os = "freebsd")]
pub(crate) fn thread_count() -> io::Result<usize> {
    let mut size = size_of::<libc::kinfo_proc>();
    // SAFETY: all zeros are a valid kinfo_proc, sysctl writes at most `size` bytes to it, and the
    // name has as many numbers as its length says.
    let (result, info) = unsafe {
        let mut info: libc::kinfo_proc = std::mem::zeroed();
        let name = [
            libc::CTL_KERN,
            libc::KERN_PROC,
            libc::KERN_PROC_PID,
            libc::getpid(),
        ];
        let length = name.len() as libc::c_uint;
        let pointer = (&raw mut info).cast();
        let name = name.as_ptr();
        let result = libc::sysctl(name, length, pointer, &raw mut size, std::ptr::null(), 0);
        (result, info)
    };
    match result {
        0 => Ok(info.ki_numthreads as usize),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The number of threads is not known here, so this process does not fork.
#[cfg(not(any(target_os = "linux", target_vendor = "apple", target_os = "freebsd")))]
pub(crate) fn thread_count() -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// `fork(2)` for a process with a single thread. With more, the child could wait without end for a
/// lock that another thread held.
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

/// Makes `descriptor` refer to the same open file as `instead` (`dup2(2)`), and closes what it
/// referred to in this process. Its owner still has a descriptor to close.
pub(crate) fn replace(descriptor: BorrowedFd<'_>, instead: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open, as they are borrowed; that the first stays so is what dup2 does.
    let result = unsafe { libc::dup2(instead.as_raw_fd(), descriptor.as_raw_fd()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // dup2 clears this flag; a command that the child starts must not inherit the descriptor.
    Ok(rustix::io::fcntl_setfd(
        descriptor,
        rustix::io::FdFlags::CLOEXEC,
    )?)
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
