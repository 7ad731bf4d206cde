//! Taking connections off a listening socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;

use crate::bind::Listener;
use crate::error::Refusal;
use crate::handle::Core;
use crate::session::{Session, StreamService};
use crate::trace::Tap;
use crate::transport::Transport;

/// Connections accepted in one go, before those that are ready are served.
const ACCEPTS_PER_BATCH: usize = 32;
const MIN_ACCEPT_PAUSE: Duration = Duration::from_millis(5);
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A listening socket with what its connections need.
pub(crate) struct StreamListener {
    pub(crate) listener: Arc<Listener>,
    pub(crate) service: Arc<StreamService>,
    pub(crate) core: Arc<Core>,
    /// How long to pause after the next failure.
    pause: Mutex<Duration>,
}

impl StreamListener {
    pub(crate) fn new(
        listener: Arc<Listener>,
        service: Arc<StreamService>,
        core: Arc<Core>,
    ) -> StreamListener {
        StreamListener {
            listener,
            service,
            core,
            pause: Mutex::new(MIN_ACCEPT_PAUSE),
        }
    }

    /// Accepts what is there. After an error that won't pass by itself (no descriptors left) tells
    /// for how long to leave the listener alone: 5 ms, doubling to 1 s, until an accept succeeds
    /// again.
    pub(crate) fn accept(
        &self,
        queued: usize,
        mut found: impl FnMut(Box<Session>),
    ) -> Option<Duration> {
        for accepted in 0..ACCEPTS_PER_BATCH {
            match self.accept_one(queued + accepted) {
                Ok(Some(session)) => found(session),
                Ok(None) => break,
                Err(error) => return Some(self.failed(&error)),
            }
        }
        None
    }

    /// An accept failed: tells how long to pause.
    pub(crate) fn failed(&self, error: &io::Error) -> Duration {
        let mut pause = self.pause.lock();
        let this_time = *pause;
        *pause = (*pause * 2).min(MAX_ACCEPT_PAUSE);
        log::warn!(
            "{}: accept: {error}; trying again in {this_time:?}",
            self.listener.server_address()
        );
        this_time
    }

    /// Accepts one connection, if one is there.
    pub(crate) fn accept_one(&self, queued: usize) -> io::Result<Option<Box<Session>>> {
        let (stream, client) = loop {
            match self.listener.accept() {
                Ok(accepted) => break accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        };
        *self.pause.lock() = MIN_ACCEPT_PAUSE;
        self.core.stats.accepted.fetch_add(1, Relaxed);
        // Counted before the look: a shutdown either is seen here, or finds this connection and
        // waits for its end.
        let admission = self.core.admit();
        if !self.core.is_serving() {
            return Ok(None); // shut down between the event and the accept
        }
        let tap = self
            .core
            .trace
            .as_ref()
            .map(|trace| Tap::new(trace, &client));
        let transport = Transport::plain(stream).tapped(tap);
        let mut session = Box::new(Session::new(transport, client, &self.service, &self.core));
        let admission = admission.and_then(|mut admission| {
            if queued > self.core.limits.max_queue {
                return Err(Refusal::QueueFull);
            }
            // Here, in the process that sees all connections: a forked child sees its own only.
            if session.knows_client_address() {
                admission.count_address(session.client_address())?;
            }
            Ok(admission)
        });
        match admission {
            Ok(admission) => session.admitted(admission),
            Err(why) => session.refuse(why),
        }
        Ok(Some(session))
    }
}

impl AsFd for StreamListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Whether an accept failed for the one connection it was about, so that the next may succeed
/// (accept(2)).
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut,
    };
    use rustix::io::Errno;
    let network = [
        Errno::PROTO,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::NOPROTOOPT,
    ];
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut
    ) || Errno::from_io_error(error).is_some_and(|errno| network.contains(&errno))
}
