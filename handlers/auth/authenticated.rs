//! A handler behind a challenge. It gets a connection only after the client has proved that it has
//! a key.
//!
//! | state | waits for | next state |
//! |---|---|---|
//! | `Delayed` | the time of the challenge | `Challenged` |
//! | `Challenged` | the answer | `Open` if it is correct, otherwise `Closed` |
//! | `Open` | the inner handler decides | |
//! | `Closed` | nothing: the connection ends | |

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver::{
    ClientAddress, Error, Next, Result, StreamRequest, StreamRequestHandler, Timeout,
};

use super::backoff::Backoff;
use super::challenge::{CHALLENGE, LONGEST_ANSWER, challenge};
use super::keys::Keys;
use crate::service::StreamClass;

/// The state that the connections of a server share: the keys, and the failures of clients.
#[derive(Debug)]
pub struct Gate {
    keys: Arc<Keys>,
    backoff: Backoff,
    time_out: Option<Duration>,
}

impl Gate {
    /// Creates a gate that accepts these keys. The answer must arrive within `time_out`; `None`
    /// means no limit.
    pub fn new(keys: Arc<Keys>, time_out: Option<Duration>) -> Gate {
        Gate {
            keys,
            backoff: Backoff::default(),
            time_out,
        }
    }

    /// Puts the handlers of a class behind the gate.
    pub fn wrap(self, class: StreamClass) -> StreamClass {
        let gate = Arc::new(self);
        Box::new(move |client: &ClientAddress| {
            Box::new(Authenticated::new(class(client), Arc::clone(&gate)))
        })
    }
}

/// Sends 32 random bytes, waits for their HMAC without occupying a thread, and passes the
/// connection to the inner handler. If the answer is wrong, too short or too late, the connection
/// is closed without a message.
#[derive(Debug)]
pub struct Authenticated<H> {
    inner: H,
    gate: Arc<Gate>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The challenge is not sent yet. There is a delay only if the client's address has failed
    /// repeatedly.
    Delayed { until: Instant },
    /// The challenge is sent, and its answer must arrive before the deadline.
    Challenged {
        challenge: [u8; CHALLENGE],
        deadline: Option<Instant>,
    },
    /// The client is authenticated.
    Open,
    /// The connection is about to be closed.
    Closed,
}

impl<H: StreamRequestHandler> Authenticated<H> {
    /// Puts a handler behind the gate.
    pub fn new(inner: H, gate: Arc<Gate>) -> Authenticated<H> {
        Authenticated {
            inner,
            gate,
            state: State::Closed,
        }
    }

    /// Sends the challenge. The time limit for the answer begins now.
    fn challenge(&mut self, request: &mut StreamRequest, now: Instant) -> Result<Next> {
        let challenge = challenge()?;
        request.wfile.write_all(&challenge)?;
        let deadline = self.gate.time_out.map(|time| now + time);
        self.state = State::Challenged {
            challenge,
            deadline,
        };
        Ok(wait_until(deadline, now))
    }

    /// Checks whether the answer is complete and correct.
    fn answer(
        &mut self,
        request: &mut StreamRequest,
        challenge: [u8; CHALLENGE],
        deadline: Option<Instant>,
    ) -> Result<Next> {
        let (digest, keys) = (self.gate.keys.digest, self.gate.keys.list());
        let Some(answer) = request.rfile.take_exact(digest.answer_length()) else {
            let now = request.server.clock().now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Err(self.failed(request, "came too late, or not at all"));
            }
            if !request.rfile.is_eof() {
                return Ok(wait_until(deadline, now));
            }
            // A client that disconnects without a byte only checks whether the server is running.
            if request.rfile.buffer().is_empty() {
                self.state = State::Closed;
                return Ok(Next::Close);
            }
            return Err(self.failed(request, "is too short"));
        };
        let Some(key) = digest.verify(&keys, &challenge, answer) else {
            return Err(self.failed(request, "is wrong"));
        };
        log::debug!(
            "{}: authenticated with key {}",
            request.client_address,
            key.id.as_deref().unwrap_or("-")
        );
        request.identity = key.id.clone();
        // `finish` must be called only after `setup` has succeeded.
        self.state = State::Closed;
        self.inner.setup(request)?;
        self.state = State::Open;
        // Bytes that follow the answer are for the inner handler. Without such bytes, it is called
        // when more bytes arrive.
        let has_work = self.inner.speaks_first()
            || !request.rfile.buffer().is_empty()
            || request.rfile.is_eof();
        if has_work {
            self.inner.handle(request)
        } else {
            Ok(Next::Wait)
        }
    }

    /// Closes the connection, and counts the failure. The returned error makes the server count it,
    /// and the gate counts it to delay the client's next challenges.
    fn failed(&mut self, request: &mut StreamRequest, how: &str) -> Error {
        // The client may have sent more bytes already. Without lingering, the close would cause a
        // reset, which looks like a network error.
        request.linger();
        self.state = State::Closed;
        self.gate
            .backoff
            .failed(request.client_address.ip(), request.server.clock().now());
        Error::Protocol(format!(
            "authentication failed: the answer to the challenge {how}"
        ))
    }
}

fn wait_until(deadline: Option<Instant>, now: Instant) -> Next {
    deadline.map_or(Next::Wait, |deadline| {
        Next::after(deadline.saturating_duration_since(now))
    })
}

impl<H: StreamRequestHandler> StreamRequestHandler for Authenticated<H> {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let now = request.server.clock().now();
        self.state = State::Delayed {
            until: now + self.gate.backoff.delay(request.client_address.ip(), now),
        };
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        match self.state {
            State::Delayed { until } => {
                let now = request.server.clock().now();
                if now < until {
                    Ok(wait_until(Some(until), now))
                } else {
                    self.challenge(request, now)
                }
            }
            State::Challenged {
                challenge,
                deadline,
            } => self.answer(request, challenge, deadline),
            State::Open => self.inner.handle(request),
            State::Closed => Ok(Next::Close),
        }
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        if matches!(self.state, State::Open) {
            self.inner.finish(request)
        } else {
            Ok(())
        }
    }

    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        match self.state {
            State::Open => self.inner.on_timeout(request, what),
            // The server logs and counts the timeout itself, so the error is dropped.
            State::Challenged { .. } => drop(self.failed(request, "came too slowly")),
            State::Delayed { .. } | State::Closed => {}
        }
    }

    fn speaks_first(&self) -> bool {
        true
    }

    fn timeout(&self) -> Option<Duration> {
        self.inner.timeout()
    }

    fn disable_nagle_algorithm(&self) -> bool {
        self.inner.disable_nagle_algorithm()
    }

    fn rbufsize(&self) -> Option<usize> {
        self.inner.rbufsize().map(|size| size.max(LONGEST_ANSWER))
    }

    fn wbufsize(&self) -> usize {
        self.inner.wbufsize()
    }
}

#[cfg(test)]
mod tests;
