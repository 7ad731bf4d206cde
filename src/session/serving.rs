//! Between `setup` and `finish`: calls `handle`, and waits for what it asked for.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::{Session, SessionState, Step, WaitReason};
use crate::buffer::{Drain, Fill};
use crate::clock::deadline;
use crate::error::Result;
use crate::handler::{Next, Wait};
use crate::reach::Signals;
use crate::request::Cause;
use crate::stats::Stats;

/// After this many calls of `handle` in one turn, a busy connection goes behind the others that are
/// ready. Otherwise a client that pipelines would delay them (puma/puma#3487).
const CALLS_PER_TURN: u32 = 32;

/// A call longer than this uses up the connection's whole turn.
const MAX_CALL_IN_TURN: Duration = Duration::from_millis(10);

/// After this many full buffers of the outbox in one turn, other connections come first.
const OUTBOX_ROUNDS_PER_TURN: u32 = 32;

/// A connection that has its handler.
#[derive(Debug)]
pub(super) struct Serving {
    /// `handle` must be called: something has happened since its last call.
    handle_due: bool,
    /// `handle` was called with the end of file.
    eof_reported: bool,
    /// The last call of `handle` said that a message is under way.
    in_message: bool,
    /// The last call of `handle` asked for a time.
    is_timed: bool,
    /// The last call of `handle` asked that nothing is read.
    is_paused: bool,
    /// The last call of `handle` asked that a shutdown does not end the wait.
    outlasts_shutdown: bool,
    /// When `handle` must be called even if nothing comes; `None` is never.
    alarm: Option<Instant>,
    /// `handle` was called during the shutdown: no further message is begun.
    served_last: bool,
    /// When the message that is under way began.
    message_since: Option<Instant>,
}

impl Serving {
    pub(super) fn new(handle_due: bool) -> Serving {
        Serving {
            handle_due,
            eof_reported: false,
            in_message: false,
            is_timed: false,
            is_paused: false,
            outlasts_shutdown: false,
            alarm: None,
            served_last: false,
            message_since: None,
        }
    }

    /// Whether the last call of `handle` asked that nothing is read, or has left no room.
    pub(super) fn reads_nothing(&self, is_full: bool) -> bool {
        self.is_paused || self.is_timed && is_full
    }

    /// Makes `handle` due because of a shutdown. False if it was called during the shutdown.
    pub(super) fn announce_shutdown(&mut self) -> bool {
        self.handle_due |= !self.served_last;
        !self.served_last
    }

    /// Whether a shutdown does not end its wait for the first byte of a message.
    pub(super) fn outlasts_shutdown(&self) -> bool {
        self.outlasts_shutdown
    }

    pub(super) fn message_since(&self) -> Option<Instant> {
        self.message_since
    }

    /// Whether the time that the handler asked for has passed; if so, `handle` is due.
    pub(super) fn alarm_rings(&mut self, now: Instant) -> bool {
        let rings = self.alarm_is_due(now);
        self.handle_due |= rings;
        rings
    }

    pub(super) fn alarm_is_due(&self, now: Instant) -> bool {
        self.alarm.is_some_and(|at| at <= now)
    }
}

impl Session {
    /// Sends what is written, reads what has come, and calls `handle` if there is a reason.
    pub(super) fn serve(&mut self, now: &mut Instant, calls: &mut u32) -> Result<Option<Step>> {
        if self.peer_is_lost {
            self.state = SessionState::Finishing;
            return Ok(None);
        }
        if self.waiting == WaitReason::Output {
            self.request.wfile.resume(self.ready_at);
        }
        // Output of others holds up neither the client's input nor its handler.
        let pending = self.send_all_output(*now)?;
        let starts_tls = self.request.starting_tls.is_some();
        if pending.is_some() && (starts_tls || !self.output_is_of_others) {
            return Ok(pending);
        }
        if let Some(tls) = self.request.starting_tls.take() {
            // The head timeout of the handshake counts from here.
            self.accepted_at = *now;
            self.start_tls(&tls, &[])?;
            return Ok(None);
        }
        let SessionState::Serving(serving) = &mut self.state else {
            return Ok(None);
        };
        if let Some(link) = self.request.transport.link()
            && link.take(Signals::WAKE)
        {
            serving.handle_due = true;
            self.request.cause.is_woken = true;
        }
        // Read before the socket. The holder of the connection is told of a later shutdown, so
        // bytes that arrive between the two reads are not overlooked.
        let (core, origin) = (&self.request.server.0, self.request.origin.as_ref());
        let is_serving = core.is_serving_for(origin);
        let rfile = &mut self.request.rfile;
        rfile.pace().resume(self.ready_at);
        // A handler that waits for a time takes no bytes meanwhile: what it has no room for stays
        // with the peer.
        let has_no_room = serving.reads_nothing(rfile.is_full());
        let goes_on = serving.in_message || serving.outlasts_shutdown;
        let is_last = serving.served_last && !goes_on && rfile.buffer().is_empty();
        if !serving.handle_due && (has_no_room || is_last) {
            return Ok(self.wait_for_more(*now, is_serving, pending));
        }
        if !serving.handle_due {
            match rfile.fill()? {
                Fill::More => serving.handle_due = true,
                Fill::Eof if !serving.eof_reported => serving.handle_due = true,
                Fill::Eof | Fill::Nothing => {
                    return Ok(self.wait_for_more(*now, is_serving, pending));
                }
            }
        }
        if *calls == CALLS_PER_TURN {
            return Ok(Some(Step::Yield));
        }
        *calls += 1;
        let unsent = self.unsent_of_others();
        let took = self.call_handle(now)?;
        // What the handler has written itself must be taken before its next call.
        self.output_is_of_others &= self.unsent_of_others() == unsent;
        if took >= MAX_CALL_IN_TURN {
            *calls = CALLS_PER_TURN;
        }
        Ok(None)
    }

