//! The traits that a service implements.

mod datagram;
mod next;

use std::io::Write;
use std::time::Duration;

use crate::address::ClientAddress;
use crate::buffer::BUFFER_SIZE;
use crate::error::{Error, Result, Timeout};
use crate::request::StreamRequest;
pub use datagram::DatagramRequestHandler;
pub(crate) use datagram::serve_datagram;
pub use next::{Next, Wait};

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
///
/// A handler may have more than `handle`:
///
/// ```
/// use std::io::Write;
/// use std::time::Duration;
/// use socketserver::testing::TestConnection;
/// use socketserver::{Builder, Next, Result, StreamRequest, StreamRequestHandler, Timeout};
///
/// struct Polite;
///
/// impl StreamRequestHandler for Polite {
///     fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
///         Ok(request.wfile.write_all(b"Hello.\n")?)
///     }
///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
///         request.rfile.take_all();
///         Ok(Next::Wait)
///     }
///     fn on_timeout(&mut self, request: &mut StreamRequest, _: Timeout) {
///         let _ = request.wfile.write_all(b"You are silent.\n");
///     }
///     fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
///         Ok(request.wfile.write_all(b"Goodbye.\n")?)
///     }
///     // Its settings:
///     fn timeout(&self) -> Option<Duration> { Some(Duration::from_secs(60)) }
///     fn disable_nagle_algorithm(&self) -> bool { true }
///     fn rbufsize(&self) -> Option<usize> { Some(1024) }
///     fn wbufsize(&self) -> usize { 4096 }
///     fn needs_concurrency() -> bool { false } // it reaches no other connection
/// }
///
/// let mut client = TestConnection::new(Builder::new(), |_| Polite);
/// assert_eq!(client.received(), b"Hello.\n");
/// client.advance(Duration::from_secs(600));
/// assert_eq!(client.received(), b"You are silent.\nGoodbye.\n");
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
    ///
    /// A probe reports whether a server can be reached:
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use std::sync::mpsc::{self, Sender};
    /// use socketserver::{Builder, Error, Next, Result, StreamRequest, StreamRequestHandler};
    ///
    /// struct Probe(Sender<String>);
    ///
    /// impl StreamRequestHandler for Probe {
    ///     fn handle(&mut self, _: &mut StreamRequest) -> Result<Next> {
    ///         Ok(Next::Close)
    ///     }
    ///     fn connect_failed(&mut self, error: &Error) {
    ///         let _ = self.0.send(error.to_string());
    ///     }
    /// }
    ///
    /// let close = |_: &mut StreamRequest| Ok(Next::Close);
    /// let server = Builder::new().tcp("127.0.0.1:0", move |_| close)?.spawn()?;
    /// let unused = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    /// let (send, failures) = mpsc::channel();
    /// // A failure that is known at once is an error of the call instead.
    /// if let Err(error) = server.handle().connect(unused, Probe(send.clone())) {
    ///     let _ = send.send(error.to_string());
    /// }
    /// assert!(failures.recv().unwrap().contains("can't connect to 127.0.0.1"));
    /// server.stop()?;
    /// # Ok::<(), socketserver::Error>(())
    /// ```
    fn connect_failed(&mut self, error: &Error) {
        let _ = error;
    }

    /// Whether `handle` is called as soon as the connection is open (protocols in which the server
    /// speaks first), and not only when the client's first bytes have arrived. Defaults to false.
    ///
    /// A time server sends without being asked:
    ///
    /// ```
    /// use std::io::Write;
    /// use std::time::SystemTime;
    /// use socketserver::testing::TestConnection;
    /// use socketserver::{Builder, Next, Result, StreamRequest, StreamRequestHandler};
    ///
    /// struct Clock;
    ///
    /// impl StreamRequestHandler for Clock {
    ///     fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
    ///         let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    ///         writeln!(request.wfile, "{}", now.as_secs())?;
    ///         Ok(Next::Close)
    ///     }
    ///     fn speaks_first(&self) -> bool {
    ///         true
    ///     }
    /// }
    ///
    /// let mut client = TestConnection::new(Builder::new(), |_| Clock);
    /// assert!(client.received().ends_with(b"\n"));
    /// assert!(client.is_closed());
    /// ```
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

    /// Whether handlers of this type reach one another, so that several must be served at the same
    /// time in one process: a chat, a forwarder. Making a server of such handlers with a
    /// concurrency model that cannot do this is then an error, and so is
    /// [`ServerHandle::listen`](crate::ServerHandle::listen). Defaults to false.
    fn needs_concurrency() -> bool
    where
        Self: Sized,
    {
        false
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
