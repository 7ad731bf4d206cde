//! How a connection ends: `finish`, the last output, the lingering close, failures and refusals.
//!
//! A socket that is closed while the peer still sends, or while input is unread, answers with a
//! reset, and the reset destroys what the peer has not read yet (RFC 9112 §9.6). So the server ends
//! its own side first, and drops what still comes, until the peer has closed, or has acknowledged
//! everything and sent nothing more.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::opening::HANDSHAKE_RECORD;
use super::{Session, SessionState, Step, WaitReason};
use crate::buffer::Fill;
use crate::clock::deadline;
use crate::error::{Error, Refusal, Result};
use crate::handle::RefusalSlot;
use crate::transport::Transport;

/// Reads of unread input in one turn.
const READS_PER_TURN: u32 = 64;

/// An acknowledgement may be delayed by 40 ms on Linux, by 200 ms elsewhere (RFC 9293 §3.8.6.3).
const MIN_LOOK_MILLIS: u16 = 50;
const MAX_LOOK_MILLIS: u16 = 2000;

/// A fatal alert record, `access_denied`, in the clear (RFC 8446 §6): the answer to a TLS client
/// that is refused before its handshake.
const TLS_ALERT: &[u8] = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 49];

/// A connection whose output has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lingering {
    /// When something last changed at the peer.
    since: Instant,
    /// Bytes that the peer had not acknowledged then; `None` where that is not known.
    unacknowledged: Option<u32>,
    /// The peer has sent, or may still send, bytes that the handler does not read. It must not get
    /// a reset.
    input_dropped: bool,
    /// How long to wait before the next look at the acknowledgements, in milliseconds: this is
    /// part of every connection's memory.
    next_look_millis: u16,
}

impl Lingering {
    fn new(now: Instant, input_dropped: bool) -> Lingering {
        Lingering {
            since: now,
            unacknowledged: None,
            input_dropped,
            next_look_millis: MIN_LOOK_MILLIS,
        }
    }
}

/// Whether the peer's system has the whole answer. The FIN counts as one byte, and may be on its
/// way: it arrives before a reset that is sent later.
pub(super) fn has_answer(unacknowledged: Option<u32>) -> bool {
    matches!(unacknowledged, Some(0 | 1))
}

/// The longer of two times, where `None` is without end.
fn longer(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    Some(one?.max(other?))
}

impl Session {
    /// Sends the output, then calls `finish`.
    pub(super) fn finish(&mut self, now: Instant) -> Result<Option<Step>> {
        if let Some(link) = self.link() {
            link.end();
            if self.peer_is_lost {
                link.discard();
            }
        }
        if self.peer_is_lost {
            self.request.wfile.discard();
        }
        if let Some(step) = self.send_all_output(now)? {
            return Ok(Some(step));
        }
        self.state = SessionState::Flushing;
        if let Some(mut handler) = self.handler.take() {
            let request = &mut self.request;
            request.has_ended = true;
            if let Err(error) = Session::guard(|| handler.finish(request)) {
                self.peer_is_lost |= error.is_disconnect();
                self.note_failure(error);
            }
            self.drop_handler(handler);
        }
        Ok(None)
    }

    /// Sends the output of `finish` and, under TLS, `close_notify`; then ends the server's side.
    pub(super) fn end_output(&mut self, now: Instant) -> Result<Option<Step>> {
        self.report_failure();
        // `finish` has done this already, unless `setup` has failed.
        if let Some(link) = self.link() {
            link.end();
            link.discard();
        }
        if self.peer_is_lost {
            self.state = SessionState::Over;
            return Ok(None);
        }
        self.request.wfile.end();
        if let Some(step) = self.send_output(now)? {
            return Ok(Some(step));
        }
        let ended = self.request.transport.shutdown(Shutdown::Write);
        let lingers = self.timeouts().linger.is_none_or(|time| !time.is_zero());
        self.state = if ended.is_err() || !lingers {
            SessionState::Over
        } else {
            let unread = !self.request.rfile.buffer().is_empty();
            SessionState::Lingering(Lingering::new(now, self.request.linger || unread))
        };
        self.request.rfile.look_again();
        Ok(None)
    }