    /// How much is written and not sent, if all of it is output of others.
    fn unsent_of_others(&self) -> Option<u64> {
        self.output_is_of_others
            .then(|| self.request.wfile.bytes_unsent())
    }

    /// Waits for input, and for the peer to take the output of others if some is `pending`.
    fn wait_for_more(
        &mut self,
        now: Instant,
        is_serving: bool,
        pending: Option<Step>,
    ) -> Option<Step> {
        let step = self.wait_for_input(now, is_serving)?;
        let Some(Step::Wait { writing, until }) = pending else {
            return Some(pending.unwrap_or(step));
        };
        self.waiting = WaitReason::Output;
        let alarm = match &self.state {
            SessionState::Serving(serving) => serving.alarm,
            _ => None,
        };
        Some(Step::Wait {
            writing,
            until: until.into_iter().chain(alarm).min(),
        })
    }

    /// Calls `handle`, and notes what it waits for. Returns how long that took.
    fn call_handle(&mut self, now: &mut Instant) -> Result<Duration> {
        let (SessionState::Serving(serving), Some(handler)) = (&mut self.state, &mut self.handler)
        else {
            return Ok(Duration::ZERO);
        };
        let request = &mut self.request;
        self.waiting = WaitReason::Message;
        serving.message_since.get_or_insert(*now);
        serving.eof_reported = request.rfile.is_eof();
        serving.handle_due = false;
        serving.served_last = !request.server.0.is_serving_for(request.origin.as_ref());
        let in_message = serving.in_message || !request.rfile.buffer().is_empty();
        request.rfile.set_in_message(in_message);
        let taken = request.rfile.bytes_taken();
        request.cause.is_due = serving.alarm_is_due(*now);
        request.cause.is_shutdown = serving.served_last;
        let next = Session::guard(|| handler.handle(request));
        request.cause = Cause::default();
        let begun = std::mem::replace(now, request.server.clock().now());
        let waited = begun.saturating_duration_since(self.ready_at);
        let took = now.saturating_duration_since(begun);
        let origin = request.origin.as_ref();
        let count = |stats: &Stats| stats.handled(waited, took);
        request.server.0.count(origin, count);
        self.ready_at = *now;
        let (wait, again) = match next? {
            Next::Close => {
                self.state = SessionState::Finishing;
                return Ok(took);
            }
            Next::Wait => (Wait::new(), false),
            Next::WaitFor(wait) => (wait, false),
            Next::Again => (Wait::new().in_message(), true),
        };
        serving.in_message = wait.in_message;
        serving.is_timed = wait.after.is_some();
        serving.is_paused = wait.is_paused;
        serving.outlasts_shutdown = wait.outlasts_shutdown;
        serving.alarm = deadline(*now, wait.after);
        let progress = request.rfile.bytes_taken() > taken;
        // Bytes are left and the handler took some: the rest may be a whole message. A handler that
        // took nothing needs more bytes.
        let may_go_on = progress && !wait.is_paused;
        serving.handle_due = again || (may_go_on && !request.rfile.buffer().is_empty());
        if progress {
            serving.message_since = None;
            // A message that the handler takes piece by piece is one message to the minimum rate.
            if !wait.in_message {
                request.rfile.pace().reset();
            }
        }
        Ok(took)
    }

