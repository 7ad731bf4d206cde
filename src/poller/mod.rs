//! One interface to the system's readiness notification: epoll on Linux, the `polling` crate
//! elsewhere. The feature `portable-poller` uses that crate on Linux too, so that it is tested.
//!
//! A socket is registered once, edge-triggered: a keep-alive request then makes no call to the
//! poller. Linux has a back end of its own because `polling` makes five system calls for each wait
//! (it arms a timer and its notifier each time) and cannot distinguish an end of file from data.

#[cfg(all(target_os = "linux", not(feature = "portable-poller")))]
mod epoll;
#[cfg(all(target_os = "linux", not(feature = "portable-poller")))]
use epoll as backend;
#[cfg(any(not(target_os = "linux"), feature = "portable-poller"))]
mod portable;
#[cfg(any(not(target_os = "linux"), feature = "portable-poller"))]
use portable as backend;

pub(crate) use backend::{Events, Poller};

/// What a socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Nothing: registered, but no event is reported.
    Nothing,
    /// Bytes, a connection or the end of file.
    Read,
    /// Room for bytes; reading as well.
    ReadWrite,
}

/// How often a ready socket is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Once each time something new comes.
    Edge,
    /// As long as it is ready.
    Level,
}

/// A socket became ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// What the socket was registered with.
    pub(crate) key: usize,
    /// The peer may have ended its side. Then only a read that fails with `WouldBlock` proves that
    /// the socket is empty. Where this is false, a short read proves it too, which saves that read.
    pub(crate) maybe_eof: bool,
}
