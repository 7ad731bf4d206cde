//! The concurrency models: what Python reaches by mixing a class into the server.

pub(crate) mod accept;
mod acceptor;
mod blocking;
pub(crate) mod datagrams;
mod deadlines;
mod dispatcher;
pub(crate) mod engine;
mod forking;
mod lingering;
mod listing;
mod pool;
pub(crate) mod registry;
pub(crate) mod slot;
pub(crate) mod sources;
mod synchronous;
mod thread_per_request;

use std::sync::Arc;
use std::time::Instant;

use crate::address::ClientAddress;
use crate::handle::{Core, InFlight, Newcomer};
use crate::request::DatagramRequest;
use crate::session::Session;
use crate::transport::MemoryPeer;
use accept::StreamListener;
use datagrams::DatagramJob;
use dispatcher::DispatchEngine;
use engine::Engine;
pub use forking::ForkingMixIn;
use pool::PoolEngine;
pub use pool::ThreadingMixIn;
use registry::Registry;
use sources::{ListenTimeout, Sources};
pub use synchronous::Synchronous;
pub use thread_per_request::ThreadPerRequest;

/// A concurrency model: where a server processes its requests. The library has [`Synchronous`],
/// [`ThreadingMixIn`], [`ThreadPerRequest`] and [`ForkingMixIn`]. Your own model calls
/// [`Request::run`] for each request, sooner or later; a request that it drops is closed. A panic
/// in one of the methods that a running server calls is counted and reported to `handle_error`; the
/// server then uses that method's default.
///
/// A model that counts the requests and leaves the work to another one passes every method on:
///
/// ```
/// use std::net::TcpStream;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// use socketserver::{Accepting, Builder, InFlight, Next, ProcessRequest, Request, Result};
/// use socketserver::{StreamRequest, ThreadPerRequest};
///
/// struct Counted<M>(M, Arc<AtomicUsize>);
///
/// impl<M: ProcessRequest> ProcessRequest for Counted<M> {
///     fn process_request(&self, request: Request) {
///         self.1.fetch_add(1, Relaxed);
///         self.0.process_request(request);
///     }
///     fn service_actions(&self) {
///         self.0.service_actions();
///     }
///     fn pending(&self) -> usize {
///         self.0.pending()
///     }
///     fn is_full(&self) -> bool {
///         self.0.is_full()
///     }
///     fn abort(&self) {
///         self.0.abort();
///     }
///     fn blocks_on_close(&self) -> bool {
///         self.0.blocks_on_close()
///     }
///     fn server_close(&self) {
///         self.0.server_close();
///     }
///     fn is_concurrent(&self) -> bool {
///         self.0.is_concurrent()
///     }
///     fn forks(&self) -> bool {
///         self.0.forks()
///     }
///     fn in_flight(&self) -> Vec<InFlight> {
///         self.0.in_flight()
///     }
///     fn check(&self) -> Result<()> {
///         self.0.check()
///     }
///     fn accepting(&self) -> Accepting {
///         Accepting::by_server() // otherwise a pool accepts, and this model sees no request
///     }
/// }
///
/// let count = Arc::new(AtomicUsize::new(0));
/// let model = Counted(ThreadPerRequest::new(), Arc::clone(&count));
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let mut server = Builder::new().process(model).tcp("127.0.0.1:0", move |_| close)?;
/// let client = TcpStream::connect(server.server_address().inet().unwrap())?;
/// server.handle_request()?;
/// assert_eq!(count.load(Relaxed), 1);
/// # Ok::<(), socketserver::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a concurrency model",
    label = "not a concurrency model",
    note = "use `ThreadingMixIn::new()`, `ThreadPerRequest::new()`, `ForkingMixIn::new()`, \
            `Synchronous`, or a type of your own that implements `socketserver::ProcessRequest`"
)]
pub trait ProcessRequest: Send + Sync + 'static {
    /// Takes over a request (Python's `process_request`). Called on the accepting thread, which
    /// accepts nothing more until this returns.
    fn process_request(&self, request: Request);

    /// Called regularly by the accepting thread, and during a shutdown until
    /// [`pending`](ProcessRequest::pending) is 0. Defaults to nothing.
    fn service_actions(&self) {}

    /// Number of requests that are served in other processes, where the server cannot see them.
    /// Defaults to 0.
    fn pending(&self) -> usize {
        0
    }

    /// Whether the maximum number of requests is being served. Then no more are accepted. Defaults
    /// to false.
    fn is_full(&self) -> bool {
        false
    }

    /// Called at the end of the grace time: ends the requests in other processes by force. Defaults
    /// to nothing.
    fn abort(&self) {}

    /// Whether dropping the server waits for the requests in flight (Python's `block_on_close`, for
    /// threads that are not daemons). Defaults to true.
    fn blocks_on_close(&self) -> bool {
        true
    }

    /// Waits, without a limit, for requests that did not end with the grace time.
    /// Called when the server is dropped, if [`blocks_on_close`](ProcessRequest::blocks_on_close).
    /// Defaults to nothing.
    fn server_close(&self) {}

    /// Whether several connections are served at the same time in one process, so that their
    /// handlers can reach one another. [`Synchronous`] and [`ForkingMixIn`] return false; a model
    /// of your own that serves each request before it accepts the next one must do so too. Defaults
    /// to true.
    fn is_concurrent(&self) -> bool {
        true
    }

    /// Whether requests are served in forked processes. The server then keeps its counters in
    /// memory that these share, and refuses settings that only one process can honour. Defaults to
    /// false.
    fn forks(&self) -> bool {
        false
    }

    /// The requests that are served in other processes, for [`ServerHandle::in_flight`]. Defaults
    /// to none.
    ///
    /// [`ServerHandle::in_flight`]: crate::ServerHandle::in_flight
    fn in_flight(&self) -> Vec<InFlight> {
        Vec::new()
    }

    /// Checks whether the model works in the present process. Called before anything is accepted.
    /// Defaults to `Ok`.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) if it can't: the server then does not
    /// serve.
    fn check(&self) -> crate::error::Result<()> {
        Ok(())
    }

    /// Which thread accepts. Defaults to [`Accepting::by_server`]. A model that passes every
    /// request on to a [`ThreadingMixIn`] may return what that one returns, and then sees no
    /// request itself.
    fn accepting(&self) -> Accepting {
        Accepting::by_server()
    }
}

