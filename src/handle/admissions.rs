//! The limits of open connections: in total, and per client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{Core, Origin};
use crate::address::ClientAddress;
use crate::error::Refusal;

/// Refused connections that may linger at a time. Beyond it the text of a refusal may be lost, as
/// these connections are not among those that
/// [`Limits::max_connections`](crate::Limits::max_connections) counts.
const MAX_LINGERING_REFUSALS: usize = 64;

/// The open connections of a server or a service.
#[derive(Debug, Default)]
pub(super) struct Counts {
    open: AtomicUsize,
    per_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Counts {
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Counts a connection in, unless there are `max` already.
    fn try_open(&self, max: usize) -> bool {
        let has_room = self.open.fetch_add(1, Ordering::SeqCst) < max;
        if !has_room {
            self.close();
        }
        has_room
    }

    /// True if it was the last one.
    fn close(&self) -> bool {
        self.open.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Counts a connection of this address, unless there are `max` already.
    fn try_add_address(&self, ip: IpAddr, max: usize) -> bool {
        let mut counts = self.per_address.lock();
        let count = counts.entry(ip).or_default();
        let has_room = *count < max;
        if has_room {
            *count += 1;
        } else if *count == 0 {
            counts.remove(&ip);
        }
        has_room
    }

    fn remove_address(&self, ip: IpAddr) {
        let mut counts = self.per_address.lock();
        if let Some(count) = counts.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&ip);
            }
        }
    }
}

/// What a server has accepted.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    connections: Counts,
    /// Refused connections whose answer is on its way.
    refusing: AtomicUsize,
    /// Datagrams that are being served.
    datagrams: AtomicUsize,
}

impl Admissions {
    pub(super) fn open(&self) -> usize {
        self.connections.open()
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
    /// Counts a new connection in, for the server and for its service, or returns why it is
    /// refused.
    pub(crate) fn admit(
        self: &Arc<Core>,
        origin: Option<&Arc<Origin>>,
    ) -> Result<Admission, Refusal> {
        let server = &self.admissions.connections;
        if !server.try_open(self.config.limits.max_connections) {
            return Err(Refusal::MaxConnections);
        }
        let mut admission = Admission {
            core: Arc::clone(self),
            extra: None,
        };
        if let Some(origin) = origin
            && let Some(counts) = origin.counts()
        {
            // Refused here, the connection leaves the server's count: `admission` is dropped.
            if !counts.try_open(self.limits(Some(origin)).max_connections) {
                return Err(Refusal::MaxConnections);
            }
            admission.extra = Some(Box::new(ExtraCounts {
                origin: Some(Arc::clone(origin)),
                address: None,
            }));
        }
        Ok(admission)
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
    /// `None` for most connections, which keeps them small.
    extra: Option<Box<ExtraCounts>>,
}

/// The counts of a connection besides the number of its server's connections.
#[derive(Default)]
struct ExtraCounts {
    /// Only one that belongs to a service, which counts its connections.
    origin: Option<Arc<Origin>>,
    /// The address of the client, if connections are counted by address.
    address: Option<IpAddr>,
}

impl Admission {
    /// Counts the connection under its client's real address, which may be known only after a PROXY
    /// header. A service with limits of its own counts its connections alone.
    pub(crate) fn count_address(&mut self, client: &ClientAddress) -> Result<(), Refusal> {
        let limits = self.core.limits(self.origin());
        let (Some(limit), Some(ip)) = (limits.max_per_address, client.ip()) else {
            return Ok(());
        };
        if self.extra.as_ref().and_then(|extra| extra.address) == Some(ip) {
            return Ok(());
        }
        self.uncount_address();
        if !self.counts_of_addresses().try_add_address(ip, limit) {
            return Err(Refusal::MaxPerAddress);
        }
        self.extra.get_or_insert_default().address = Some(ip);
        Ok(())
    }

    fn origin(&self) -> Option<&Arc<Origin>> {
        self.extra.as_ref()?.origin.as_ref()
    }

    fn counts_of_addresses(&self) -> &Counts {
        let with_limits = self.origin().filter(|origin| origin.has_limits());
        let own = with_limits.and_then(|origin| origin.counts());
        own.unwrap_or(&self.core.admissions.connections)
    }

    fn uncount_address(&mut self) {
        let address = self.extra.as_mut().and_then(|extra| extra.address.take());
        if let Some(ip) = address {
            self.counts_of_addresses().remove_address(ip);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.uncount_address();
        if let Some(counts) = self.origin().and_then(|origin| origin.counts()) {
            counts.close();
        }
        if self.core.admissions.connections.close() {
            self.core.notify_if_drained();
        }
    }
}
