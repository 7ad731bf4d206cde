//! Listeners and datagram sockets, as small as the pool can have them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kernel::{Fd, Interest, Mode, Poller, Read};
use crate::server::{Admission, ClientAddress, Core, Manner, Origin, Session};
use crate::sync::Mutex;

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

    pub(crate) fn is_done(&self) -> bool {
        false
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

/// The connections of a listening socket that are aborted: there are none.
pub(crate) struct Drained {
    pub(crate) origin: Arc<Origin>,
}

impl Drained {
    pub(crate) fn count(&self, _: usize) {}
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

    pub(crate) fn next_due(&self) -> Option<Instant> {
        None
    }

    pub(crate) fn handle_due(&self, _: Instant, _: &Poller) -> Vec<Drained> {
        Vec::new()
    }
}
