//! What a connection waits for.

use std::time::Duration;

#[cfg(doc)]
use super::StreamRequestHandler;

/// What happens to a connection when `handle` returns.
///
/// A quiz, whose answer may take 30 seconds:
///
/// ```
/// use std::io::Write;
/// use std::time::Duration;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Next, StreamRequest};
///
/// let quiz = |request: &mut StreamRequest| {
///     if request.cause().is_due() {
///         request.wfile.write_all(b"too late\n")?;
///         return Ok(Next::Close);
///     }
///     if request.rfile.take_line(80)?.is_none() {
///         return Ok(Next::in_message()); // a part of the answer has come: wait for the rest
///     }
///     request.wfile.write_all(b"How many legs has a spider?\n")?;
///     Ok(Next::after(Duration::from_secs(30)))
/// };
/// let mut client = TestConnection::new(Builder::new(), move |_| quiz);
/// client.send(b"begin\n");
/// assert_eq!(client.received(), b"How many legs has a spider?\n");
/// client.advance(Duration::from_secs(30));
/// assert_eq!(client.received(), b"too late\n");
/// assert!(client.is_closed());
/// ```
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Wait for more bytes, or for the end of file. The connection is parked: it holds no thread.
    /// After the end of file nothing more can come, so this closes the connection.
    Wait,
    /// Wait for more bytes as [`Wait`](Next::Wait) does, under the conditions of a [`Wait`].
    WaitFor(Wait),
    /// Call `handle` again as soon as what it wrote is sent, even if no bytes come. An answer that
    /// is larger than [`wbufsize`](StreamRequestHandler::wbufsize) can be sent piece by piece this
    /// way, and a client that reads slowly holds no thread.
    Again,
    /// Close the connection once everything that was written is sent.
    Close,
}

impl Next {
    /// Wait for bytes, but at most for `delay`. Then `handle` is called even if none have arrived:
    /// a pause or a tick that holds no thread.
    pub fn after(delay: Duration) -> Next {
        Next::WaitFor(Wait::new().after(delay))
    }

    /// Wait for more bytes of a message that is under way although nothing of it is in the buffer.
    pub fn in_message() -> Next {
        Next::WaitFor(Wait::new().in_message())
    }
}

impl From<Wait> for Next {
    fn from(wait: Wait) -> Next {
        Next::WaitFor(wait)
    }
}

/// What a parked connection waits for, besides bytes: the value of [`Next::WaitFor`].
///
/// ```
/// use std::time::Duration;
/// use socketserver::{Next, Wait};
///
/// // A job is running for this client: look at it again in a second. A shutdown waits for it.
/// let next = Next::from(Wait::new().in_message().after(Duration::from_secs(1)));
/// # assert_eq!(next, Next::WaitFor(Wait::new().after(Duration::from_secs(1)).in_message()));
/// ```
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    pub(crate) after: Option<Duration>,
    pub(crate) in_message: bool,
    pub(crate) is_paused: bool,
    pub(crate) outlasts_shutdown: bool,
}

impl Wait {
    /// Wait for bytes or the end of file only, as [`Next::Wait`] does.
    pub fn new() -> Wait {
        Wait::default()
    }

    /// Call `handle` after `delay` even if no bytes come. This time replaces the deadlines of the
    /// wait: the idle timeout, or, together with [`in_message`](Wait::in_message), the read timeout
    /// and the minimum rate. Defaults to never.
    pub fn after(self, delay: Duration) -> Wait {
        Wait {
            after: Some(delay),
            ..self
        }
    }

    /// Do not read from the client. When the systems' buffers are full, the client cannot send more
    /// (back-pressure). `handle` is called after a [`Waker::wake`](crate::Waker::wake), or when the
    /// time of [`after`](Wait::after) has passed. No deadline of the client applies. The connection
    /// counts as in flight: a shutdown waits for it within the grace time, unless the handler ends
    /// it when [`Cause::is_shutdown`](crate::Cause::is_shutdown) is true. Defaults to false.
    ///
    /// A handler that takes nothing from its client until it is woken:
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, StreamRequest, Wait};
    ///
    /// let (send, wakers) = mpsc::channel();
    /// let handler = move |request: &mut StreamRequest| {
    ///     if !request.cause().is_woken() {
    ///         send.send(request.waker()).unwrap();
    ///         return Ok(Next::from(Wait::new().paused()));
    ///     }
    ///     request.rfile.take_all();
    ///     Ok(Next::Close)
    /// };
    /// let mut client = TestConnection::new(Builder::new(), move |_| handler.clone());
    /// client.send(b"much").send(b"more");
    /// wakers.recv().unwrap().wake();
    /// assert!(client.is_closed());
    /// assert!(wakers.try_recv().is_err()); // `handle` was called once before
    /// ```
    pub fn paused(self) -> Wait {
        Wait {
            is_paused: true,
            ..self
        }
    }

    /// A shutdown does not close the connection while it waits for bytes: it goes on until it ends
    /// by itself, or the grace time is over. For connections without messages, such as tunnels. The
    /// idle timeout applies as always. Defaults to false.
    ///
    /// ```
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, StreamRequest, Wait};
    ///
    /// let tunnel = |request: &mut StreamRequest| {
    ///     request.rfile.take_all(); // passed on
    ///     Ok(Next::from(Wait::new().outlasts_shutdown()))
    /// };
    /// let mut client = TestConnection::new(Builder::new(), move |_| tunnel);
    /// client.send(b"hello").shutdown();
    /// assert!(!client.is_closed());
    /// client.finish();
    /// assert!(client.is_closed());
    /// ```
    pub fn outlasts_shutdown(self) -> Wait {
        Wait {
            outlasts_shutdown: true,
            ..self
        }
    }

    /// A message is under way although nothing of it is in the buffer. While it waits, the
    /// connection counts as in flight: a shutdown lets it finish within the grace period, and the
    /// read timeout applies instead of the idle timeout. Defaults to false.
    pub fn in_message(self) -> Wait {
        Wait {
            in_message: true,
            ..self
        }
    }
}
