//! What crosses the wire, for whoever wants to watch.

use std::fmt;
use std::sync::Arc;

use crate::address::ClientAddress;

/// Something that crossed the wire, in the clear: below the handler, above TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic<'a> {
    /// The connection was accepted.
    Opened,
    /// Bytes, or a datagram, came.
    Received(&'a [u8]),
    /// The peer ended its side.
    ReceivedEnd,
    /// Bytes, or a datagram, went out.
    Sent(&'a [u8]),
    /// So many bytes of a file went out by `sendfile(2)`, unseen.
    SentFile(usize),
    /// The connection was closed.
    Closed,
}

/// Watches what crosses the wire, for lessons and for debugging. Closures implement it. Called by
/// the threads that read and write: what it does, the connection waits for.
pub trait Trace: Send + Sync + 'static {
    /// Called right after it happened. `peer` is the socket's peer, whatever a PROXY header says.
    fn traffic(&self, peer: &ClientAddress, traffic: Traffic<'_>);
}

impl<F> Trace for F
where
    F: Fn(&ClientAddress, Traffic<'_>) + Send + Sync + 'static,
{
    fn traffic(&self, peer: &ClientAddress, traffic: Traffic<'_>) {
        self(peer, traffic);
    }
}

/// One connection's line to the trace; tells of its opening and closing by itself.
pub(crate) struct Tap {
    trace: Arc<dyn Trace>,
    peer: ClientAddress,
}

impl Tap {
    pub(crate) fn new(trace: &Arc<dyn Trace>, peer: &ClientAddress) -> Tap {
        let tap = Tap {
            trace: Arc::clone(trace),
            peer: peer.clone(),
        };
        tap.note(Traffic::Opened);
        tap
    }

    pub(crate) fn note(&self, traffic: Traffic<'_>) {
        self.trace.traffic(&self.peer, traffic);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.note(Traffic::Closed);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
