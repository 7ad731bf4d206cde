//! The life of one connection: PROXY header → `verify_request` → (first byte) → TLS handshake →
//! `setup` → [wait → `handle`]* → `finish` → close.
//!
//! A [`Session`] never sleeps by itself. [`advance`](Session::advance) does what can be done now
//! and says what the connection waits for; whoever holds it parks it in the poller (the pool),
//! sleeps (a thread of its own), or feeds it by hand (a test).

mod closing;
mod opening;

use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::{ClientAddress, Networks};
use crate::buffer::{Drain, Fill, RFile, WFile};
use crate::error::{Error, Result, Timeout, panic_message};
use crate::handle::{Admission, Core, RefusalSlot, ServerHandle};
use crate::handler::{Next, StreamRequestHandler};
use crate::pace::PaceViolation;
use crate::poller::Interest;
use crate::request::StreamRequest;
use crate::tls::Tls;
use crate::transport::Transport;

/// After so many messages in one go, a busy connection lets the others that are ready go first
/// (puma/puma#3487).
const MESSAGES_PER_TURN: u32 = 32;
/// A handler's call that takes so long is a go of its own.
const LONG_CALL: Duration = Duration::from_millis(10);

/// Makes the handler of a connection.
pub(crate) type StreamClass =
    Box<dyn Fn(&ClientAddress) -> Box<dyn StreamRequestHandler> + Send + Sync>;

/// What all connections of a server have in common.
pub(crate) struct StreamService {
    pub(crate) class: StreamClass,
    pub(crate) tls: Option<Tls>,
    /// With TLS: whether a client that speaks in the clear is served too.
    pub(crate) plaintext: bool,
    /// Peers that must send a PROXY header.
    pub(crate) proxies: Option<Networks>,
}

/// What a connection needs in order to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The socket must become readable or writable, or the moment must come.
    Wait {
        writing: bool,
        until: Option<Instant>,
    },
    /// It could go on at once, but others should be served first.
    Yield,
    /// Nothing: it is over, and may be dropped.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    Proxy,
    Verify,
    /// The first byte tells TLS from a client that speaks in the clear.
    FirstByte,
    Handshake,
    Serving,
    /// `handle` has been called for the last time; output goes out, then `finish` is called.
    Finishing,
    /// `finish` was called; its output goes out.
    Finished,
    /// Unread input is dropped until the peer closes.
    Lingering,
    Over,
}

/// Why a connection waits; decides what the passing of its deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitReason {
    ForHead,
    ForHandshake,
    Idle,
    ForRest,
    ToWrite,
    ToLinger,
}

pub(crate) struct Session {
    request: StreamRequest,
    service: Arc<StreamService>,
    handler: Option<Box<dyn StreamRequestHandler>>,
    admission: Option<Admission>,
    refusing: Option<RefusalSlot>,
    phase: SessionState,
    waiting: WaitReason,
    watched: Option<Interest>,
    /// When the connection, or the message that is under way, began.
    since: Instant,
    /// Since when it could be served, for the statistics.
    pub(crate) ready_at: Instant,
    within_message: bool,
    /// `handle` is due: something new has come since its last call.
    due: bool,
    told_eof: bool,
}

impl Session {
    /// A connection that was just accepted.
    pub(crate) fn new(
        transport: Transport,
        client: ClientAddress,
        service: &Arc<StreamService>,
        core: &Arc<Core>,
    ) -> Session {
        let now = core.clock.now();
        let proxied = service
            .proxies
            .as_ref()
            .is_some_and(|trusted| trusted.contains(&client));
        let transport = Arc::new(transport);
        let clock = &core.clock;
        Session {
            request: StreamRequest {
                client_address: client,
                rfile: RFile::new(
                    Arc::clone(&transport),
                    clock.clone(),
                    &core.timeouts,
                    &core.limits,
                ),
                wfile: WFile::new(Arc::clone(&transport), clock.clone(), &core.timeouts),
                server: ServerHandle(Arc::clone(core)),
                transport,
                server_address: None,
                alarm: None,
                in_message: false,
                again: false,
                linger: false,
                identity: None,
            },
            service: Arc::clone(service),
            handler: None,
            admission: None,
            refusing: None,
            phase: if proxied {
                SessionState::Proxy
            } else {
                SessionState::Verify
            },
            waiting: WaitReason::ForHead,
            watched: None,
            since: now,
            ready_at: now,
            within_message: false,
            due: false,
            told_eof: false,
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.request.server.0
    }

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.request.transport
    }

