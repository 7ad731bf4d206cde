//! Two connections that carry each other's bytes.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use parking_lot::Mutex;

use crate::address::{Address, ToAddress};
use crate::error::{Error, Result};
use crate::handler::{Next, StreamRequestHandler, Wait};
use crate::reach::{Outbox, Waker};
use crate::request::StreamRequest;

/// A handler that connects each client to another server and carries the bytes of both, like
/// HAProxy's `mode tcp`.
///
/// Neither connection holds a thread while it waits. A side that does not read stops the other one
/// from sending. When one side ends its output, the other side gets the end of file and may go on
/// sending. The connection ends when both have ended, or when one fails.
///
/// A shutdown of the server lets open pairs go on in both directions, as HAProxy and nginx do: until
/// both sides have ended, or the grace time is over.
///
/// The client's bytes are read once the connection to the other server is made. If that fails, or
/// takes longer than 30 s, the client's connection is closed.
///
/// A forwarder serves two connections at once. So making a server of forwarders with
/// [`Synchronous`](crate::Synchronous) or [`ForkingMixIn`](crate::ForkingMixIn) is an error.
///
/// ```no_run
/// use std::net::SocketAddr;
/// use socketserver::{Builder, Forwarder};
///
/// let upstream: SocketAddr = "192.0.2.1:5432".parse().unwrap();
/// let mut server = Builder::new().tcp(":5432", move |_| Forwarder::to(upstream))?;
/// server.serve_forever()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
pub struct Forwarder {
    /// Otherwise the reason why it is not an address.
    upstream: std::result::Result<Address, String>,
    half: Half,
}

/// Bytes that may wait for a side that does not read. The systems' buffers hold more.
const CAPACITY: usize = 64 * 1024;

/// How long a client waits for the connection to the other server. Longer than the head timeout,
/// which usually ends it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// One of the two connections.
struct Half {
    pair: Arc<Pair>,
    me: Side,
    /// The end of file was passed on.
    has_passed_eof: bool,
}

/// What both halves share.
#[derive(Default)]
struct Pair {
    client: Mutex<HalfState>,
    upstream: Mutex<HalfState>,
}

#[derive(Default)]
struct HalfState {
    reach: Option<(Outbox, Waker)>,
    /// Its peer sends nothing more, and everything that it sent was passed on.
    has_passed_eof: bool,
    is_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Upstream,
}

impl Forwarder {
    /// Forwards to the server at this address, for which the rules of
    /// [`ServerHandle::connect`](crate::ServerHandle::connect) hold. If it is not valid, each
    /// connection ends with the error.
    pub fn to(upstream: impl ToAddress) -> Forwarder {
        Forwarder {
            upstream: upstream.to_address().map_err(|error| error.to_string()),
            half: Half {
                pair: Arc::default(),
                me: Side::Client,
                has_passed_eof: false,
            },
        }
    }
}

impl StreamRequestHandler for Forwarder {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        // Again, for a handler that wraps this one.
        request.server.0.check_concurrency()?;
        let address = self.upstream.clone().map_err(Error::Address)?;
        self.half.setup(request)?;
        let upstream = Half {
            pair: Arc::clone(&self.half.pair),
            me: Side::Upstream,
            has_passed_eof: false,
        };
        request.server.connect(address, upstream)
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        self.half.handle(request)
    }

    /// The client's bytes must wait for the connection to the other server.
    fn speaks_first(&self) -> bool {
        true
    }

    fn needs_concurrency() -> bool {
        true
    }
}

impl StreamRequestHandler for Half {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let reach = (request.outbox(CAPACITY), request.waker());
        self.mine().lock().reach = Some(reach);
        self.wake_other();
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let paused = Next::WaitFor(Wait::new().paused());
        let connecting = Next::WaitFor(Wait::new().paused().after(CONNECT_TIMEOUT));
        let (other, other_has_passed_eof) = {
            let other = self.other().lock();
            match &other.reach {
                _ if other.is_over => return Ok(Next::Close),
                Some((outbox, _)) => (outbox.clone(), other.has_passed_eof),
                // Still connecting: nothing of the client's was taken yet.
                None if request.cause().is_shutdown() => return Ok(Next::Close),
                None if request.cause().is_due() => {
                    let text = "the connection to the other server takes too long";
                    return Err(Error::Closed(text.into()));
                }
                None => return Ok(connecting),
            }
        };
        if !request.rfile.buffer().is_empty() {
            match other.try_send(request.rfile.buffer()) {
                Ok(()) => drop(request.rfile.take_all()),
                Err(TrySendError::Full(_)) => {
                    other.wake_when_empty(&request.waker());
                    return Ok(paused);
                }
                Err(TrySendError::Disconnected(_)) => return Ok(Next::Close),
            }
        }
        if !request.rfile.is_eof() {
            return Ok(Wait::new().outlasts_shutdown().into());
        }
        if !std::mem::replace(&mut self.has_passed_eof, true) {
            other.shutdown_write();
            self.mine().lock().has_passed_eof = true;
            self.wake_other();
        }
        Ok(if other_has_passed_eof {
            Next::Close
        } else {
            paused
        })
    }

    fn connect_failed(&mut self, error: &Error) {
        let client = self.other().lock().reach.clone();
        if let Some((_, waker)) = client {
            waker.close(error.to_string());
        }
    }

    fn speaks_first(&self) -> bool {
        true
    }
}

impl Half {
    fn state_of(&self, side: Side) -> &Mutex<HalfState> {
        match side {
            Side::Client => &self.pair.client,
            Side::Upstream => &self.pair.upstream,
        }
    }

    fn mine(&self) -> &Mutex<HalfState> {
        self.state_of(self.me)
    }

    fn other(&self) -> &Mutex<HalfState> {
        self.state_of(match self.me {
            Side::Client => Side::Upstream,
            Side::Upstream => Side::Client,
        })
    }

    fn wake_other(&self) {
        let reach = self.other().lock().reach.clone();
        if let Some((_, waker)) = reach {
            waker.wake();
        }
    }
}

impl Drop for Half {
    /// Whatever ended this connection, the other one is of no use any more.
    fn drop(&mut self) {
        self.mine().lock().is_over = true;
        self.wake_other();
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}
