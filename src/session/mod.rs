//! The life of one connection.
//!
//! A [`Session`] never sleeps by itself. [`advance`](Session::advance) does what can be done now
//! and returns what the connection waits for. The holder of the session parks it in the poller (the
//! pool), sleeps (a thread of its own), or feeds it by hand (a test). So every concurrency model,
//! and every test, runs the same life.
//!
//! ```text
//!   accepted, or made by the program              refused at the limit of connections
//!      │                                                        │
//!      ├── adopted ──► Setup                                    │
//!      ├── connecting ──► Connecting ──► Setup                  │
//!      ├── from a trusted proxy ──► ProxyHeader                 │
//!      │                                 │                      │
//!      └───────────────► Verify ◄────────┘                      │
//!                          │   └── verify_request says no ──────┤
//!         ┌── TLS or clear ┼── TLS ──┐                          │
//!         ▼                │         ▼                          │
//!     FirstByte ───────────┼──► Handshake ◄──── start_tls ─┐    │
//!         │ clear          │ clear   │ └──── Done ───────┐ │    │
//!         └───────────► Setup ◄──────┘                   │ │    │
//!                          │ the handler is made; `setup`│ │    │
//!                          ▼                             ▼ │    │
//!   wait for input ◄──► Serving ◄──► wait for output ◄─────┘    │
//!                          │ Close, end of file, error,         │
//!                          │ deadline, shutdown                 │
//!                          ▼                                    │
//!                      Finishing   output is sent, `finish`     │
//!                          ▼                                    │
//!                       Flushing   output of `finish`,          │
//!                          │       close_notify, FIN            │
//!                          ▼                                    │
//!                      Lingering   unread input is dropped ◄────┘
//!                          │       until the peer closes or has everything
//!                          ▼
//!                         Over
//! ```
//!
//! A connection that fails before `setup` has succeeded has no handler to finish: it goes to
//! `Flushing` at once, so that a TLS alert still arrives. A refused connection has sent its answer
//! and goes to `Lingering`. A connection whose peer has disconnected goes from `Finishing` to
//! `Over`.

mod closing;
mod deadlines;
mod opening;
mod serving;
mod waiting;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::address::{ClientAddress, Networks};
use crate::buffer::{RFile, RFileSettings};
use crate::config::Timeouts;
use crate::error::{Error, Result, panic_message};
use crate::handle::{Admission, Core, Origin, OriginInterrupt, RefusalSlot, ServerHandle};
use crate::handler::StreamRequestHandler;
use crate::poller::Interest;
use crate::reach::Link;
use crate::request::{Cause, StreamRequest};
use crate::stats::Stats;
use crate::tls::Tls;
use crate::transport::Transport;
use closing::Lingering;
use serving::Serving;

/// Makes the handler of a connection.
pub(crate) type StreamClass =
    Box<dyn Fn(&ClientAddress) -> Box<dyn StreamRequestHandler> + Send + Sync>;

/// What all connections of a server share.
pub(crate) struct StreamService {
    pub(crate) class: StreamClass,
    pub(crate) tls: Option<Tls>,
    /// With TLS: whether a client that does not use TLS is served too.
    pub(crate) plaintext: bool,
    /// Peers that must send a PROXY header.
    pub(crate) proxies: Option<Networks>,
    /// `None` for the listening sockets that the server was made with.
    pub(crate) origin: Option<Arc<Origin>>,
}

/// What a connection needs before it can continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The socket must become readable or writable, or the time must pass.
    Wait {
        writing: bool,
        until: Option<Instant>,
    },
    /// It could continue immediately, but others must be served first.
    Yield,
    /// Nothing: it is over, and may be dropped.
    Over,
}

/// Where a connection is in its life; see the drawing above.
#[derive(Debug)]
enum SessionState {
    Connecting,
    ProxyHeader,
    Verify,
    FirstByte,
    Handshake,
    Setup,
    Serving(Serving),
    Finishing,
    Flushing,
    Lingering(Lingering),
    Over,
}