    /// Decides how long to wait for input. `None` if nothing can come, or nothing more is served:
    /// then the connection finishes.
    fn wait_for_input(&mut self, now: Instant, is_serving: bool) -> Option<Step> {
        let (head_timeout, idle_timeout) = {
            let timeouts = self.timeouts();
            (timeouts.head, timeouts.idle)
        };
        let SessionState::Serving(serving) = &mut self.state else {
            return None;
        };
        let request = &mut self.request;
        let unread = !request.rfile.buffer().is_empty();
        let in_message = serving.in_message || serving.is_paused || unread;
        let waits_for_more = serving.in_message || serving.is_timed || serving.is_paused;
        let may_wait = is_serving || in_message || serving.outlasts_shutdown;
        if request.rfile.is_eof() && !waits_for_more || !may_wait {
            self.state = SessionState::Finishing;
            return None;
        }
        serving.message_since = match serving.message_since {
            since if in_message => since.or(Some(now)),
            _ => None,
        };
        let until = if !in_message {
            self.waiting = WaitReason::Idle;
            if serving.is_timed {
                serving.alarm
            } else {
                deadline(now, idle_timeout)
            }
        } else if serving.is_paused || serving.in_message && serving.is_timed {
            self.waiting = WaitReason::Work;
            serving.alarm
        } else {
            self.waiting = WaitReason::Message;
            let head = if serving.in_message {
                None
            } else {
                deadline(serving.message_since.unwrap_or(now), head_timeout)
            };
            let pace = request.rfile.pace().block(now);
            pace.into_iter().chain(head).chain(serving.alarm).min()
        };
        request.rfile.release_buffer();
        Some(Step::Wait {
            writing: false,
            until,
        })
    }

    /// When the message that is under way must be whole; a message that the handler keeps in flight
    /// has no such limit.
    pub(super) fn head_deadline(&self) -> Option<Instant> {
        match &self.state {
            SessionState::Serving(serving) if !serving.in_message => {
                deadline(serving.message_since?, self.timeouts().head)
            }
            _ => None,
        }
    }

    /// Sends what is written, and then what others have left in the outbox. Returns a step if the
    /// peer must take some of it first, or if other connections come first.
    #[inline]
    pub(super) fn send_all_output(&mut self, now: Instant) -> Result<Option<Step>> {
        if self.request.transport.link().is_some() {
            self.send_output_and_outbox(now)
        } else if self.request.wfile.is_drained() {
            // Most turns begin so: a request has arrived, and nothing is to be sent.
            Ok(None)
        } else {
            self.send_output(now)
        }
    }

    fn send_output_and_outbox(&mut self, now: Instant) -> Result<Option<Step>> {
        if let Some(step) = self.send_output(now)? {
            return Ok(Some(step));
        }
        self.output_is_of_others = false;
        for _ in 0..OUTBOX_ROUNDS_PER_TURN {
            let Some(link) = self.request.transport.link() else {
                return Ok(None);
            };
            // Taken before the output is gathered: what is left later gives the signal again.
            link.take(Signals::OUTPUT);
            if !self.request.wfile.gather(link)? {
                let ends = link.note_sent();
                self.output_is_of_others = ends;
                if !ends {
                    return Ok(None);
                }
                // Under TLS, `close_notify` must fit before the end.
                self.request.wfile.end();
                if let Some(step) = self.send_output(now)? {
                    return Ok(Some(step));
                }
                self.output_is_of_others = false;
                // Noted even if the shutdown fails: otherwise it would be tried again and again.
                if let Some(link) = self.request.transport.link() {
                    link.note_shut_down();
                }
                self.request.transport.shutdown(Shutdown::Write)?;
                return Ok(None);
            }
            self.output_is_of_others = true;
            if let Some(step) = self.send_output(now)? {
                return Ok(Some(step));
            }
        }
        Ok(Some(Step::Yield))
    }

    /// Sends what is written. Returns a step if the peer must take some of it first, or if other
    /// connections come first.
    pub(super) fn send_output(&mut self, now: Instant) -> Result<Option<Step>> {
        match self.request.wfile.drain() {
            Ok(Drain::Done) => return Ok(None),
            Ok(Drain::Partial) => return Ok(Some(Step::Yield)),
            Ok(Drain::Blocked) => {}
            Err(error) => {
                // What follows could be taken for the rest of the answer.
                self.request.wfile.discard();
                self.peer_is_lost = true;
                return Err(error.into());
            }
        }
        self.waiting = WaitReason::Output;
        Ok(Some(Step::Wait {
            writing: true,
            until: self.request.wfile.block(now),
        }))
    }
}