    /// Drops further input until a reset can destroy nothing any more.
    pub(super) fn linger(&mut self, now: Instant) -> Result<Option<Step>> {
        let SessionState::Lingering(mut lingering) = self.state else {
            return Ok(None);
        };
        let taken = self.request.rfile.bytes_taken();
        let found = self.drop_input();
        lingering.input_dropped |= self.request.rfile.bytes_taken() > taken;
        match found {
            Ok(Fill::Eof) | Err(_) => Ok(Some(self.end())),
            Ok(Fill::Nothing) => Ok(Some(self.wait_for_close(lingering, now))),
            Ok(Fill::More) => {
                self.state = SessionState::Lingering(lingering);
                Ok(Some(Step::Yield))
            }
        }
    }

    /// Drops the available input; `More` if it is too much for one turn.
    pub(super) fn drop_input(&mut self) -> io::Result<Fill> {
        let rfile = &mut self.request.rfile;
        let mut found = Fill::More;
        for _ in 0..READS_PER_TURN {
            rfile.take_all();
            found = rfile.fill()?;
            if found != Fill::More {
                break;
            }
        }
        rfile.take_all();
        Ok(found)
    }

    /// Waits until the peer closes, but only while a reset could destroy something. The poller does
    /// not report the peer's acknowledgements, so this checks for them repeatedly. The linger time
    /// begins again whenever the peer takes some of the answer. While it takes nothing, the write
    /// timeout applies.
    fn wait_for_close(&mut self, mut lingering: Lingering, now: Instant) -> Step {
        let unacknowledged = self.request.transport.unacknowledged();
        if has_answer(unacknowledged) && !lingering.input_dropped {
            return self.end();
        }
        if unacknowledged < lingering.unacknowledged {
            lingering.since = now;
        }
        lingering.unacknowledged = unacknowledged;
        let timeouts = self.timeouts();
        let patience = if unacknowledged.is_none() || has_answer(unacknowledged) {
            timeouts.linger
        } else {
            longer(timeouts.linger, timeouts.write)
        };
        let end = deadline(lingering.since, patience);
        if end.is_some_and(|at| at <= now) {
            return self.end();
        }
        let look = Duration::from_millis(lingering.next_look_millis.into());
        lingering.next_look_millis = (2 * lingering.next_look_millis).min(MAX_LOOK_MILLIS);
        let until = unacknowledged.and_then(|_| deadline(now, Some(look)));
        self.waiting = WaitReason::Close;
        self.state = SessionState::Lingering(lingering);
        self.request.rfile.release_buffer();
        Step::Wait {
            writing: false,
            until: until.into_iter().chain(end).min(),
        }
    }

    /// The connection cannot go on: counts the error and brings the connection to its end. The hook
    /// learns of the error once `finish` was called.
    pub(super) fn fail(&mut self, error: Error) {
        if matches!(self.state, SessionState::Connecting) {
            self.call_connect_failed(&error);
        }
        match &error {
            // Later, it is the error of something that the handler has tried.
            Error::Refused(why) if self.is_unverified() => return self.refuse(*why),
            Error::Timeout(timeout) => self.call_on_timeout(*timeout),
            // The end of file within a message: the peer may still read an answer.
            Error::Disconnected(end) if end.kind() == io::ErrorKind::UnexpectedEof => {}
            Error::Disconnected(_) => self.peer_is_lost = true,
            _ => {}
        }
        self.state = match self.state {
            SessionState::Serving(_) | SessionState::Finishing => SessionState::Finishing,
            SessionState::Flushing | SessionState::Lingering(_) | SessionState::Over => {
                SessionState::Over
            }
            // A handshake in the middle of the connection: there is a handler to finish.
            _ if self.handler.is_some() => SessionState::Finishing,
            _ => SessionState::Flushing,
        };
        self.note_failure(error);
    }

    /// The handler of a connection that could not be made hears of it, and ends.
    pub(super) fn call_connect_failed(&mut self, error: &Error) {
        let (class, client) = (&self.service.class, &self.request.client_address);
        let handler = Session::guard(|| Ok(class(client)));
        let called = handler.and_then(|mut handler| {
            Session::guard(|| {
                handler.connect_failed(error);
                drop(handler);
                Ok(())
            })
        });
        if let Err(error) = called {
            self.note_failure(error);
        }
    }

