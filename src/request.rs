//! What a handler receives.

mod datagram;
mod encryption;
mod peer_queues;

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};

use crate::address::{ClientAddress, ServerAddress};
use crate::buffer::{RFile, WFile};
use crate::handle::ServerHandle;
use crate::reach::{Link, Mailbox, Outbox, Ring, Sender, Silent, Waker, mailbox};
use crate::transport::Transport;
pub(crate) use datagram::trace;
pub use datagram::{DatagramRequest, PacketReader, PendingReply, Replier};
pub(crate) use peer_queues::{PeerQueues, PeerTurn, QueueResult};

/// One connection, as its handler sees it (Python's `self.request`, `self.client_address` and
/// `self.server`).
#[derive(Debug)]
pub struct StreamRequest {
    /// The client's address; after a PROXY header, the real one.
    pub client_address: ClientAddress,
    /// The bytes that the client sends (Python's `rfile`).
    pub rfile: RFile,
    /// The bytes that are sent to the client (Python's `wfile`).
    pub wfile: WFile,
    /// The server: to shut it down, or to read its statistics.
    pub server: ServerHandle,
    /// The name that the client has proved to have, set by a handler that wraps others (CGI's
    /// `REMOTE_USER`, RFC 3875 §4.1.11). Defaults to `None`: no proof was asked for, or it has no
    /// name.
    pub identity: Option<Arc<str>>,
    pub(crate) transport: Arc<Transport>,
    /// From a PROXY header.
    pub(crate) server_address: Option<Box<ServerAddress>>,
    pub(crate) linger: bool,
    pub(crate) cause: Cause,
    /// By which the engine knows this connection.
    pub(crate) key: usize,
}

/// Why `handle` is called ([`StreamRequest::cause`]). Several causes may hold at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub(crate) is_woken: bool,
    pub(crate) is_due: bool,
    pub(crate) is_shutdown: bool,
}

impl Cause {
    /// Whether [`Waker::wake`] was called, or a value was put into a [`Mailbox`], since `handle`
    /// was last called.
    pub fn is_woken(&self) -> bool {
        self.is_woken
    }

    /// Whether the time of [`Wait::after`](crate::Wait::after) has passed.
    pub fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether the server is shutting down. If the handler has asked for a [`Waker`], an [`Outbox`]
    /// or a [`Mailbox`], or has called [`StreamRequest::set_doing`], and the connection is within a
    /// message, `handle` is called once when the shutdown begins. The handler can then end the
    /// message. Otherwise the connection may last until the end of the grace time.
    pub fn is_shutdown(&self) -> bool {
        self.is_shutdown
    }
}

impl StreamRequest {
    /// The address that the client connected to, after a PROXY header.
    pub fn server_address(&self) -> Option<ServerAddress> {
        self.server_address.as_deref().cloned().or_else(|| {
            self.transport
                .stream()
                .and_then(|s| s.server_address().ok())
        })
    }

    /// The connection's descriptor (Python's `fileno`), for a handler that waits for its client and
    /// for something else at the same time, by poll(2). A client that left shows as a hang-up, and
    /// so does the abort at the end of the grace time. Not for reading or writing: `rfile` may hold
    /// bytes already. `None` for a test's connection in memory.
    pub fn fileno(&self) -> Option<BorrowedFd<'_>> {
        self.transport.fd()
    }

    /// Why `handle` is called. Whether bytes have arrived, and whether they were the last ones, is
    /// what [`rfile`](StreamRequest::rfile) says.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// A handle by which other threads, and the handlers of other connections, have `handle` called
    /// or close this connection.
    ///
    /// Under [`ForkingMixIn`](crate::ForkingMixIn) it works in the process that serves this
    /// connection: connections in other processes cannot be reached.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(self.link()))
    }

    /// A queue of at most `capacity` values, at least 1, that other threads and connections fill,
    /// and this handler empties. Each value wakes the handler as [`waker`](StreamRequest::waker)
    /// does, with the same restriction under [`ForkingMixIn`](crate::ForkingMixIn).
    pub fn mailbox<T>(&self, capacity: usize) -> (Sender<T>, Mailbox<T>) {
        mailbox(capacity, self.waker())
    }

    /// A handle by which other threads and connections send bytes to this client. At most
    /// `capacity` bytes may be unsent. All outboxes of a connection are the same one; the last
    /// capacity counts. Restricted under [`ForkingMixIn`](crate::ForkingMixIn) as
    /// [`waker`](StreamRequest::waker) is.
    pub fn outbox(&self, capacity: usize) -> Outbox {
        Outbox::open(Arc::clone(self.link()), capacity)
    }

    /// Says what this connection is doing, for [`ServerHandle::connections`]: one short line, such
    /// as the command that is running. Defaults to nothing.
    pub fn set_doing(&self, what: impl Into<Arc<str>>) {
        self.link().set_doing(Some(what.into()));
    }

    /// The connection does nothing in particular any more.
    pub fn clear_doing(&self) {
        if let Some(link) = self.transport.link() {
            link.set_doing(None);
        }
    }

    fn link(&self) -> &Arc<Link> {
        self.transport.link_or_init(|| {
            let ring = self.server.0.ring();
            let ring = ring.unwrap_or_else(|| Weak::<Silent>::new() as Weak<dyn Ring>);
            Link::new(ring, self.key)
        })
    }

    /// Announces that the client may go on sending bytes that the handler will not read. They are
    /// dropped for the linger time after the answer, because closing immediately would send a
    /// reset, which destroys the answer (RFC 9112 §9.6).
    pub fn linger(&mut self) {
        self.linger = true;
    }
}
