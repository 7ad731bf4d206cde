//! A server and its connections, as small as the pool can have them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use crate::kernel::{Clock, Fd, Interest, Read};
use crate::sync::{Condvar, Mutex};

/// What the threads of the server and the scenario share.
#[derive(Default)]
pub(crate) struct Core {
    pub(crate) stats: Stats,
    down: AtomicBool,
    open: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
    /// Set once `serve_forever` would have returned.
    returned: AtomicBool,
    /// Something that must not happen did: the pool would swallow a panic.
    violation: Mutex<Option<&'static str>>,
    /// By which the connections can be reached, in the order in which they were accepted.
    pub(crate) wakes: Mutex<Vec<Arc<Wake>>>,
    /// How many handlers have begun, and how many connections have ended.
    counts: Mutex<Counts>,
    progress: Condvar,
}

#[derive(Default)]
struct Counts {
    begun: usize,
    ended: usize,
}

#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) failed: AtomicU64,
    active: AtomicUsize,
}

impl Stats {
    pub(crate) fn note_active(&self, active: bool) {
        let change = if active { 1 } else { usize::MAX };
        self.active.fetch_add(change, SeqCst);
    }
}

/// Where a connection comes from: the model's server has no other listening sockets.
pub(crate) struct Origin;

/// An error that a hook would be told.
pub(crate) struct Error;

impl From<io::Error> for Error {
    fn from(_: io::Error) -> Error {
        Error
    }
}

impl Core {
    pub(crate) fn is_serving(&self) -> bool {
        !self.down.load(SeqCst)
    }

    pub(crate) fn shut_down(&self) {
        self.down.store(true, SeqCst);
    }

    pub(crate) fn wait_drained(&self) {
        let mut lock = self.lock.lock();
        while self.open.load(SeqCst) > 0 {
            self.changed.wait(&mut lock);
        }
        drop(lock);
        self.returned.store(true, SeqCst);
    }

    fn violated(&self, what: &'static str) {
        self.violation.lock().get_or_insert(what);
    }

    pub(crate) fn assert_sound(&self) {
        assert_eq!(*self.violation.lock(), None);
        assert_eq!(
            self.stats.active.load(SeqCst),
            0,
            "the number of active connections is wrong"
        );
    }

    /// The model has no services.
    pub(crate) fn count(&self, _: Option<&Arc<Origin>>, count: impl Fn(&Stats)) {
        count(&self.stats);
    }

    pub(crate) fn report(&self, _: &ClientAddress, _: &Error) {}

    pub(crate) fn handler_begins(&self) {
        if self.returned.load(SeqCst) {
            self.violated("a handler runs after the end of serve_forever");
        }
        self.counts.lock().begun += 1;
        self.progress.notify_all();
    }

    fn connection_ended(&self) {
        self.counts.lock().ended += 1;
        self.progress.notify_all();
    }

    /// Blocks a handler until so many handlers, it included, have begun, and so many connections
    /// have ended.
    pub(crate) fn wait_for(&self, begun: usize, ended: usize) {
        let mut counts = self.counts.lock();
        while counts.begun < begun || counts.ended < ended {
            self.progress.wait(&mut counts);
        }
    }
}

/// A connection's place in the count.
pub(crate) struct Admission(Arc<Core>);

impl Admission {
    pub(crate) fn new(core: &Arc<Core>) -> Admission {
        core.open.fetch_add(1, SeqCst);
        Admission(Arc::clone(core))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, SeqCst) == 1 && !self.0.is_serving() {
            drop(self.0.lock.lock());
            self.0.changed.notify_all();
        }
    }
}

/// What a connection's handler and its deadlines are like.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner {
    /// A handler blocks until this many handlers have begun.
    pub(crate) meets: usize,
    /// A handler blocks until this many connections have ended.
    pub(crate) awaits_ended: usize,
    /// How long the peer may send nothing.
    pub(crate) idle: Option<Duration>,
    /// The connection was refused: it has no handler, and lingers until its peer closes.
    pub(crate) refused: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ClientAddress;

impl std::fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("client")
    }
}

pub(crate) struct Transport(Fd);

impl Transport {
    pub(crate) fn fd(&self) -> Option<Fd> {
        Some(self.0)
    }

