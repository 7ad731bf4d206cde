//! Two connections that carry each other's bytes.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::address::{Address, ToAddress};
use crate::error::{Error, Result};
use crate::handler::{Next, StreamRequestHandler, Wait};
use crate::reach::{Outbox, Waker};
use crate::request::StreamRequest;
use crate::sys::SplicePipe;
use crate::transport::Transport;

/// A handler that connects each client to another server and carries the bytes of both, like
/// HAProxy's `mode tcp`.
///
/// Neither connection holds a thread while it waits. A side that does not read stops the other one
/// from sending. When one side ends its output, the other side gets the end of file and may go on
/// sending. The connection ends when both have ended, or when one fails.
///
/// A shutdown of the server lets open pairs go on in both directions, as HAProxy and nginx do:
/// until both sides have ended, or the grace time is over.
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
    /// The address, or the reason why it is not valid.
    upstream: std::result::Result<Address, String>,
    half: Half,
}

/// Bytes that may wait for a side that does not read. The systems' buffers hold more.
const CAPACITY: usize = 64 * 1024;

/// A side that has sent this many bytes at once probably sends more. These pass through a pipe,
/// without a copy.
const MIN_SPLICE: usize = 16 * 1024;

/// How often within its idle timeout a connection is woken that only receives. Otherwise it would
/// expire.
const WAKES_PER_IDLE_TIMEOUT: u32 = 4;

/// Bytes that one turn moves through a pipe before other connections are served.
const SPLICED_PER_TURN: usize = 2 << 20;

/// How long a client waits for the connection to the other server. Longer than the head timeout,
/// which usually ends it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// One of the two connections.
struct Half {
    pair: Arc<Pair>,
    me: Side,
    /// The end of file was passed on.
    has_passed_eof: bool,
    /// The last read was large, so more bytes will probably follow.
    is_bulk: bool,
    /// When the other connection was last kept from expiring.
    kept_alive_at: Option<Instant>,
}

/// How to reach one of the two connections.
///
/// A half writes to the socket of the other one itself, as long as that one has nothing else to
/// send and takes the bytes. So a message needs no second turn of a thread. What the peer does not
/// take goes into the outbox, and then the connection sends it as always: with its deadline, and
/// without a thread. Until that is done, nothing else is written or read.
struct Reach {
    outbox: Outbox,
    waker: Waker,
    transport: Arc<Transport>,
    idle_timeout: Option<Duration>,
}

/// What became of bytes for the other side.
enum Forwarded {
    All,
    /// The other side must read first. This one is woken then.
    Blocked,
    /// The other side has gone.
    Gone,
    /// There is more, but other connections come first.
    More,
}

/// What both halves share.
#[derive(Default)]
struct Pair {
    client: Mutex<HalfState>,
    upstream: Mutex<HalfState>,
}

#[derive(Default)]
struct HalfState {
    reach: Option<Arc<Reach>>,
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
    /// Forwards to the server at this address, which has the forms that
    /// [`ServerHandle::connect`](crate::ServerHandle::connect) takes. If it is not valid, each
    /// connection ends with the error.
    pub fn to(upstream: impl ToAddress) -> Forwarder {
        Forwarder {
            upstream: upstream.to_address().map_err(|error| error.to_string()),
            half: Half::new(Arc::default(), Side::Client),
        }
    }
}

impl StreamRequestHandler for Forwarder {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        // Again, for a handler that wraps this one.
        request.server.0.check_concurrency()?;
        let address = self.upstream.clone().map_err(Error::Address)?;
        self.half.setup(request)?;
        let upstream = Half::new(Arc::clone(&self.half.pair), Side::Upstream);
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
        let reach = Reach {
            outbox: request.outbox(CAPACITY),
            waker: request.waker(),
            transport: Arc::clone(&request.transport),
            idle_timeout: request.server.0.timeouts(request.origin.as_ref()).idle,
        };
        self.mine().lock().reach = Some(Arc::new(reach));
        self.kept_alive_at = Some(request.server.0.config.clock.now());
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
                Some(reach) => (Arc::clone(reach), other.has_passed_eof),
                // Still connecting: nothing of the client's was taken yet.
                None if request.cause().is_shutdown() => return Ok(Next::Close),
                None if request.cause().is_due() => {
                    let text = "the connection to the other server takes too long";
                    return Err(Error::Closed(text.into()));
                }
                None => return Ok(connecting),
            }
        };
        match self.forward(request, &other)? {
            Forwarded::All => {}
            Forwarded::Blocked => return Ok(paused),
            Forwarded::Gone => return Ok(Next::Close),
            Forwarded::More => return Ok(Next::Again),
        }
        if !request.rfile.is_eof() {
            return Ok(Wait::new().outlasts_shutdown().into());
        }
        if !std::mem::replace(&mut self.has_passed_eof, true) {
            other.outbox.shutdown_write();
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
        if let Some(client) = client {
            client.waker.close(error.to_string());
        }
    }

    fn speaks_first(&self) -> bool {
        true
    }
}

