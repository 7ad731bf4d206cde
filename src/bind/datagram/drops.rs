//! The count of datagrams that the system dropped at a socket, which outlives the socket.
//!
//! The system is asked only when somebody wants the statistics, and a last time when the socket
//! closes. So the count costs nothing for a datagram, unlike `SO_RXQ_OVFL`, which needs a control
//! message for each one and reports a drop only with the next datagram.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Datagram;
use crate::sys;

/// The datagrams that the system dropped at one socket since the server has it.
#[derive(Debug)]
pub(super) struct Drops(Mutex<DropsSeen>);

#[derive(Debug)]
struct DropsSeen {
    /// The system's count when it was last asked. It has 32 bits and may wrap around.
    of_system: u32,
    total: u64,
}

impl Drops {
    /// A socket of the caller may have lost datagrams before, which are not the server's.
    pub(super) fn since_now(socket: BorrowedFd<'_>) -> Drops {
        Drops(Mutex::new(DropsSeen {
            of_system: sys::dropped_datagrams(socket),
            total: 0,
        }))
    }

    /// Asks the system.
    fn update(&self, socket: BorrowedFd<'_>) {
        let mut seen = self.0.lock();
        let now = sys::dropped_datagrams(socket);
        seen.total += u64::from(now.wrapping_sub(seen.of_system));
        seen.of_system = now;
    }
}

/// Reads the count of a socket, also after the socket has closed. Does not keep it open.
#[derive(Debug)]
pub(crate) struct DropCount {
    socket: Weak<Datagram>,
    drops: Arc<Drops>,
}

impl DropCount {
    pub(crate) fn of(socket: &Arc<Datagram>) -> DropCount {
        DropCount {
            socket: Arc::downgrade(socket),
            drops: Arc::clone(&socket.drops),
        }
    }

    /// How many datagrams the system has dropped. One system call while the socket is open.
    pub(crate) fn get(&self) -> u64 {
        if let Some(socket) = self.socket.upgrade() {
            self.drops.update(socket.as_fd());
        }
        self.drops.0.lock().total
    }
}

impl Drop for Datagram {
    fn drop(&mut self) {
        self.drops.update(self.as_fd());
    }
}