/// Why a connection waits. This decides what its deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitReason {
    /// For the peer to accept a connection that the program makes.
    Connect,
    /// For a PROXY header.
    ProxyHeader,
    /// For the first byte, or for more of a TLS handshake.
    Handshake,
    /// For the first byte of a message, or for the time that the handler asked for.
    Idle,
    /// For the rest of a message.
    Message,
    /// For a time within a message: the handler is working, and awaits no bytes.
    Work,
    /// For the peer to read.
    Output,
    /// For the peer to close.
    Close,
}

pub(crate) struct Session {
    request: StreamRequest,
    service: Arc<StreamService>,
    /// From a successful `setup` until `finish` was called.
    handler: Option<Box<dyn StreamRequestHandler>>,
    admission: Option<Admission>,
    /// Counts this refusal among those that linger, whose number is limited.
    refusal_slot: Option<RefusalSlot>,
    state: SessionState,
    waiting: WaitReason,
    /// What the poller watches the socket for; `None` while it is not registered.
    watched: Option<Interest>,
    accepted_at: Instant,
    /// When the connection became ready to be served, for the statistics.
    pub(crate) ready_at: Instant,
    /// The first error. It is reported once `finish` was called, as in Python.
    failure: Option<Box<Error>>,
    /// What is written and not sent comes from an outbox, not from this connection's handler.
    output_is_of_others: bool,
    /// `connection_opened` was called, and `connection_closed` was not.
    is_open: bool,
    /// The peer has disconnected or reads nothing more, so nothing is left to send or to wait for.
    peer_is_lost: bool,
}

impl Session {
    /// A connection that was just accepted.
    pub(crate) fn new(
        transport: Transport,
        client: ClientAddress,
        service: &Arc<StreamService>,
        core: &Arc<Core>,
    ) -> Session {
        let now = core.config.clock.now();
        let trusted = service.proxies.as_ref();
        let proxied = trusted.is_some_and(|trusted| trusted.contains(&client));
        let transport = Arc::new(transport);
        let (rfile, wfile) = RFile::pair(RFileSettings {
            transport: &transport,
            server: match &service.origin {
                Some(origin) => OriginInterrupt::new(core, origin),
                None => Arc::clone(core) as _,
            },
            timeouts: core.timeouts(service.origin.as_ref()),
            limits: core.limits(service.origin.as_ref()),
        });
        Session {
            request: StreamRequest {
                client_address: client,
                rfile,
                wfile,
                server: ServerHandle(Arc::clone(core)),
                transport,
                server_address: None,
                linger: false,
                has_ended: false,
                identity: None,
                origin: service.origin.clone(),
                cause: Cause::default(),
                key: usize::MAX,
                starting_tls: None,
            },
            service: Arc::clone(service),
            handler: None,
            admission: None,
            refusal_slot: None,
            state: if proxied {
                SessionState::ProxyHeader
            } else {
                SessionState::Verify
            },
            waiting: WaitReason::ProxyHeader,
            watched: None,
            accepted_at: now,
            ready_at: now,
            failure: None,
            output_is_of_others: false,
            is_open: false,
            peer_is_lost: false,
        }
    }

    /// This connection was made by the program: the checks of clients do not apply. If it is still
    /// connecting, it waits for that first.
    pub(crate) fn begin_adopted(&mut self, is_connecting: bool) {
        self.state = if is_connecting {
            SessionState::Connecting
        } else {
            SessionState::Setup
        };
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.request.server.0
    }

    /// Where it comes from, if that is not a listening socket that the server was made with.
    pub(crate) fn origin(&self) -> Option<&Arc<Origin>> {
        self.request.origin.as_ref()
    }

    /// Whether this connection may begin another message.
    pub(crate) fn is_serving(&self) -> bool {
        self.core().is_serving_for(self.origin())
    }

    fn timeouts(&self) -> &Timeouts {
        self.core().timeouts(self.origin())
    }

