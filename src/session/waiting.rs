//! What a connection waits for, and what may end its wait.

use super::{Session, SessionState, WaitReason, closing};
use crate::reach::Signals;
use crate::transport::Readiness;

impl Session {
    /// The poller saw that the socket is ready.
    pub(crate) fn note_readable(&mut self, maybe_eof: bool) {
        if maybe_eof && self.reads_nothing() {
            let transport = &self.request.transport;
            // Behind the end of file only a reset or the end of both directions can come. A paused
            // connection may have unread bytes even then, unless it was reset or aborted.
            let has_no_bytes =
                || self.request.rfile.is_eof() || transport.is_aborted() || transport.has_failed();
            self.peer_is_lost |= transport.is_ready(Readiness::HungUp) && has_no_bytes();
        }
        self.request.rfile.note_readable(maybe_eof);
    }

    /// What a thread that sleeps for this connection waits for.
    pub(crate) fn awaits(&self, writing: bool) -> Readiness {
        if writing && self.output_is_of_others && !self.reads_nothing() {
            Readiness::Either
        } else if writing {
            Readiness::Writable
        } else if self.reads_nothing() {
            // A paused connection whose both directions have ended would be ready at once.
            let transport = &self.request.transport;
            if !self.request.rfile.is_eof() && transport.is_ready(Readiness::HungUp) {
                return Readiness::Nothing;
            }
            Readiness::HungUp
        } else {
            Readiness::Readable
        }
    }

    /// Whether others have left something that this connection can look at now: then it must not
    /// be parked. While the peer does not take the output, a wake must wait.
    pub(crate) fn needs_attention(&self) -> bool {
        self.link().is_some_and(|link| {
            let is_serving = matches!(self.state, SessionState::Serving(_));
            let now = match self.waiting {
                _ if !is_serving => Signals::CLOSE,
                WaitReason::Output if self.output_is_of_others => Signals::CLOSE.and(Signals::WAKE),
                WaitReason::Output => Signals::CLOSE,
                _ => Signals::CLOSE.and(Signals::WAKE).and(Signals::OUTPUT),
            };
            link.has(now)
        })
    }

    /// Whether bytes that arrive stay on the socket: behind the end of file, while the handler has
    /// paused, or while it waits for a time and the buffer is full. A thread that waits for the
    /// socket to be readable would then spin.
    fn reads_nothing(&self) -> bool {
        let rfile = &self.request.rfile;
        let is_paused = match &self.state {
            SessionState::Serving(serving) => serving.reads_nothing(rfile.is_full()),
            _ => false,
        };
        rfile.is_eof() || is_paused
    }

    /// Whether nothing of a message is under way: a shutdown closes such a connection at once.
    pub(crate) fn is_idle(&self) -> bool {
        match self.waiting {
            WaitReason::Connect
            | WaitReason::ProxyHeader
            | WaitReason::Handshake
            | WaitReason::Idle => true,
            WaitReason::Close => {
                let unacknowledged = self.request.transport.unacknowledged();
                unacknowledged.is_none() || closing::has_answer(unacknowledged)
            }
            WaitReason::Message | WaitReason::Work | WaitReason::Output => false,
        }
    }

    /// Whether a shutdown closes this connection at once.
    pub(crate) fn ends_at_shutdown(&self) -> bool {
        self.is_idle() && !self.outlasts_shutdown()
    }

    /// Whether its handler has asked that a shutdown does not end its wait.
    fn outlasts_shutdown(&self) -> bool {
        match &self.state {
            SessionState::Serving(serving) => serving.outlasts_shutdown(),
            _ => false,
        }
    }

    /// Whether a shutdown waits for this connection.
    pub(crate) fn is_in_flight(&self) -> bool {
        !self.is_idle() || self.outlasts_shutdown() && !self.is_serving()
    }

    /// The server is going down. Has the handler called for that if it is within a message, or
    /// outlasts the shutdown, and others can reach it: it may wait for something that will not come
    /// any more. Returns whether the connection must be served now.
    pub(crate) fn announce_shutdown(&mut self) -> bool {
        let is_within = matches!(self.waiting, WaitReason::Message | WaitReason::Work)
            || self.waiting == WaitReason::Idle && self.outlasts_shutdown();
        match &mut self.state {
            SessionState::Serving(serving) if self.request.is_reachable() => {
                serving.announce_shutdown() && is_within
            }
            _ => false,
        }
    }
}
