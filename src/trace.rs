//! An observer of all bytes that are received and sent.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::address::ClientAddress;

/// An event of a connection. Bytes are unencrypted: they are taken between the handler and TLS.
///
/// ```
/// use socketserver::Traffic;
///
/// fn in_words(traffic: Traffic<'_>) -> String {
///     match traffic {
///         Traffic::Received(bytes) => format!("received {}", bytes.escape_ascii()),
///         Traffic::Sent(bytes) => format!("sent {}", bytes.escape_ascii()),
///         Traffic::SentFile(count) => format!("sent {count} bytes of a file"),
///         other => format!("{other:?}"),
///     }
/// }
///
/// assert_eq!(in_words(Traffic::Received(b"hello\n")), r"received hello\n");
/// assert_eq!(in_words(Traffic::Closed), "Closed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic<'a> {
    /// The connection was accepted.
    Opened,
    /// Bytes or a datagram arrived.
    Received(&'a [u8]),
    /// The peer ended its side.
    ReceivedEnd,
    /// Bytes or a datagram were sent.
    Sent(&'a [u8]),
    /// This number of bytes of a file was sent by `sendfile(2)`, which does not show them.
    SentFile(usize),
    /// The connection was closed.
    Closed,
}

/// Observes all bytes that are received and sent, for lessons and for debugging. Closures implement
/// it. It is called on the threads that read and write, so a slow observer slows the connection
/// down. It must not block: for a connection that was refused, this is the thread that accepts.
/// A panic in it is counted and reported to `handle_error`; the connection goes on.
///
/// ```
/// use std::sync::mpsc::{self, Sender};
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, ClientAddress, Next, StreamRequest, Trace, Traffic};
///
/// struct Seen(Sender<String>);
///
/// impl Trace for Seen {
///     fn traffic(&self, _: &ClientAddress, traffic: Traffic<'_>) {
///         let _ = self.0.send(format!("{traffic:?}"));
///     }
/// }
///
/// let ignore = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     Ok(Next::Wait)
/// };
/// let (send, seen) = mpsc::channel();
/// let mut client = TestConnection::new(Builder::new().trace(Seen(send)), move |_| ignore);
/// client.send(b"a");
/// assert_eq!(seen.recv().unwrap(), "Opened");
/// assert_eq!(seen.recv().unwrap(), "Received([97])");
/// ```
pub trait Trace: Send + Sync + 'static {
    /// Called right after the event. `peer` is the socket's peer, not the client that a PROXY
    /// header names.
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