    pub(crate) fn peek(&self) -> io::Result<Option<u8>> {
        self.0.peek()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Wait {
        writing: bool,
        until: Option<Instant>,
    },
    Yield,
    Over,
}

/// A connection: it answers each byte.
pub(crate) struct Session {
    core: Arc<Core>,
    transport: Arc<Transport>,
    watched: Option<Interest>,
    pub(crate) ready_at: Instant,
    manner: Manner,
    /// As in `RFile`: a short read proves that nothing more is there, unless the peer may have
    /// ended.
    drained: bool,
    maybe_eof: bool,
    over: bool,
    wake: Arc<Wake>,
    _admission: Admission,
}

/// As `Link`: how others reach a connection.
#[derive(Default)]
pub(crate) struct Wake {
    is_given: AtomicBool,
    key: AtomicUsize,
}

impl Wake {
    /// Has the handler called, unless it will be.
    pub(crate) fn give(&self, ring: &dyn Ring) {
        if !self.is_given.swap(true, SeqCst) {
            ring.ring(&[self.key.load(SeqCst)]);
        }
    }
}

/// As in `reach`.
pub(crate) trait Ring: Send + Sync {
    fn ring(&self, keys: &[usize]);
}

impl Session {
    pub(crate) fn admitted(admission: Admission, fd: Fd, manner: Manner) -> Box<Session> {
        let wake = Arc::<Wake>::default();
        admission.0.wakes.lock().push(Arc::clone(&wake));
        Box::new(Session {
            core: Arc::clone(&admission.0),
            transport: Arc::new(Transport(fd)),
            watched: None,
            ready_at: Clock.now(),
            manner,
            drained: false,
            maybe_eof: false,
            over: false,
            wake,
            _admission: admission,
        })
    }

    /// A connection that somebody else accepted.
    pub(crate) fn new(core: &Arc<Core>, fd: Fd, manner: Manner) -> Box<Session> {
        Session::admitted(Admission::new(core), fd, manner)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn origin(&self) -> Option<&Arc<Origin>> {
        None
    }

    pub(crate) fn count(&self, count: impl Fn(&Stats)) {
        self.core.count(self.origin(), count);
    }

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    pub(crate) fn client_address(&self) -> &ClientAddress {
        &ClientAddress
    }

    pub(crate) fn last_served_at(&self) -> Instant {
        self.ready_at
    }

    pub(crate) fn since(&self) -> Instant {
        self.ready_at
    }

    pub(crate) fn now(&self) -> Instant {
        self.ready_at
    }

    pub(crate) fn watched(&self) -> Option<Interest> {
        self.watched
    }

    pub(crate) fn set_watched(&mut self, watched: Option<Interest>) {
        self.watched = watched;
    }

    pub(crate) fn note_readable(&mut self, maybe_eof: bool) {
        self.drained = false;
        self.maybe_eof |= maybe_eof;
    }

    pub(crate) fn is_idle(&self) -> bool {
        true
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.core.is_serving()
    }

    pub(crate) fn ends_at_shutdown(&self) -> bool {
        self.is_idle()
    }

    pub(crate) fn has_arrived(&mut self) -> bool {
        let has_arrived = !self.manner.refused && self.transport.0.peek().is_ok();
        if has_arrived {
            self.note_readable(true);
        }
        has_arrived
    }

    pub(crate) fn announce_shutdown(&mut self) -> bool {
        false
    }

    pub(crate) fn set_key(&mut self, key: usize) {
        self.wake.key.store(key, SeqCst);
    }

    pub(crate) fn needs_attention(&self) -> bool {
        self.wake.is_given.load(SeqCst)
    }

    pub(crate) fn abandon(&mut self) {
        self.over = true;
    }

    pub(crate) fn calls_handler(&self) -> bool {
        !self.manner.refused && !self.over
    }

    pub(crate) fn is_lingering(&self) -> bool {
        self.manner.refused
    }

    pub(crate) fn ends_when_expired(&self, _: Instant) -> bool {
        true
    }

    pub(crate) fn close_idle(&mut self) {
        self.end();
    }

    /// Calls the handler's `finish`, if there is a handler.
    fn end(&mut self) -> Step {
        if self.calls_handler() && self.core.returned.load(SeqCst) {
            self.core
                .violated("a handler finishes after the end of serve_forever");
        }
        self.over = true;
        Step::Over
    }

    pub(crate) fn abort(transport: &Transport) {
        transport.0.finish();
    }

    pub(crate) fn expire(&mut self, _: Instant) -> Step {
        self.end()
    }

    pub(crate) fn advance(&mut self, now: Instant) -> Step {
        const MAX_READ: usize = 2;
        const READS_PER_TURN: usize = 2;
        let fd = self.transport.0;
        if self.over {
            return Step::Over;
        }
        if self.wake.is_given.swap(false, SeqCst) {
            self.core.handler_begins();
            fd.answer(1);
        }
        for _ in 0..READS_PER_TURN {
            let found = if self.drained {
                Read::WouldBlock
            } else {
                fd.read(MAX_READ)
            };
            match found {
                Read::Bytes(count) => {
                    self.drained = count < MAX_READ && !self.maybe_eof;
                    if !self.manner.refused {
                        self.core.handler_begins();
                        self.core
                            .wait_for(self.manner.meets, self.manner.awaits_ended);
                        fd.answer(count);
                    }
                }
                Read::Eof => return self.end(),
                Read::WouldBlock if self.core.is_serving() => {
                    (self.drained, self.maybe_eof) = (true, false);
                    return Step::Wait {
                        writing: false,
                        until: self.manner.idle.map(|idle| now + idle),
                    };
                }
                Read::WouldBlock => return self.end(),
            }
        }
        Step::Yield
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.transport.0.close();
        self.core.connection_ended();
    }
}
