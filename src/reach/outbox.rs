//! Bytes that other threads and connections send to one peer.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;

use super::Waker;
use super::link::{Link, OutputEnd, Signals};
use crate::sys::SplicePipe;

/// Sends bytes to the peer of one connection from any thread and from the handlers of other
/// connections ([`StreamRequest::outbox`](crate::StreamRequest::outbox)). Cheap to clone. It does
/// not keep the connection open.
///
/// The bytes are sent in the order of the calls, between two calls of `handle`, and without a call
/// of it. A peer that does not read fills the outbox. Then senders get an error: they never wait,
/// and the outbox never grows beyond its capacity. A slow peer is subject to the write timeout as
/// always.
///
/// ```
/// use std::sync::mpsc;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let (send, outboxes) = mpsc::channel();
/// let handler = move |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     send.send(request.outbox(1024)).unwrap();
///     Ok(Next::Wait)
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| handler.clone());
/// client.send(b"hello");
/// outboxes.recv().unwrap().try_send(*b"news\n").unwrap();
/// assert_eq!(client.received(), b"news\n");
/// ```
#[derive(Clone)]
pub struct Outbox(pub(crate) Arc<Link>);

impl Outbox {
    /// Sets the maximum number of unsent bytes. The first call opens the outbox.
    pub(crate) fn open(link: Arc<Link>, capacity: usize) -> Outbox {
        link.with_left(|left| left.capacity = capacity);
        Outbox(link)
    }

    /// Sends `bytes`. Never waits. Bytes in an `Arc<[u8]>` are not copied.
    ///
    /// # Errors
    /// `Full` if the outbox has no room for all of them; bytes that are longer than the capacity
    /// never fit. `Disconnected` if the connection is ending. Both return the bytes.
    pub fn try_send(&self, bytes: impl Into<Arc<[u8]>>) -> Result<(), TrySendError<Arc<[u8]>>> {
        self.put(bytes.into())?;
        self.0.signal(Signals::OUTPUT);
        Ok(())
    }

    /// Puts bytes into the outbox without a signal.
    pub(super) fn put(&self, bytes: Arc<[u8]>) -> Result<(), TrySendError<Arc<[u8]>>> {
        let mut bytes = Some(bytes);
        let put = self.0.with_left(|left| {
            let length = bytes.as_ref().map_or(0, |bytes| bytes.len());
            if left.end != OutputEnd::Open {
                return None;
            }
            let has_room = length <= left.capacity.saturating_sub(left.bytes);
            if has_room && length > 0 {
                left.bytes += length;
                left.is_unsent = true;
                left.output.extend(bytes.take());
            }
            Some(has_room)
        });
        match (put.flatten(), bytes) {
            (Some(true), _) | (_, None) => Ok(()),
            (Some(false), Some(bytes)) => Err(TrySendError::Full(bytes)),
            (None, Some(bytes)) => Err(TrySendError::Disconnected(bytes)),
        }
    }

    /// Ends the server's side of the connection once everything in the outbox is sent: the client
    /// reads an end of file, and may go on sending. Later sends are refused as `Disconnected`.
    /// [`WFile::shutdown_write`](crate::WFile::shutdown_write) does the same for what the handler
    /// writes. Never waits.
    pub fn shutdown_write(&self) {
        self.0.with_left(|left| {
            if matches!(left.end, OutputEnd::Open | OutputEnd::Closed) {
                left.end = OutputEnd::ShutdownWanted;
            }
        });
        self.0.signal(Signals::OUTPUT);
    }

