//! The public face of a link: waking and closing.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::link::{Link, Signals};

/// Reaches one connection from any thread and from the handlers of other connections
/// ([`StreamRequest::waker`](crate::StreamRequest::waker)). Cheap to clone. It does not keep the
/// connection open.
///
/// ```
/// use std::sync::mpsc;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let (send_waker, wakers) = mpsc::channel();
/// let handler = move |request: &mut StreamRequest| {
///     if request.cause().is_woken() {
///         return Ok(Next::Close);
///     }
///     send_waker.send(request.waker()).unwrap();
///     Ok(Next::Wait)
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| handler.clone());
/// client.send(b"hello");
/// wakers.recv().unwrap().wake();
/// assert!(client.is_closed());
/// ```
#[derive(Clone)]
pub struct Waker(pub(crate) Arc<Link>);

impl Waker {
    /// Has `handle` called soon, even if no bytes have arrived;
    /// [`Cause::is_woken`](crate::Cause::is_woken) is then true. Never waits.
    ///
    /// Several calls before `handle` begins cause one call of it. A call while `handle` runs causes
    /// another one. If the client has not taken what the handler has written, `handle` is called
    /// after the client has taken it. After the end of the connection this does nothing.
    pub fn wake(&self) {
        self.0.signal(Signals::WAKE);
    }

    /// Ends the connection: `handle` is not called any more, `finish` is, and what was written is
    /// sent. The hook [`handle_error`](crate::ServerHooks::handle_error) gets
    /// [`Error::Closed`](crate::Error::Closed) with this reason. Never waits. If a handler is
    /// running, the connection ends when it returns.
    pub fn close(&self, reason: impl Into<Cow<'static, str>>) {
        self.0.close(reason.into());
    }

    /// Ends the connection as [`close`](Waker::close) does, but drops what is not sent yet: a peer
    /// that reads slowly gets no more than the system has taken already.
    ///
    /// A program that ends connections, in the two ways:
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use socketserver::testing::TestServer;
    /// use socketserver::{Builder, Next, StreamRequest};
    ///
    /// let (send, wakers) = mpsc::channel();
    /// let handler = move |request: &mut StreamRequest| {
    ///     request.rfile.take_all();
    ///     send.send(request.waker()).unwrap();
    ///     Ok(Next::Wait)
    /// };
    /// let server = TestServer::new(Builder::new(), move |_| handler.clone());
    /// let [mut ada, mut bob] = [(); 2].map(|()| server.connect());
    /// ada.send(b"a");
    /// wakers.recv().unwrap().close("too many clients");
    /// bob.send(b"b");
    /// wakers.recv().unwrap().abort("does not behave");
    /// assert!(ada.is_closed() && bob.is_closed());
    /// ```
    pub fn abort(&self, reason: impl Into<Cow<'static, str>>) {
        self.0.abort(reason.into());
    }

    pub(super) fn is_same(&self, other: &Waker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the connection is ending or has ended, so that its handler is not called any more.
    pub fn is_closed(&self) -> bool {
        self.0.has_ended()
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker")
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
