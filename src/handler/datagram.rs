//! The handler of a datagram.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::RequestHandlerClass;
use crate::error::{Error, Result, panic_message};
use crate::request::DatagramRequest;

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
///
/// `finish` is the place for what every reply needs, as it is called after an error too:
///
/// ```
/// use std::io::Write;
/// use socketserver::testing::TestDatagram;
/// use socketserver::{Builder, DatagramRequest, DatagramRequestHandler, Result};
///
/// /// Adds the numbers of a datagram.
/// #[derive(Default)]
/// struct Sum(Option<i64>);
///
/// impl DatagramRequestHandler for Sum {
///     fn setup(&mut self, request: &mut DatagramRequest) -> Result<()> {
///         Ok(request.wfile.write_all(b"sum: ")?)
///     }
///     fn handle(&mut self, request: &mut DatagramRequest) -> Result<()> {
///         let text = std::str::from_utf8(request.packet())?;
///         let numbers = text.split('+').map(|number| number.parse::<i32>().map(i64::from));
///         self.0 = Some(numbers.sum::<Result<i64, _>>()?);
///         Ok(())
///     }
///     fn finish(&mut self, request: &mut DatagramRequest) -> Result<()> {
///         match self.0 {
///             Some(sum) => write!(request.wfile, "{sum}")?,
///             None => request.wfile.write_all(b"unknown")?,
///         }
///         Ok(())
///     }
/// }
///
/// let client = std::net::SocketAddr::from(([192, 0, 2, 1], 5000));
/// let mut server = TestDatagram::new(Builder::new(), |_| Sum::default());
/// assert_eq!(server.send(client, b"1+2").received_by(client), [b"sum: 3"]);
/// assert_eq!(server.send(client, b"one").received_by(client), [b"sum: unknown"]);
/// ```
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