    /// Sends `last` behind everything in the outbox, even if there is no room for it, and takes
    /// nothing more: later sends are refused as `Disconnected`. For the last message of a protocol,
    /// which nothing may follow. The connection stays open. Never waits.
    ///
    /// Returns false, and sends nothing, if the outbox [is closed](Outbox::is_closed) already.
    ///
    /// ```
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let handler = |request: &mut StreamRequest| {
    ///     let outbox = request.outbox(100);
    ///     match request.rfile.take_all() {
    ///         b"quit" => assert!(outbox.close_with(*b"goodbye\n")),
    ///         _ => outbox.shutdown_write(),
    ///     }
    ///     assert!(outbox.is_closed() && outbox.has_last_bytes());
    ///     assert!(outbox.try_send(*b"more").is_err());
    ///     Ok(Next::Wait)
    /// };
    /// let server = TestServer::new(Builder::new(), move |_| handler);
    /// let [mut ada, mut bob] = [(); 2].map(|()| server.connect());
    /// ada.send(b"quit");
    /// assert_eq!(ada.received(), b"goodbye\n");
    /// assert!(!ada.is_closed());
    /// bob.send(b"end");
    /// assert!(bob.is_closed()); // the server's side is
    /// ```
    pub fn close_with(&self, last: impl Into<Arc<[u8]>>) -> bool {
        let last = last.into();
        let is_taken = self.0.with_left(|left| {
            let is_open = left.end == OutputEnd::Open;
            if is_open {
                left.end = OutputEnd::Closed;
                if !last.is_empty() {
                    left.bytes += last.len();
                    left.is_unsent = true;
                    left.output.push_back(last);
                }
            }
            is_open
        });
        self.0.signal(Signals::OUTPUT);
        is_taken == Some(true)
    }

    /// Wakes `waker` when the outbox becomes empty or the connection ends; immediately if one of
    /// them has happened already. Empty means that everything was handed to the transport. A sender
    /// whose bytes were refused as `Full` can wait this way without a thread or a timer.
    ///
    /// A handler that gives another connection no more than it takes, as a forwarder does. Here the
    /// other connection is its own:
    ///
    /// ```
    /// use std::sync::mpsc::TrySendError;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, StreamRequest, Wait};
    ///
    /// let echo = |request: &mut StreamRequest| {
    ///     let other = request.outbox(100);
    ///     match other.try_send(request.rfile.buffer()) {
    ///         Ok(()) => drop(request.rfile.take_all()),
    ///         Err(TrySendError::Full(_)) if other.bytes_unsent() > 0 => {
    ///             other.wake_when_empty(&request.waker());
    ///             return Ok(Next::from(Wait::new().paused()));
    ///         }
    ///         Err(_) => return Ok(Next::Close), // the connection is over, or the bytes never fit
    ///     }
    ///     Ok(Next::Wait)
    /// };
    /// let mut client = TestConnection::new(Builder::new(), move |_| echo);
    /// client.send(&[b'x'; 60]).send(&[b'y'; 60]);
    /// assert_eq!(client.received().len(), 120);
    /// ```
    pub fn wake_when_empty(&self, waker: &Waker) {
        let waits = self.0.with_left(|left| {
            let waits = left.is_unsent;
            if waits && !left.waiting.iter().any(|link| Arc::ptr_eq(link, &waker.0)) {
                left.waiting.push(Arc::clone(&waker.0));
            }
            waits
        });
        if waits != Some(true) {
            waker.wake();
        }
    }

    /// Leaves what was moved out of another socket. The outbox must be [empty](Outbox::is_sent).
    /// The pipe is dropped if the connection is ending.
    pub(crate) fn leave_pipe(&self, pipe: Box<SplicePipe>) {
        self.0.with_left(|left| {
            left.is_unsent = true;
            left.pipe = Some(pipe);
        });
        self.0.signal(Signals::OUTPUT);
    }

    /// Whether the transport has taken everything; `None` if the connection is ending.
    pub(crate) fn is_sent(&self) -> Option<bool> {
        self.0.with_left(|left| !left.is_unsent)
    }

    /// Number of bytes that were not handed to the transport yet.
    pub fn bytes_unsent(&self) -> usize {
        self.0.with_left(|left| left.bytes).unwrap_or(0)
    }

    /// Whether the outbox takes nothing more: the connection is ending or has ended, or
    /// [`shutdown_write`](Outbox::shutdown_write) or [`close_with`](Outbox::close_with) was called.
    pub fn is_closed(&self) -> bool {
        self.0.has_ended() || self.has_last_bytes()
    }

    /// Whether [`shutdown_write`](Outbox::shutdown_write) or [`close_with`](Outbox::close_with) was
    /// called: no bytes may follow those in the outbox, even if the connection goes on.
    pub fn has_last_bytes(&self) -> bool {
        self.0.has_last_output()
    }

    /// Identifies the connection as long as an outbox of it exists.
    pub(super) fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(super) fn is_same(&self, other: &Outbox) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("bytes_unsent", &self.bytes_unsent())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
