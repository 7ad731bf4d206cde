//! The user's hooks: what Python's users reach by subclassing the server.

use crate::address::ClientAddress;
use crate::error::{Error, Refusal};

/// Decides which clients are served, and is informed of what happens to a server (the methods that
/// Python's users override in a subclass). Each method has a default.
///
/// A panic in one of them is counted, and reported to `handle_error` as
/// [`Error::Panicked`]; it ends neither a thread nor the server. A client whose `verify_request`
/// panicked is not served.
///
/// # Which hooks may block
///
/// `verify_request` and `connection_opened` may, though with [`Synchronous`](crate::Synchronous)
/// they then delay all other clients. `handle_error`, `handle_refusal`, `connection_closed` and
/// `service_actions` must not: each may run on a thread that accepts connections. With
/// [`ThreadingMixIn`](crate::ThreadingMixIn) this thread also waits for the events of all
/// connections. A call that blocks it for 200 ms delays every client by 200 ms. Hand slow work,
/// such as a request to another service, to a thread of your own.
///
/// Hooks that keep a list of the clients:
///
/// ```
/// use std::collections::HashSet;
/// use std::sync::{Arc, Mutex};
/// use socketserver::testing::TestServer;
/// use socketserver::{Builder, ClientAddress, Error, Next, Refusal, ServerHooks, StreamRequest};
///
/// #[derive(Clone, Default)]
/// struct Guests(Arc<Mutex<HashSet<ClientAddress>>>);
///
/// impl ServerHooks for Guests {
///     fn verify_request(&self, client: &ClientAddress) -> bool {
///         !self.0.lock().unwrap().contains(client)
///     }
///     fn connection_opened(&self, client: &ClientAddress) {
///         self.0.lock().unwrap().insert(client.clone());
///     }
///     fn connection_closed(&self, client: &ClientAddress) {
///         self.0.lock().unwrap().remove(client);
///     }
///     fn handle_refusal(&self, _: &ClientAddress, _: Refusal) -> Option<&[u8]> {
///         Some(b"you are here already\n")
///     }
///     fn handle_error(&self, client: &ClientAddress, error: &Error) {
///         eprintln!("{client}: {error}");
///     }
///     fn handle_timeout(&self) {
///         eprintln!("nobody came");
///     }
///     fn service_actions(&self) {
///         eprintln!("{} guests", self.0.lock().unwrap().len());
///     }
/// }
///
/// let guests = Guests::default();
/// let ignore = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     Ok(Next::Wait)
/// };
/// let server = TestServer::new(Builder::new().hooks(guests.clone()), move |_| ignore);
/// let mut first = server.connect();
/// assert_eq!(server.connect().received(), b"you are here already\n");
/// first.finish();
/// assert!(guests.0.lock().unwrap().is_empty());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no hooks of a server",
    label = "does not implement `ServerHooks`",
    note = "write `impl socketserver::ServerHooks for {Self} {{ … }}` with the methods that differ \
            from their defaults"
)]
pub trait ServerHooks: Send + Sync + 'static {
    /// Whether a connection or datagram is served (Python's `verify_request`). Called after the
    /// PROXY header, if there is one, on the thread or in the process that will serve the request:
    /// a thread of the pool, or for [`Synchronous`](crate::Synchronous) the thread of
    /// `serve_forever`. Several threads may call it at the same time. A slow decision delays only
    /// its own request. Defaults to true.
    fn verify_request(&self, client_address: &ClientAddress) -> bool {
        let _ = client_address;
        true
    }

    /// Something failed (Python's `handle_error`): a handler or another hook failed or panicked,
    /// the peer missed a deadline or broke the protocol, or the system refused a thread or a
    /// process for a request. Called after `finish`. A peer that disconnected is not reported, and
    /// neither is a thread that the system refuses to the pool, as it concerns no client. Other
    /// errors that concern no client, such as a panic in `service_actions`, come with
    /// [`ClientAddress::Memory`]. Under [`ForkingMixIn`](crate::ForkingMixIn) it is called in the
    /// child that serves the request, and in the parent for a child that a signal or an exit code
    /// other than 0 ended.
    ///
    /// Must not block: the thread that accepts connections calls it for what failed there. So does
    /// the one thread that ends connections while all others are stuck in handlers. Defaults to a
    /// log line.
    fn handle_error(&self, client_address: &ClientAddress, error: &Error) {
        log::warn!("{client_address}: {error}");
    }

    /// A connection was refused. The returned answer is sent before the connection closes, as far
    /// as that is possible without waiting for the client. The answer is ignored for a datagram,
    /// and for a client that expects TLS, which gets an alert.
    ///
    /// Must not block: the thread that accepts connections calls it for each connection that is
    /// over a limit. If it takes 200 ms, 20 clients that are refused delay all other clients by
    /// 4 s, just when the server is busy. Defaults to no answer.
    fn handle_refusal(&self, client_address: &ClientAddress, why: Refusal) -> Option<&[u8]> {
        log::debug!("{client_address}: refused: {why}");
        None
    }

    /// A connection is open: its PROXY header and its TLS handshake are complete, `verify_request`
    /// accepted it, and its handler is about to be made. Connections that the program
    /// [adopts](crate::ServerHandle::adopt) or makes are included; datagrams are not. Called once
    /// for each connection, on the thread or in the process that serves it.
    ///
    /// May block as `verify_request` may: it delays its own connection. Defaults to nothing, and
    /// then costs an empty call for each connection.
    fn connection_opened(&self, client_address: &ClientAddress) {
        let _ = client_address;
    }

    /// A connection has ended, whatever the reason: `finish` and `handle_error` were called, its
    /// output is sent or given up, and its socket closes after this call. Called once for each call
    /// of [`connection_opened`](ServerHooks::connection_opened), on the thread that ends the
    /// connection, or in the process that serves it.
    ///
    /// Must not block: that thread may be the one that accepts connections. Defaults to nothing,
    /// and then costs an empty call for each connection.
    fn connection_closed(&self, client_address: &ClientAddress) {
        let _ = client_address;
    }

    /// `handle_request` got no request within its `timeout` (Python's `handle_timeout`). Called
    /// on the thread of `handle_request`, which returns after it. Defaults to nothing.
    fn handle_timeout(&self) {}

    /// Called on the thread of `serve_forever` every `poll_interval` (Python's `service_actions`),
    /// even while the concurrency model is at its maximum. Under
    /// [`Synchronous`](crate::Synchronous) it waits for the request that is being served.
    ///
    /// Must not block: a shutdown waits for it, and so do new clients of every concurrency model
    /// but [`ThreadingMixIn`](crate::ThreadingMixIn), which accepts on its own threads. Defaults to
    /// nothing.
    fn service_actions(&self) {}
}

/// The hooks of a server without [`Builder::hooks`](crate::Builder::hooks): every default.
///
/// ```
/// use socketserver::{ClientAddress, DefaultHooks, ServerHooks};
///
/// assert!(DefaultHooks.verify_request(&ClientAddress::Memory));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultHooks;

impl ServerHooks for DefaultHooks {}
