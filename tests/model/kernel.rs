//! The system below the pool: sockets, a poller with edges and levels, and time, all under one
//! lock.

use std::io;
use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};

use crate::sync::{Condvar, Mutex, thread, time_passes};

shuttle::lazy_static! {
    /// One for each run.
    static ref KERNEL: Kernel = Kernel::default();
}

#[derive(Default)]
struct Kernel {
    state: Mutex<State>,
    /// For the poller: something came.
    came: Condvar,
    /// For the scenario: something was done.
    done: Condvar,
}

struct State {
    sockets: Vec<Socket>,
    notified: bool,
    now: Instant,
}

impl Default for State {
    fn default() -> State {
        State {
            sockets: Vec::new(),
            notified: false,
            now: Instant::now(),
        }
    }
}

/// The server's end of a connection, a listening socket or a datagram socket.
#[derive(Default)]
struct Socket {
    /// Bytes, connections or datagrams that wait to be read.
    unread: usize,
    peer_closed: bool,
    answers: usize,
    closed: bool,
    /// The poller refuses it.
    unwatchable: bool,
    watch: Option<Watch>,
}

struct Watch {
    key: usize,
    interest: Interest,
    mode: Mode,
    edge: bool,
}

impl Socket {
    fn is_readable(&self) -> bool {
        self.unread > 0 || self.peer_closed
    }

    fn came(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.edge = true;
        }
    }

    /// Reports it as epoll does: a new thing once, a lasting thing as long as it lasts.
    fn poll(&mut self) -> Option<Event> {
        let (readable, peer_closed) = (self.is_readable(), self.peer_closed);
        let watch = self
            .watch
            .as_mut()
            .filter(|watch| watch.interest != Interest::Nothing)?;
        let edge = std::mem::take(&mut watch.edge);
        let reported = readable && (edge || watch.mode == Mode::Level);
        reported.then_some(Event {
            key: watch.key,
            maybe_eof: peer_closed,
        })
    }
}

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fd(usize);

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(usize),
    Eof,
    WouldBlock,
}

impl Fd {
    pub(crate) fn open() -> Fd {
        let mut state = KERNEL.state.lock();
        state.sockets.push(Socket::default());
        Fd(state.sockets.len() - 1)
    }

    fn with<T>(self, act: impl FnOnce(&mut Socket) -> T) -> T {
        act(&mut KERNEL.state.lock().sockets[self.0])
    }

    pub(crate) fn read(self, most: usize) -> Read {
        self.with(|socket| {
            let count = socket.unread.min(most);
            socket.unread -= count;
            match count {
                0 if socket.peer_closed => Read::Eof,
                0 => Read::WouldBlock,
                count => Read::Bytes(count),
            }
        })
    }

    /// Whether a byte waits to be read, without reading it.
    pub(crate) fn peek(self) -> io::Result<Option<u8>> {
        self.with(|socket| match (socket.unread, socket.peer_closed) {
            (0, false) => Err(io::ErrorKind::WouldBlock.into()),
            (0, true) => Ok(None),
            _ => Ok(Some(0)),
        })
    }

    pub(crate) fn make_unwatchable(self) {
        self.with(|socket| socket.unwatchable = true);
    }

    pub(crate) fn answer(self, count: usize) {
        self.with(|socket| socket.answers += count);
        KERNEL.done.notify_all();
    }

    pub(crate) fn close(self) {
        self.with(|socket| {
            socket.closed = true;
            socket.watch = None;
        });
        KERNEL.done.notify_all();
    }

    /// The peer sends.
    pub(crate) fn send(self, count: usize) {
        self.with(|socket| {
            socket.unread += count;
            socket.came();
        });
        KERNEL.came.notify_all();
    }

    /// The peer closes.
    pub(crate) fn finish(self) {
        self.with(|socket| {
            socket.peer_closed = true;
            socket.came();
        });
        KERNEL.came.notify_all();
    }

    /// The peer waits until it has so many answers; false if the server closed before.
    pub(crate) fn wait_for_answers(self, count: usize) -> bool {
        let mut state = KERNEL.state.lock();
        while state.sockets[self.0].answers < count && !state.sockets[self.0].closed {
            KERNEL.done.wait(&mut state);
        }
        state.sockets[self.0].answers >= count
    }

    /// Waits until the server has closed it.
    pub(crate) fn wait_closed(self) {
        let mut state = KERNEL.state.lock();
        while !state.sockets[self.0].closed {
            KERNEL.done.wait(&mut state);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Nothing,
    Read,
    ReadWrite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Edge,
    Level,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) key: usize,
    pub(crate) maybe_eof: bool,
}

pub(crate) struct Events(Vec<Event>);

impl Events {
    pub(crate) fn new() -> Events {
        Events(Vec::new())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> {
        self.0.iter().copied()
    }
}

pub(crate) struct Poller;

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller)
    }

    /// A socket that is readable already is an edge.
    pub(crate) fn add(&self, fd: Fd, key: usize, interest: Interest, mode: Mode) -> io::Result<()> {
        let watched = fd.with(|socket| {
            if socket.unwatchable {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            socket.watch = Some(Watch {
                key,
                interest,
                mode,
                edge: true,
            });
            Ok(())
        });
        KERNEL.came.notify_all();
        watched
    }

    pub(crate) fn modify(
        &self,
        fd: Fd,
        key: usize,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        self.add(fd, key, interest, mode)
    }

    pub(crate) fn delete(&self, fd: Fd) {
        fd.with(|socket| socket.watch = None);
    }

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let mut state = KERNEL.state.lock();
        let until = timeout.map(|timeout| state.now + timeout);
        loop {
            events.0 = state.sockets.iter_mut().filter_map(Socket::poll).collect();
            if std::mem::take(&mut state.notified) || !events.0.is_empty() {
                return Ok(());
            }
            match until {
                None => KERNEL.came.wait(&mut state),
                Some(until) => {
                    drop(state);
                    thread::yield_now();
                    state = KERNEL.state.lock();
                    if time_passes() {
                        state.now = state.now.max(until);
                        return Ok(());
                    }
                }
            }
        }
    }

    pub(crate) fn notify(&self) {
        KERNEL.state.lock().notified = true;
        KERNEL.came.notify_all();
    }
}

/// Time passes only where the leader sleeps with a timeout.
#[derive(Clone)]
pub(crate) struct Clock;

impl Clock {
    pub(crate) fn now(&self) -> Instant {
        KERNEL.state.lock().now
    }

    pub(crate) fn on_advance(&self, _: impl Fn()) {}

    pub(crate) fn sleep_until(&self, until: Option<Instant>) -> Option<Duration> {
        until.map(|until| until.saturating_duration_since(self.now()))
    }
}

/// A thread that sleeps now for nothing, now for all of its time.
pub(crate) struct ThreadUsage;

impl ThreadUsage {
    pub(crate) fn now() -> ThreadUsage {
        ThreadUsage
    }

    pub(crate) fn slept(self, took: Duration) -> Duration {
        if thread_rng().gen_bool(0.5) {
            took
        } else {
            Duration::ZERO
        }
    }
}
