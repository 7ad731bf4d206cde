//! What happens when the time of a connection's wait has passed.

use std::time::Instant;

use super::{Session, SessionState, Step, WaitReason};
use crate::error::{Error, Timeout};
use crate::pace::PaceViolation;
use crate::transport::Readiness;

impl Session {
    /// Whether the deadline ends the connection when it passes. False for the time that the handler
    /// asked for.
    pub(crate) fn ends_when_expired(&self, now: Instant) -> bool {
        match &self.state {
            SessionState::Serving(serving) if !self.alarm_waits() => !serving.alarm_is_due(now),
            _ => true,
        }
    }

    /// Whether the handler's own output must be sent before its time counts.
    fn alarm_waits(&self) -> bool {
        self.waiting == WaitReason::Output && !self.output_is_of_others
    }

    /// The time of [`Step::Wait`] has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Step {
        // The handler's time does not count before the answer is sent: otherwise the handler would
        // be called too early, and repeatedly.
        if !self.alarm_waits()
            && let SessionState::Serving(serving) = &mut self.state
            && serving.alarm_rings(now)
        {
            return self.advance(now);
        }
        // The process may have stood still while the peer sent everything in time. So the socket is
        // read first. If that was not enough, the deadline passes again immediately.
        if self.has_arrived() {
            return self.advance(now);
        }
        if let Some(timeout) = self.passed_deadline(now) {
            self.peer_is_lost |= self.waiting == WaitReason::Output;
            self.fail(Error::Timeout(timeout));
        }
        self.advance(now)
    }

    /// Whether bytes or the end of file have arrived that no thread has examined, so that this
    /// connection must not be closed yet. A lingering connection drops whatever arrives.
    pub(crate) fn has_arrived(&mut self) -> bool {
        let has_arrived = self.waiting != WaitReason::Close && self.socket_is_ready();
        if has_arrived {
            self.request.rfile.note_readable(true);
        }
        has_arrived
    }

    fn socket_is_ready(&self) -> bool {
        let is_writing = matches!(self.waiting, WaitReason::Output | WaitReason::Connect);
        let what = self.awaits(is_writing);
        what != Readiness::HungUp && self.request.transport.is_ready(what)
    }

    /// The deadline that has passed; `None` if it was only time to look.
    fn passed_deadline(&mut self, now: Instant) -> Option<Timeout> {
        let violation = |violation, stalled| match violation {
            PaceViolation::Stalled => stalled,
            PaceViolation::TooSlow => Timeout::TooSlow,
        };
        match self.waiting {
            WaitReason::Close | WaitReason::Work => None,
            WaitReason::Connect | WaitReason::Handshake => Some(Timeout::Handshake),
            WaitReason::ProxyHeader => Some(Timeout::Head),
            WaitReason::Idle => Some(Timeout::Idle),
            WaitReason::Message if self.head_deadline().is_some_and(|at| at <= now) => {
                Some(Timeout::Head)
            }
            WaitReason::Message => {
                let verdict = self.request.rfile.pace().check(now);
                verdict.err().map(|how| violation(how, Timeout::Read))
            }
            WaitReason::Output => {
                let verdict = self.request.wfile.check_pace(now);
                verdict.err().map(|how| violation(how, Timeout::Write))
            }
        }
    }

    /// Lets the handler write a last answer, which is dropped if the peer does not read.
    pub(super) fn call_on_timeout(&mut self, timeout: Timeout) {
        let Some(handler) = &mut self.handler else {
            return;
        };
        let request = &mut self.request;
        let called = Session::guard(|| {
            handler.on_timeout(request, timeout);
            Ok(())
        });
        if let Err(error) = called {
            self.note_failure(error);
        }
    }
}
