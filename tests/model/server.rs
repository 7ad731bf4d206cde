//! A server and its connections, as small as the pool can have them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use crate::kernel::{Clock, Fd, Interest, Mode, Poller, Read};
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

    pub(crate) fn report(&self, _: &ClientAddress, _: &Error) {}

    fn handler_begins(&self) {
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
    fn wait_for(&self, begun: usize, ended: usize) {
        let mut counts = self.counts.lock();
        while counts.begun < begun || counts.ended < ended {
            self.progress.wait(&mut counts);
        }
    }
}

/// A connection's place in the count.
struct Admission(Arc<Core>);

impl Admission {
    fn new(core: &Arc<Core>) -> Admission {
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
    _admission: Admission,
}

impl Session {
    fn admitted(admission: Admission, fd: Fd, manner: Manner) -> Box<Session> {
        Box::new(Session {
            core: Arc::clone(&admission.0),
            transport: Arc::new(Transport(fd)),
            watched: None,
            ready_at: Clock.now(),
            manner,
            drained: false,
            maybe_eof: false,
            over: false,
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

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    pub(crate) fn client_address(&self) -> &ClientAddress {
        &ClientAddress
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

    pub(crate) fn has_arrived(&mut self) -> bool {
        let has_arrived = !self.manner.refused && self.transport.0.peek().is_ok();
        if has_arrived {
            self.note_readable(true);
        }
        has_arrived
    }

    pub(crate) fn abandon(&mut self) {
        self.over = true;
    }

    pub(crate) fn calls_handler(&self) -> bool {
        !self.manner.refused && !self.over
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

/// A listening socket; each connection that it accepts is one of those that the scenario laid
/// ready.
pub(crate) struct Listener {
    core: Arc<Core>,
    pub(crate) fd: Fd,
    backlog: Mutex<VecDeque<Fd>>,
    manner: Manner,
}

impl Listener {
    pub(crate) fn new(core: &Arc<Core>, manner: Manner) -> Arc<Listener> {
        Arc::new(Listener {
            core: Arc::clone(core),
            fd: Fd::open(),
            backlog: Mutex::default(),
            manner,
        })
    }

    /// A client connects.
    pub(crate) fn connect(&self) -> Fd {
        let fd = Fd::open();
        self.backlog.lock().push_back(fd);
        self.fd.send(1);
        fd
    }

    /// Has the clients closed that are still in the backlog, as the system does.
    pub(crate) fn close(&self) {
        self.backlog.lock().drain(..).for_each(Fd::close);
    }

    /// As `StreamListener::accept`, step by step.
    pub(crate) fn accept(&self, _: usize, mut found: impl FnMut(Box<Session>)) -> Option<Duration> {
        while let Read::Bytes(_) = self.fd.read(1) {
            let Some(fd) = self.backlog.lock().pop_front() else {
                break;
            };
            let admission = Admission::new(&self.core);
            if !self.core.is_serving() {
                fd.close();
                break;
            }
            found(Session::admitted(admission, fd, self.manner));
        }
        None
    }
}

/// A datagram socket; the handler of the first blocks until as many as `meets` have begun.
pub(crate) struct DatagramJob {
    pub(crate) core: Arc<Core>,
    pub(crate) fd: Fd,
    pub(crate) meets: usize,
}

impl DatagramJob {
    pub(crate) fn receive(&self) -> Result<Option<()>, Infallible> {
        Ok(matches!(self.fd.read(1), Read::Bytes(_)).then_some(()))
    }

    pub(crate) fn handle(&self, (): ()) {
        self.core.handler_begins();
        self.core.wait_for(self.meets, 0);
        self.fd.answer(1);
    }

    pub(crate) fn server_address(&self) -> ClientAddress {
        ClientAddress
    }
}

#[derive(Clone)]
pub(crate) enum Source {
    Listener(Arc<Listener>),
    Datagrams(Arc<DatagramJob>),
}

impl Source {
    fn fd(&self) -> Fd {
        match self {
            Source::Listener(listener) => listener.fd,
            Source::Datagrams(job) => job.fd,
        }
    }
}

#[derive(Default)]
pub(crate) struct Sources(Mutex<Vec<Option<Source>>>);

const SOURCE_BIT: usize = 1 << (usize::BITS - 1);

impl Sources {
    pub(crate) fn index_of(key: usize) -> Option<usize> {
        (key & SOURCE_BIT != 0).then_some(key & !SOURCE_BIT)
    }

    pub(crate) fn add(&self, source: Source, poller: &Poller) -> io::Result<usize> {
        let mut entries = self.0.lock();
        poller.add(
            source.fd(),
            SOURCE_BIT | entries.len(),
            Interest::Read,
            Mode::Level,
        )?;
        entries.push(Some(source));
        Ok(entries.len() - 1)
    }

    pub(crate) fn remove(&self, index: usize, poller: &Poller) {
        if let Some(source) = self.0.lock()[index].take() {
            poller.delete(source.fd());
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Source> {
        self.0.lock().get(index)?.clone()
    }

    pub(crate) fn disarm(&self, index: usize, poller: &Poller) {
        self.set_interest(index, Interest::Nothing, poller);
    }

    pub(crate) fn arm(&self, index: usize, poller: &Poller) {
        self.set_interest(index, Interest::Read, poller);
    }

    fn set_interest(&self, index: usize, interest: Interest, poller: &Poller) {
        if let Some(source) = &self.0.lock()[index] {
            let _ = poller.modify(source.fd(), SOURCE_BIT | index, interest, Mode::Level);
        }
    }

    pub(crate) fn pause(&self, _: usize, _: Instant, _: &Poller) {}

    pub(crate) fn next_retry(&self) -> Option<Instant> {
        None
    }

    pub(crate) fn retry(&self, _: Instant, _: &Poller) {}
}

#[expect(dead_code, reason = "nobody in the model asks what is in flight")]
pub(crate) struct InFlight {
    pub(crate) client_address: ClientAddress,
    pub(crate) since: Instant,
}

#[expect(dead_code, reason = "nobody in the model asks for statistics")]
pub(crate) trait Waker: Send + Sync {
    fn in_flight(&self) -> Vec<InFlight>;
    fn gauges(&self, snapshot: &mut StatsSnapshot);
}

pub(crate) struct StatsSnapshot {
    pub(crate) queued: usize,
    pub(crate) threads: usize,
    pub(crate) thread_failures: u64,
}