    pub(crate) fn client_address(&self) -> &ClientAddress {
        &self.request.client_address
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Instant {
        self.core().clock.now()
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// The poller saw that the socket is ready.
    pub(crate) fn note_readable(&mut self, maybe_eof: bool) {
        self.request.rfile.note_readable(maybe_eof);
    }

    /// What the poller watches the socket for; `None` while it isn't registered.
    pub(crate) fn watched(&self) -> Option<Interest> {
        self.watched
    }

    pub(crate) fn set_watched(&mut self, watched: Option<Interest>) {
        self.watched = watched;
    }

    /// Gives up on a connection that can't be waited for.
    pub(crate) fn abandon(&mut self) {
        self.phase = SessionState::Over;
    }

    /// Whether the client's address is known from the beginning: no PROXY header is to tell another
    /// one.
    pub(crate) fn knows_client_address(&self) -> bool {
        self.phase != SessionState::Proxy
    }

    /// Whether advancing or expiring this session now can run code of the user's handler or class.
    /// Where it cannot, the pool's leader does it.
    pub(crate) fn calls_handler(&self) -> bool {
        let phase_calls = !matches!(self.phase, SessionState::Lingering | SessionState::Over);
        phase_calls || self.handler.is_some()
    }

    /// Whether the passing of the deadline ends the connection. False if it is the handler's alarm.
    pub(crate) fn ends_when_expired(&self, now: Instant) -> bool {
        self.waiting == WaitReason::ToWrite || self.request.alarm.is_none_or(|at| at > now)
    }

    /// The place in the counts, for whoever outlives this value.
    pub(crate) fn take_admission(&mut self) -> Option<Admission> {
        self.admission.take()
    }

    /// Whether nothing of a message is under way: a shutdown closes such a connection at once.
    pub(crate) fn is_idle(&self) -> bool {
        match self.waiting {
            WaitReason::ForHead
            | WaitReason::ForHandshake
            | WaitReason::Idle
            | WaitReason::ToLinger => true,
            WaitReason::ForRest | WaitReason::ToWrite => false,
        }
    }

    /// Goes as far as it goes without waiting. Never panics: a handler's panic ends its connection
    /// only.
    pub(crate) fn advance(&mut self, now: Instant) -> Step {
        let mut now = now;
        let mut messages = 0;
        loop {
            match self.step(&mut now, &mut messages) {
                Ok(Some(step)) => return step,
                Ok(None) => {}
                Err(error) => self.fail(&error),
            }
        }
    }

    /// The moment named by [`Step::Wait`] has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Step {
        // Before the answer is out, an alarm can't be heard: its handler would be called too early,
        // and again and again.
        if self.waiting != WaitReason::ToWrite && self.request.alarm.is_some_and(|at| at <= now) {
            self.due = true;
            return self.advance(now);
        }
        let expiry = match self.waiting {
            WaitReason::ToLinger => return self.end(),
            WaitReason::ForHandshake => Some(Timeout::Handshake),
            WaitReason::ForHead => Some(Timeout::Head),
            WaitReason::Idle => Some(Timeout::Idle),
            WaitReason::ForRest if self.head_deadline().is_some_and(|at| at <= now) => {
                Some(Timeout::Head)
            }
            WaitReason::ForRest => {
                self.request
                    .rfile
                    .pace()
                    .check(now)
                    .err()
                    .map(|slow| match slow {
                        PaceViolation::Stalled => Timeout::Read,
                        PaceViolation::TooSlow => Timeout::TooSlow,
                    })
            }
            WaitReason::ToWrite => {
                self.request
                    .wfile
                    .pace()
                    .check(now)
                    .err()
                    .map(|slow| match slow {
                        PaceViolation::Stalled => Timeout::Write,
                        PaceViolation::TooSlow => Timeout::TooSlow,
                    })
            }
        };
        if let Some(what) = expiry {
            if self.waiting == WaitReason::ToWrite {
                self.request.wfile.discard();
            } else if let Some(handler) = &mut self.handler {
                // The last word of a handler that panics is none.
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    handler.on_timeout(&mut self.request, what)
                }));
            }
            self.fail(&Error::Timeout(what));
        }
        self.advance(now)
    }

    /// Ends an idle connection, as the server goes down.
    pub(crate) fn close_idle(&mut self) {
        if self.phase == SessionState::Serving {
            self.phase = SessionState::Finishing;
        } else {
            self.phase = SessionState::Over;
        }
        let now = self.core().clock.now();
        // Whatever can't go out at once is lost: nothing was in flight.
        let _ = self.advance(now);
    }

    /// One step; `None` means that another can follow at once.
    fn step(&mut self, now: &mut Instant, messages: &mut u32) -> Result<Option<Step>> {
        match self.phase {
            SessionState::Proxy => self.read_proxy_header(),
            SessionState::Verify => self.verify(),
            SessionState::FirstByte => self.look_at_first_byte(),
            SessionState::Handshake => self.handshake(),
            SessionState::Serving => self.serve(now, messages),
            SessionState::Finishing | SessionState::Finished => {
                if let Some(step) = self.drain(*now)? {
                    return Ok(Some(step));
                }
                self.finish()
            }
            SessionState::Lingering => self.linger(*now),
            SessionState::Over => Ok(Some(self.end())),
        }
    }

    fn serve(&mut self, now: &mut Instant, messages: &mut u32) -> Result<Option<Step>> {
        if self.request.wfile.has_unsent()
            && let Some(step) = self.drain(*now)?
        {
            return Ok(Some(step));
        }
        if !self.due {
            match self.request.rfile.fill()? {
                Fill::More => self.due = true,
                Fill::Eof if self.told_eof => {
                    self.phase = SessionState::Finishing;
                    return Ok(None);
                }
                Fill::Eof => self.due = true,
                Fill::Nothing if self.core().is_serving() || self.is_within_message() => {
                    return Ok(Some(self.wait_for_input(*now)));
                }
                Fill::Nothing => {
                    self.phase = SessionState::Finishing;
                    return Ok(None);
                }
            }
        }
        if *messages == MESSAGES_PER_TURN {
            return Ok(Some(Step::Yield));
        }
        *messages += 1;
        let begun = *now;
        self.call_handle(now)?;
        if now.saturating_duration_since(begun) >= LONG_CALL {
            *messages = MESSAGES_PER_TURN;
        }
        Ok(None)
    }

    fn call_handle(&mut self, now: &mut Instant) -> Result<()> {
        let Some(handler) = &mut self.handler else {
            self.phase = SessionState::Finishing;
            return Ok(());
        };
        let request = &mut self.request;
        if !self.within_message {
            self.since = *now;
        }
        (request.alarm, request.in_message, request.again) = (None, false, false);
        self.told_eof = request.rfile.is_eof();
        self.due = false;
        let taken = request.rfile.bytes_taken();
        let next = guard(|| handler.handle(request));
        let begun = std::mem::replace(now, request.server.clock().now());
        let waited = begun.saturating_duration_since(self.ready_at);
        request
            .server
            .0
            .stats
            .handled(waited, now.saturating_duration_since(begun));
        self.ready_at = *now;
        match next? {
            Next::Close => self.phase = SessionState::Finishing,
            Next::Wait => {
                let progress = request.rfile.bytes_taken() > taken;
                // Bytes are left and the handler gets on: they may be a whole message. Without
                // progress it needs more.
                self.due = request.again || (progress && !request.rfile.buffer().is_empty());
                if progress {
                    self.within_message = false;
                    // A message that the handler takes piece by piece is one message to the least
                    // rate.
                    if !request.in_message {
                        request.rfile.pace().reset();
                    }
                }
            }
        }
        Ok(())
    }

    fn is_within_message(&self) -> bool {
        self.request.in_message || !self.request.rfile.buffer().is_empty()
    }

    /// Parks, with the deadlines of what is awaited.
    fn wait_for_input(&mut self, now: Instant) -> Step {
        let timeouts = &self.request.server.0.timeouts;
        let mut until = if self.is_within_message() {
            self.waiting = WaitReason::ForRest;
            if !std::mem::replace(&mut self.within_message, true) {
                self.since = now;
            }
            let stall = self.request.rfile.pace().block(now);
            stall.into_iter().chain(self.head_deadline()).min()
        } else {
            self.waiting = WaitReason::Idle;
            self.within_message = false;
            timeouts.idle.map(|idle| now + idle)
        };
        if let Some(alarm) = self.request.alarm {
            let idle = self.waiting == WaitReason::Idle;
            until = if idle {
                Some(alarm)
            } else {
                until.into_iter().chain([alarm]).min()
            };
        }
        self.request.rfile.release_buffer();
        self.request.wfile.release_buffer();
        Step::Wait {
            writing: false,
            until,
        }
    }

    /// A message's head must be whole by then; a message that the handler keeps in flight has no
    /// such limit.
    fn head_deadline(&self) -> Option<Instant> {
        if self.request.in_message {
            None
        } else {
            self.head_deadline_from(self.since)
        }
    }

    fn head_deadline_from(&self, since: Instant) -> Option<Instant> {
        self.core().timeouts.head.map(|head| since + head)
    }

    /// Sends what is written; a step if the peer must take some of it first, or if it is others'
    /// turn.
    fn drain(&mut self, now: Instant) -> Result<Option<Step>> {
        match self
            .request
            .wfile
            .drain()
            .inspect_err(|_| self.request.wfile.discard())?
        {
            Drain::Done => return Ok(None),
            Drain::Partial => return Ok(Some(Step::Yield)),
            Drain::Blocked => {}
        }
        self.waiting = WaitReason::ToWrite;
        let until = self.request.wfile.pace().block(now);
        Ok(Some(Step::Wait {
            writing: true,
            until,
        }))
    }

    pub(crate) fn admitted(&mut self, admission: Admission) {
        self.admission = Some(admission);
    }

    fn end(&mut self) -> Step {
        self.phase = SessionState::Over;
        Step::Over
    }

    /// Ends the socket under a handler that is busy with it.
    pub(crate) fn abort(transport: &Transport) {
        // Fails only if the peer was faster.
        let _ = transport.shutdown(Shutdown::Both);
    }
}

/// Calls a handler; its panic is an error like any other.
fn guard<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(Error::Panicked(panic_message(&*panic))))
}