impl Half {
    fn new(pair: Arc<Pair>, me: Side) -> Half {
        Half {
            pair,
            me,
            has_passed_eof: false,
            is_bulk: false,
            kept_alive_at: None,
        }
    }

    /// Passes on what has come.
    fn forward(&mut self, request: &mut StreamRequest, other: &Reach) -> Result<Forwarded> {
        match other.outbox.is_sent() {
            Some(true) => {}
            Some(false) => {
                other.outbox.wake_when_empty(&request.waker());
                return Ok(Forwarded::Blocked);
            }
            None => return Ok(Forwarded::Gone),
        }
        let bytes = request.rfile.buffer();
        if !bytes.is_empty() {
            self.is_bulk = bytes.len() >= MIN_SPLICE;
            let written = match other.write(bytes) {
                Ok(count) => count,
                Err(_) => return Ok(Forwarded::Gone),
            };
            let left = &bytes[written..];
            let put = left.len().min(CAPACITY);
            if put > 0 && other.outbox.try_send(&left[..put]).is_err() {
                return Ok(Forwarded::Gone);
            }
            request.rfile.take_exact(written + put);
            self.keep_other_alive(request, other);
            if put > 0 {
                other.outbox.wake_when_empty(&request.waker());
                return Ok(Forwarded::Blocked);
            }
        }
        if self.is_bulk && !request.rfile.is_eof() {
            return Ok(self.splice(request, other));
        }
        Ok(Forwarded::All)
    }

    /// Moves what comes from one socket to the other through a pipe, which exists only as long as
    /// there are bytes in it.
    fn splice(&mut self, request: &mut StreamRequest, other: &Reach) -> Forwarded {
        self.is_bulk = false;
        if !request.transport.can_splice() || !other.transport.can_splice() {
            return Forwarded::All;
        }
        // Without a pipe, such as at the limit of descriptors, the bytes are copied.
        let Ok(mut pipe) = SplicePipe::new() else {
            return Forwarded::All;
        };
        let mut moved = 0;
        while moved < SPLICED_PER_TURN {
            match request.transport.splice_from(&mut pipe) {
                Ok(count @ 1..) => moved += count,
                // Nothing more has come, or the end or an error, which the next read finds.
                Ok(0) | Err(_) => {
                    request.rfile.look_again();
                    return Forwarded::All;
                }
            }
            self.is_bulk = true;
            self.keep_other_alive(request, other);
            while pipe.len() > 0 {
                match other.transport.splice_to(&mut pipe) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        other.outbox.leave_pipe(Box::new(pipe));
                        other.outbox.wake_when_empty(&request.waker());
                        return Forwarded::Blocked;
                    }
                    Ok(0) | Err(_) => return Forwarded::Gone,
                }
            }
        }
        Forwarded::More
    }

    /// Restarts the idle timeout of the other connection, whose own thread does not see what is
    /// written to it.
    fn keep_other_alive(&mut self, request: &StreamRequest, other: &Reach) {
        let Some(idle) = other.idle_timeout else {
            return;
        };
        let now = request.server.0.config.clock.now();
        let interval = idle / WAKES_PER_IDLE_TIMEOUT;
        if self
            .kept_alive_at
            .is_none_or(|at| now.saturating_duration_since(at) >= interval)
        {
            self.kept_alive_at = Some(now);
            other.waker.wake();
        }
    }

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
        let other = self.other().lock().reach.clone();
        if let Some(other) = other {
            other.waker.wake();
        }
    }
}

impl Drop for Half {
    /// Whatever ended this connection, the other one is of no use any more.
    fn drop(&mut self) {
        let reach = {
            let mut mine = self.mine().lock();
            mine.is_over = true;
            mine.reach.take()
        };
        // Not under the lock: it may be the last owner of the socket.
        drop(reach);
        self.wake_other();
    }
}

impl Reach {
    /// Writes what the peer takes now, if this thread may write. Everything that was left before is
    /// sent.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while self.transport.is_plain_socket() && written < bytes.len() {
            let left = [IoSlice::new(&bytes[written..])];
            match self.transport.write_vectored(&left) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}