/// Which thread accepts the connections and datagrams of a server, from
/// [`ProcessRequest::accepting`].
///
/// ```
/// use socketserver::{Accepting, ProcessRequest, Request, ThreadingMixIn};
///
/// /// Serves by a pool, or by the thread of `serve_forever`.
/// struct Choice(Option<ThreadingMixIn>);
///
/// impl ProcessRequest for Choice {
///     fn process_request(&self, request: Request) {
///         request.run();
///     }
///     fn accepting(&self) -> Accepting {
///         self.0.as_ref().map_or_else(Accepting::by_server, |pool| pool.accepting())
///     }
/// }
///
/// assert_eq!(format!("{:?}", Choice(None).accepting()), "Accepting(Server)");
/// ```
#[derive(Clone, Debug)]
pub struct Accepting(AcceptingKind);

#[derive(Clone, Debug)]
enum AcceptingKind {
    Server,
    Pool(ThreadingMixIn),
}

impl Accepting {
    /// The thread of `serve_forever` accepts, and calls
    /// [`process_request`](ProcessRequest::process_request).
    pub fn by_server() -> Accepting {
        Accepting(AcceptingKind::Server)
    }
}

/// The engine that this concurrency model needs. Handles reach it from now on.
pub(crate) fn engine_for(
    model: &Arc<dyn ProcessRequest>,
    core: &Arc<Core>,
) -> crate::error::Result<Arc<dyn Engine>> {
    Ok(match model.accepting().0 {
        AcceptingKind::Pool(pool) => Arc::new(PoolEngine::new(&pool, core)?),
        AcceptingKind::Server => Arc::new(DispatchEngine::new(model, core)?),
    })
}

/// What a [`ServerHandle`](crate::ServerHandle) gives to a running engine.
pub(crate) enum NewcomerKind {
    Connection(Box<Session>),
    /// A connection that a handler makes to another server. The test is the other server.
    InMemory {
        session: Box<Session>,
        peer: MemoryPeer,
    },
    Listener {
        listener: Arc<StreamListener>,
        /// When it is closed if no client has connected, and what is notified of that.
        timeout: Option<(Instant, Arc<ListenTimeout>)>,
    },
}

impl NewcomerKind {
    /// For the way through the floors that cannot name it.
    pub(crate) fn erase(self) -> Newcomer {
        Newcomer(Box::new(self))
    }

    pub(crate) fn from_erased(newcomer: Newcomer) -> Option<NewcomerKind> {
        newcomer.0.downcast().ok().map(|kind| *kind)
    }
}

/// One accepted connection, or one datagram, that is to be served.
///
/// A concurrency model that logs how long each request took:
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::time::Instant;
/// use socketserver::{Builder, Next, ProcessRequest, Request, StreamRequest};
///
/// struct Timed;
///
/// impl ProcessRequest for Timed {
///     fn process_request(&self, request: Request) {
///         let (client, began) = (request.client_address().clone(), Instant::now());
///         request.run();
///         println!("{client}: {:?}", began.elapsed());
///     }
/// }
///
/// let hello = |request: &mut StreamRequest| {
///     request.wfile.write_all(b"hello")?;
///     Ok(Next::Close)
/// };
/// let mut server = Builder::new().process(Timed).tcp("127.0.0.1:0", move |_| hello)?;
/// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
/// client.write_all(b"\n")?;
/// server.handle_request()?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello");
/// # Ok::<(), socketserver::Error>(())
/// ```
pub struct Request(RequestKind);

enum RequestKind {
    Stream {
        session: Box<Session>,
        registry: Arc<Registry>,
        sources: Arc<Sources>,
    },
    Datagram {
        request: Box<DatagramRequest>,
        job: Arc<DatagramJob>,
    },
}

impl Request {
    /// The client's address.
    pub fn client_address(&self) -> &ClientAddress {
        match &self.0 {
            RequestKind::Stream { session, .. } => session.client_address(),
            RequestKind::Datagram { request, .. } => &request.client_address,
        }
    }

    fn core(&self) -> &Arc<Core> {
        match &self.0 {
            RequestKind::Stream { session, .. } => session.core(),
            RequestKind::Datagram { job, .. } => job.core(),
        }
    }

    /// Serves the request to its end, on the calling thread. Never panics; errors reach the
    /// server's hooks.
    pub fn run(self) {
        match self.0 {
            RequestKind::Stream {
                session, registry, ..
            } => blocking::run(&registry, session),
            RequestKind::Datagram { request, job } => {
                let core = Arc::clone(job.core());
                let client = request.client_address.clone();
                core.guard(&client, || job.handle(request));
            }
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Request")
            .field(self.client_address())
            .finish()
    }
}
