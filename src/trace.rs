//! What crosses the wire, for whoever wants to watch.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// Watches what crosses the wire, for lessons and for debugging. Closures implement it. It is
/// called by the threads that read and write, so the connection waits for what it does. A panic in
/// it is counted and reported to `handle_error`; the connection goes on.
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

/// What is done about a trace that panicked: its message is given.
type OnPanic = Box<dyn Fn(&ClientAddress, &(dyn Any + Send)) + Send + Sync>;

/// The trace of one connection. It reports the connection's opening and closing by itself.
pub(crate) struct Tap {
    trace: Arc<dyn Trace>,
    peer: ClientAddress,
    on_panic: OnPanic,
}

impl Tap {
    pub(crate) fn new(
        trace: &Arc<dyn Trace>,
        peer: &ClientAddress,
        on_panic: impl Fn(&ClientAddress, &(dyn Any + Send)) + Send + Sync + 'static,
    ) -> Tap {
        let tap = Tap {
            trace: Arc::clone(trace),
            peer: peer.clone(),
            on_panic: Box::new(on_panic),
        };
        tap.note(Traffic::Opened);
        tap
    }

    /// Does not panic: this is called in the leader, and while a connection is dropped.
    pub(crate) fn note(&self, traffic: Traffic<'_>) {
        let call = || self.trace.traffic(&self.peer, traffic);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
            (self.on_panic)(&self.peer, &*panic);
        }
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
