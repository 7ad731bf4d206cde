//! The traits that a service implements.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::address::ClientAddress;
use crate::buffer::BUFFER_SIZE;
use crate::error::{Error, Result, Timeout, panic_message};
use crate::request::{DatagramRequest, StreamRequest};

/// What happens to a connection when `handle` returns.
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
    pub fn paused(self) -> Wait {
        Wait {
            is_paused: true,
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

/// Serves one connection (Python's `StreamRequestHandler`). Each connection has its own handler,
/// which keeps the state between the calls.
///
/// ```
/// use std::io::Write;
/// use socketserver::{Next, Result, StreamRequest, StreamRequestHandler};
///
/// struct Echo;
///
/// impl StreamRequestHandler for Echo {
///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
///         while let Some(line) = request.rfile.take_line(4096)? {
///             request.wfile.write_all(line)?;
///         }
///         Ok(if request.rfile.is_eof() { Next::Close } else { Next::Wait })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle connections",
    label = "not a handler of connections",
    note = "a handler implements `socketserver::StreamRequestHandler`, or is a closure: \
            `|request: &mut StreamRequest| -> Result<Next>`, whose argument needs its type",
    note = "a handler must be `Send` and `'static`, because threads take turns to serve it"
)]
pub trait StreamRequestHandler: Send + 'static {
    /// Called once, before the first `handle`. What it writes, such as a greeting, is sent
    /// immediately. Defaults to nothing.
    ///
    /// # Errors
    /// An error ends the connection, without a call of `finish`, and reaches
    /// [`handle_error`](crate::ServerHooks::handle_error).
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }

    /// Called when bytes or the end of file have arrived. It either takes what has arrived and
    /// returns [`Next::Wait`], or reads on, blocking, in Python's style, and returns
    /// [`Next::Close`].
    ///
    /// # Errors
    /// An error ends the connection once what was written is sent and `finish` has returned. It
    /// reaches
    /// [`handle_error`](crate::ServerHooks::handle_error).
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next>;

    /// Called once, after the last `handle`, whatever its result. Defaults to flushing what was
    /// written.
    ///
    /// # Errors
    /// As for `handle`.
    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        request.wfile.flush()?;
        Ok(())
    }

    /// A deadline has passed. The handler may write a last answer (HTTP's 408, FTP's 421) before
    /// `finish` is called and the connection closes. Defaults to nothing.
    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        let _ = (request, what);
    }

    /// The connection that [`ServerHandle::connect`](crate::ServerHandle::connect) was to make
    /// failed. No other method is called. Defaults to nothing;
    /// [`handle_error`](crate::ServerHooks::handle_error) gets the error as well.
    fn connect_failed(&mut self, error: &Error) {
        let _ = error;
    }

    /// Whether `handle` is called as soon as the connection is open (protocols in which the server
    /// speaks first), and not only when the client's first bytes have arrived. Defaults to false.
    fn speaks_first(&self) -> bool {
        false
    }

    /// Maximum time that a blocking read or write waits for the peer (Python's `timeout`). Replaces
    /// the idle, read and write timeouts for blocking calls. Defaults to `None`: the server's
    /// [`Timeouts`](crate::Timeouts).
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Whether small packets are sent without delay (`TCP_NODELAY`; Python's attribute, false
    /// there). Defaults to true, because answers are gathered before they are sent.
    fn disable_nagle_algorithm(&self) -> bool {
        true
    }

    /// Maximum number of unread bytes while the handler waits for the rest of its message (Python's
    /// `rbufsize` is the size of a buffer). Defaults to `None`:
    /// [`Limits::max_message`](crate::Limits::max_message).
    fn rbufsize(&self) -> Option<usize> {
        None
    }

    /// Number of bytes that are gathered before a write waits for the peer (Python's `wbufsize`; 0
    /// there), up to 16 MiB; a larger number means 16 MiB. 0 sends every write immediately.
    /// Defaults to 16 KiB.
    fn wbufsize(&self) -> usize {
        BUFFER_SIZE
    }
}

/// A closure is the [`StreamRequestHandler::handle`] of a handler with every default.
impl<F> StreamRequestHandler for F
where
    F: FnMut(&mut StreamRequest) -> Result<Next> + Send + 'static,
{
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        self(request)
    }
}

impl StreamRequestHandler for Box<dyn StreamRequestHandler> {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        (**self).setup(request)
    }
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        (**self).handle(request)
    }
    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        (**self).finish(request)
    }
    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        (**self).on_timeout(request, what);
    }
    fn connect_failed(&mut self, error: &Error) {
        (**self).connect_failed(error);
    }
    fn speaks_first(&self) -> bool {
        (**self).speaks_first()
    }
    fn timeout(&self) -> Option<Duration> {
        (**self).timeout()
    }
    fn disable_nagle_algorithm(&self) -> bool {
        (**self).disable_nagle_algorithm()
    }
    fn rbufsize(&self) -> Option<usize> {
        (**self).rbufsize()
    }
    fn wbufsize(&self) -> usize {
        (**self).wbufsize()
    }
}