    /// Counts something, for the server and for the service.
    pub(crate) fn count(&self, count: impl Fn(&Stats)) {
        self.core().count(self.origin(), count);
    }

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.request.transport
    }

    pub(crate) fn client_address(&self) -> &ClientAddress {
        &self.request.client_address
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Instant {
        self.core().config.clock.now()
    }

    /// When the connection was last served.
    pub(crate) fn last_served_at(&self) -> Instant {
        self.ready_at
    }

    /// When the message that is under way began; without one, when the connection was accepted.
    pub(crate) fn since(&self) -> Instant {
        match &self.state {
            SessionState::Serving(serving) => serving.message_since(),
            _ => None,
        }
        .unwrap_or(self.accepted_at)
    }

    /// The engine knows this connection by `key`.
    pub(crate) fn set_key(&mut self, key: usize) {
        self.request.key = key;
    }

    /// How others reach this connection, if its handler has asked for that.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.request.transport.link()
    }

    pub(crate) fn watched(&self) -> Option<Interest> {
        self.watched
    }

    pub(crate) fn set_watched(&mut self, watched: Option<Interest>) {
        self.watched = watched;
    }

    pub(crate) fn admitted(&mut self, admission: Admission) {
        self.admission = Some(admission);
    }

    /// The system refused something that the connection needs: brings it to its end.
    pub(crate) fn fail_now(&mut self, error: Error, now: Instant) -> Step {
        self.fail(error);
        self.advance(now)
    }

    /// Gives up on a connection that cannot be waited for.
    pub(crate) fn abandon(&mut self) {
        self.state = SessionState::Over;
    }

    /// Whether the client's address is known from the beginning: no PROXY header gives another one.
    pub(crate) fn knows_client_address(&self) -> bool {
        !matches!(self.state, SessionState::ProxyHeader)
    }

    /// The place in the counts, for a holder that outlives this value.
    pub(crate) fn take_admission(&mut self) -> Option<Admission> {
        self.admission.take()
    }

    /// Whether advancing or expiring this session now may run code of the user: the class, the
    /// handler, or `verify_request`. A step without it is quick and needs no worker.
    pub(crate) fn calls_handler(&self) -> bool {
        match self.state {
            SessionState::Connecting
            | SessionState::ProxyHeader
            | SessionState::Verify
            | SessionState::FirstByte
            | SessionState::Handshake
            | SessionState::Setup
            | SessionState::Serving(_)
            | SessionState::Finishing => true,
            SessionState::Flushing => self.failure.is_some(),
            SessionState::Lingering(_) | SessionState::Over => false,
        }
    }

    /// Does everything that is possible without waiting. Never panics: a handler's panic ends only
    /// its own connection.
    pub(crate) fn advance(&mut self, now: Instant) -> Step {
        let _handler = self.core().enter_handler();
        let mut now = now;
        let mut calls = 0;
        loop {
            match self.step(&mut now, &mut calls) {
                Ok(Some(step)) => return step,
                Ok(None) => {}
                Err(error) => self.fail(error),
            }
        }
    }

    /// One step; `None` means that another can follow at once. `calls` counts the calls of `handle`
    /// in this turn.
    fn step(&mut self, now: &mut Instant, calls: &mut u32) -> Result<Option<Step>> {
        if let Some(link) = self.request.transport.link()
            && let Some(reason) = link.take_close()
        {
            if link.is_abort() {
                link.discard();
                self.request.wfile.discard();
            }
            return Err(Error::Closed(reason));
        }
        match self.state {
            SessionState::Connecting => self.connect(),
            SessionState::ProxyHeader => self.read_proxy_header(),
            SessionState::Verify => self.verify(),
            SessionState::FirstByte => self.look_at_first_byte(),
            SessionState::Handshake => self.handshake(),
            SessionState::Setup => self.setup(),
            SessionState::Serving(_) => self.serve(now, calls),
            SessionState::Finishing => self.finish(*now),
            SessionState::Flushing => self.end_output(*now),
            SessionState::Lingering(_) => self.linger(*now),
            SessionState::Over => Ok(Some(self.end())),
        }
    }

    /// Whether the checks of clients are not over yet.
    fn is_unverified(&self) -> bool {
        matches!(self.state, SessionState::ProxyHeader | SessionState::Verify)
    }

    /// Calls the user's code. Its panic is an error like any other.
    fn guard<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(call))
            .unwrap_or_else(|panic| Err(Error::Panicked(panic_message(&*panic))))
    }

    /// Drops the handler. A panic of its `drop` ends neither the thread nor the server.
    fn drop_handler(&mut self, handler: Box<dyn StreamRequestHandler>) {
        if let Err(error) = Session::guard(|| {
            drop(handler);
            Ok(())
        }) {
            self.note_failure(error);
        }
    }
}