    /// Counts an error. The first one is kept for the hook.
    pub(super) fn note_failure(&mut self, error: Error) {
        match &error {
            Error::Panicked(_) => self.count(|stats| {
                stats.panics.fetch_add(1, Relaxed);
            }),
            Error::Timeout(timeout) => self.count(|stats| stats.timed_out(*timeout)),
            Error::Closed(_) => {}
            error if error.is_disconnect() => {
                log::debug!("{}: {error}", self.request.client_address);
                return;
            }
            _ => self.count(|stats| {
                stats.failed.fetch_add(1, Relaxed);
            }),
        }
        self.failure.get_or_insert_with(|| Box::new(error));
    }

    /// Reports the error that ended the connection, once.
    pub(super) fn report_failure(&mut self) {
        if let Some(error) = self.failure.take() {
            self.core().report(&self.request.client_address, &error);
        }
    }

    /// Tells the hooks that an open connection has ended, once.
    pub(super) fn report_closed(&mut self) {
        if std::mem::take(&mut self.is_open) {
            let client = &self.request.client_address;
            self.core()
                .call_hook(client, |hooks| hooks.connection_closed(client));
        }
    }

    /// Refuses the connection. The client gets the answer of the hook, or an alert if it expects
    /// TLS.
    pub(crate) fn refuse(&mut self, why: Refusal) {
        let core = Arc::clone(self.core());
        self.count(|stats| stats.refused(why));
        let client = &self.request.client_address;
        let write = |answer: &[u8]| {
            let answer = [io::IoSlice::new(answer)];
            self.request.transport.write_vectored(&answer).is_ok()
        };
        // Until its first byte says otherwise, a client of a TLS service expects TLS.
        let first = self.request.transport.peek().ok().flatten();
        let expects_tls =
            self.service.tls.is_some() && first.is_none_or(|first| first == HANDSHAKE_RECORD);
        let written = core.call_hook(client, |hooks| {
            let answer = hooks.handle_refusal(client, why);
            if expects_tls {
                write(TLS_ALERT)
            } else {
                answer.is_some_and(write)
            }
        });
        // Fails only if the peer closed first.
        let _ = self.request.transport.shutdown(Shutdown::Write);
        self.request.rfile.look_again();
        self.refusal_slot = RefusalSlot::begin(&core);
        if written == Some(true) && self.refusal_slot.is_some() {
            self.state = SessionState::Lingering(Lingering::new(core.config.clock.now(), true));
        } else {
            // At least the bytes that have arrived cause no reset.
            let _ = self.drop_input();
            self.state = SessionState::Over;
        }
    }

    /// Ends an idle connection, as the server goes down.
    pub(crate) fn close_idle(&mut self) {
        if matches!(self.state, SessionState::Connecting) {
            self.call_connect_failed(&Error::Closed("the server shuts down".into()));
        }
        if self.is_lingering() {
            // What has come already must cause no reset.
            let _ = self.drop_input();
        }
        self.state = if self.handler.is_some() {
            SessionState::Finishing
        } else {
            SessionState::Over
        };
        let now = self.now();
        // Whatever cannot be sent at once is lost: nothing was in flight.
        let _ = self.advance(now);
    }

    /// Whether all output has been sent, and the connection only waits for its peer.
    pub(crate) fn is_lingering(&self) -> bool {
        matches!(self.state, SessionState::Lingering(_))
    }

    pub(super) fn end(&mut self) -> Step {
        self.report_failure();
        self.report_closed();
        self.state = SessionState::Over;
        Step::Over
    }

    /// Ends the socket under a handler that is busy with it.
    pub(crate) fn abort(transport: &Transport) {
        transport.abort();
    }
}

impl Drop for Session {
    /// A connection may end without its `finish`, when the grace period is over.
    fn drop(&mut self) {
        if let Some(handler) = self.handler.take() {
            self.drop_handler(handler);
        }
        if let Some(link) = self.link() {
            link.end();
            link.discard();
        }
        self.report_failure();
        self.report_closed();
    }
}