/// Serves one datagram (Python's `DatagramRequestHandler`).
///
/// Errors and panics reach [`handle_error`](crate::ServerHooks::handle_error). They end neither the
/// thread nor the server.
///
/// ```
/// use socketserver::testing::TestDatagram;
/// use socketserver::{Builder, DatagramRequest, DatagramRequestHandler, Result};
///
/// struct Echo;
///
/// impl DatagramRequestHandler for Echo {
///     fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
///         request.reply(request.packet())
///     }
/// }
///
/// let client = std::net::SocketAddr::from(([192, 0, 2, 1], 5000));
/// let mut server = TestDatagram::new(Builder::new(), |_| Echo);
/// assert_eq!(server.send(client, b"hello").received_by(client), [b"hello"]);
/// ```
///
/// # Order
///
/// A server receives datagrams in the order in which the system delivers them. UDP may lose, repeat
/// and reorder them on their way (RFC 768). In which order handlers see them depends on the
/// concurrency model:
///
/// | model | order of the handlers |
/// |---|---|
/// | [`Synchronous`](crate::Synchronous) | as received, one after the other |
/// | [`ThreadingMixIn`](crate::ThreadingMixIn), [`ThreadPerRequest`](crate::ThreadPerRequest) | none: several run at the same time, also for datagrams of one peer. With [`ordered_datagrams`](crate::Builder::ordered_datagrams) those of one peer run as received, one after the other |
/// | [`ForkingMixIn`](crate::ForkingMixIn) | none: each datagram has a process |
/// | a model of your own | as it calls [`Request::run`](crate::Request::run); `ordered_datagrams` works as above |
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle datagrams",
    label = "not a handler of datagrams",
    note = "a handler implements `socketserver::DatagramRequestHandler`, or is a closure: \
            `|request: &mut DatagramRequest| -> Result<()>`, whose argument needs its type",
    note = "a handler must be `Send` and `'static`, because threads take turns to serve it"
)]
pub trait DatagramRequestHandler: Send + 'static {
    /// Called before `handle`. Defaults to nothing.
    ///
    /// # Errors
    /// An error drops the datagram: neither `handle` nor `finish` is called, and nothing is sent.
    fn setup(&mut self, request: &mut DatagramRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }

    /// Serves [`packet`](DatagramRequest::packet), which [`rfile`](DatagramRequest::rfile) reads.
    ///
    /// # Errors
    /// After an error or a panic, `finish` is still called and `wfile` is still sent.
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()>;

    /// Called after `handle`, whatever its result. Then [`wfile`](DatagramRequest::wfile) is sent
    /// back as one datagram. Defaults to nothing.
    ///
    /// # Errors
    /// After an error nothing is sent.
    fn finish(&mut self, request: &mut DatagramRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }
}

impl DatagramRequestHandler for Box<dyn DatagramRequestHandler> {
    fn setup(&mut self, request: &mut DatagramRequest) -> Result<()> {
        (**self).setup(request)
    }
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        (**self).handle(request)
    }
    fn finish(&mut self, request: &mut DatagramRequest) -> Result<()> {
        (**self).finish(request)
    }
}

/// A closure is the [`DatagramRequestHandler::handle`] of a handler with every default.
impl<F> DatagramRequestHandler for F
where
    F: FnMut(&mut DatagramRequest) -> Result<()> + Send + 'static,
{
    fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
        self(request)
    }
}

/// Serves one datagram by a handler of its own, in Python's order, and sends its `wfile`. Never
/// panics. Returns the first error and every panic.
pub(crate) fn serve_datagram<H: DatagramRequestHandler>(
    class: &impl RequestHandlerClass<H>,
    request: &mut DatagramRequest,
) -> Vec<Error> {
    let mut errors = Vec::new();
    let made = attempt(&mut errors, || Ok(class(&request.client_address)));
    let Some(mut handler) = made else {
        return errors;
    };
    if attempt(&mut errors, || handler.setup(request)).is_some() {
        attempt(&mut errors, || handler.handle(request));
        attempt(&mut errors, || {
            handler.finish(request)?;
            request.send_wfile()
        });
    }
    attempt(&mut errors, || {
        drop(handler);
        Ok(())
    });
    errors
}

/// One step of serving a datagram. `None` if it failed or panicked.
fn attempt<T>(errors: &mut Vec<Error>, step: impl FnOnce() -> Result<T>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(error)) if errors.is_empty() => errors.push(error),
        Ok(Err(_)) => {} // most likely a consequence of the first
        Err(panic) => errors.push(Error::Panicked(panic_message(&*panic))),
    }
    None
}

/// Makes the handler of each connection or datagram (Python passes a class). Every closure that
/// takes a client's address and returns a handler implements it; a panic in it ends the connection
/// and is reported to [`handle_error`](crate::ServerHooks::handle_error).
///
/// [`Fn`] is a supertrait, so that the compiler infers the type of the argument: `|_| Echo` is
/// enough. Therefore types other than functions cannot implement this trait; such a type has a
/// method that returns a closure.
///
/// ```
/// use std::io::Write;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, ClientAddress, Next, RequestHandlerClass, Result};
/// use socketserver::{StreamRequest, StreamRequestHandler};
///
/// /// Greets each client by its address.
/// struct Greeter(String);
///
/// impl StreamRequestHandler for Greeter {
///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
///         request.wfile.write_all(self.0.as_bytes())?;
///         Ok(Next::Close)
///     }
/// }
///
/// fn greeters(greeting: &'static str) -> impl RequestHandlerClass<Greeter> {
///     move |client: &ClientAddress| Greeter(format!("{greeting}, {client}\n"))
/// }
///
/// let mut client = TestConnection::new(Builder::new(), greeters("Hello"));
/// client.send(b"\n");
/// assert!(client.received().starts_with(b"Hello, "));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not make handlers",
    label = "not a handler class",
    note = "each connection gets a handler of its own, which a closure makes: \
            write `|_| handler` instead of `handler`, or `move |_| handler.clone()`",
    note = "the closure must be `Send`, `Sync` and `'static`, because several threads call it"
)]
pub trait RequestHandlerClass<H>: Fn(&ClientAddress) -> H + Send + Sync + 'static {}

impl<H, F> RequestHandlerClass<H> for F where F: Fn(&ClientAddress) -> H + Send + Sync + 'static {}
