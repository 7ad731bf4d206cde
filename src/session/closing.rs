//! How a connection ends: `finish`, the lingering close, failures and refusals.

use std::io;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::{Session, SessionState, Step, WaitReason, guard};
use crate::buffer::Fill;
use crate::error::{Error, Refusal, Result};
use crate::handle::RefusalSlot;

impl Session {
    /// Everything is out: calls `finish`, and closes once its words are out too.
    pub(super) fn finish(&mut self) -> Result<Option<Step>> {
        if let Some(mut handler) = self.handler.take() {
            self.phase = SessionState::Finished;
            let request = &mut self.request;
            guard(|| handler.finish(request))?;
            return Ok(None);
        }
        if self.request.wfile.awaits_close() {
            // Fails only if the peer is gone, which the look at what it sent will tell.
            let _ = self.request.transport.shutdown(Shutdown::Write);
        }
        let rfile = &mut self.request.rfile;
        // A service that only speaks hasn't looked yet whether the client said something; most say
        // nothing. An error is an end, too.
        if !rfile.is_drained() && rfile.fill().is_err() {
            self.phase = SessionState::Over;
            return Ok(None);
        }
        let unread = self.request.linger || !rfile.buffer().is_empty() || !rfile.is_drained();
        if unread && !rfile.is_eof() && self.request.transport.finish_writing().is_ok() {
            self.since = self.core().clock.now();
            self.phase = SessionState::Lingering;
            return Ok(None);
        }
        self.request.transport.send_close_notify();
        self.phase = SessionState::Over;
        Ok(None)
    }

    /// Drops what still comes, for a while, so that no reset destroys the answer on its way.
    pub(super) fn linger(&mut self, now: Instant) -> Result<Option<Step>> {
        const READS_PER_TURN: u32 = 64; // reads in one go
        let until = self
            .core()
            .timeouts
            .linger
            .map(|linger| self.since + linger);
        if until.is_none_or(|until| now >= until) {
            return Ok(Some(self.end()));
        }
        for _ in 0..READS_PER_TURN {
            self.request.rfile.take_all();
            match self.request.rfile.fill() {
                Ok(Fill::More) => {}
                Ok(Fill::Nothing) => {
                    self.waiting = WaitReason::ToLinger;
                    self.request.rfile.release_buffer();
                    return Ok(Some(Step::Wait {
                        writing: false,
                        until,
                    }));
                }
                Ok(Fill::Eof) | Err(_) => return Ok(Some(self.end())),
            }
        }
        Ok(Some(Step::Yield))
    }

    /// The connection can't go on: counts it, tells the hook, and brings it to its end.
    pub(super) fn fail(&mut self, error: &Error) {
        let core = Arc::clone(self.core());
        match error {
            Error::Refused(why) => {
                self.refuse(*why);
                return;
            }
            Error::Panicked(_) => drop(core.stats.panics.fetch_add(1, Relaxed)),
            Error::Timeout(what) => core.stats.timed_out(*what),
            error if error.is_disconnect() => {
                log::debug!("{}: {error}", self.request.client_address)
            }
            _ => drop(core.stats.failed.fetch_add(1, Relaxed)),
        }
        if !error.is_disconnect() {
            let client = &self.request.client_address;
            // A hook that panics must not take the worker along.
            let _ = catch_unwind(AssertUnwindSafe(|| core.hooks.handle_error(client, error)));
        }
        let peer_is_there = !error.is_disconnect();
        self.phase = match self.phase {
            SessionState::Serving => SessionState::Finishing,
            SessionState::Finishing if peer_is_there && self.handler.is_some() => {
                SessionState::Finishing
            }
            // What a `setup` or `finish` wrote before it failed goes out.
            SessionState::Handshake | SessionState::Finished
                if peer_is_there && self.request.wfile.has_unsent() =>
            {
                SessionState::Finished
            }
            _ => SessionState::Over,
        };
        if error.is_disconnect() {
            self.request.wfile.discard();
        }
    }

    /// Turns the connection away, with the hook's word if it can be sent in the clear.
    pub(crate) fn refuse(&mut self, why: Refusal) {
        let core = Arc::clone(self.core());
        core.stats.refused(why);
        let answer = core.hooks.handle_refusal(&self.request.client_address, why);
        self.phase = SessionState::Over;
        if let (Some(answer), None) = (answer, &self.service.tls) {
            let _ = self
                .request
                .transport
                .write_vectored(&[io::IoSlice::new(answer)]);
            self.refusing = RefusalSlot::begin(&core);
            if self.refusing.is_some() && self.request.transport.finish_writing().is_ok() {
                (self.since, self.phase) = (core.clock.now(), SessionState::Lingering);
            }
        }
    }
}
