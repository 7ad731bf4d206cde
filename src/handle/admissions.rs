//! The limits of open connections: in total, and per client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Core;
use crate::address::ClientAddress;
use crate::error::Refusal;

/// Refused connections that may linger at a time. Beyond it the text of a refusal may be lost, as
/// these connections are not among those that
/// [`Limits::max_connections`](crate::Limits::max_connections) counts.
const MAX_LINGERING_REFUSALS: usize = 64;

/// What a server has accepted.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    open: AtomicUsize,
    /// Refused connections whose answer is on its way.
    refusing: AtomicUsize,
    /// Datagrams that are being served.
    datagrams: AtomicUsize,
    per_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Admissions {
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Whether no connection is open and no datagram is being served.
    pub(super) fn is_empty(&self) -> bool {
        self.open() == 0 && self.datagrams.load(Ordering::SeqCst) == 0
    }

    pub(super) fn datagram_started(&self) {
        self.datagrams.fetch_add(1, Ordering::SeqCst);
    }

    /// True if it was the last one.
    pub(super) fn datagram_finished(&self) -> bool {
        self.datagrams.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

impl Core {
    /// Counts a new connection in, or returns why it is refused.
    pub(crate) fn admit(self: &Arc<Core>) -> Result<Admission, Refusal> {
        let open = &self.admissions.open;
        if open.fetch_add(1, Ordering::SeqCst) >= self.config.limits.max_connections {
            open.fetch_sub(1, Ordering::SeqCst);
            return Err(Refusal::MaxConnections);
        }
        Ok(Admission {
            core: Arc::clone(self),
            address: None,
        })
    }
}

/// A refused connection's place among those that linger.
pub(crate) struct RefusalSlot(Arc<Core>);

impl RefusalSlot {
    pub(crate) fn begin(core: &Arc<Core>) -> Option<RefusalSlot> {
        let guard = RefusalSlot(Arc::clone(core));
        let lingering = core.admissions.refusing.fetch_add(1, Ordering::Relaxed);
        (lingering < MAX_LINGERING_REFUSALS).then_some(guard)
    }
}

impl Drop for RefusalSlot {
    fn drop(&mut self) {
        self.0.admissions.refusing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's place in the counts; given back when it is dropped.
pub(crate) struct Admission {
    core: Arc<Core>,
    address: Option<IpAddr>,
}

impl Admission {
    /// Counts the connection under its client's real address, which may be known only after a PROXY
    /// header.
    pub(crate) fn count_address(&mut self, client: &ClientAddress) -> Result<(), Refusal> {
        let (Some(limit), Some(ip)) = (self.core.config.limits.max_per_address, client.ip()) else {
            return Ok(());
        };
        if self.address == Some(ip) {
            return Ok(());
        }
        self.uncount_address();
        let mut counts = self.core.admissions.per_address.lock();
        let count = counts.entry(ip).or_default();
        if *count >= limit {
            return Err(Refusal::MaxPerAddress);
        }
        *count += 1;
        self.address = Some(ip);
        Ok(())
    }

    fn uncount_address(&mut self) {
        let Some(ip) = self.address.take() else {
            return;
        };
        let mut counts = self.core.admissions.per_address.lock();
        if let Some(count) = counts.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&ip);
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.uncount_address();
        if self.core.admissions.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.core.notify_if_drained();
        }
    }
}
