//! Several sessions that transfer the files of one list.

use std::collections::VecDeque;
use std::fmt;
use std::thread;

use parking_lot::Mutex;

use super::fault::Fault;
use super::session::{Session, Target};
use super::transfer::{Transferred, Verified};
use crate::service::Failure;

/// What all sessions together did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Files of which the digests are the same.
    pub(super) digests: u64,
    /// Files of which only the lengths are the same.
    pub(super) lengths: u64,
    /// A line for each thing that failed.
    pub(super) failed: Vec<String>,
    /// Why the run ended early.
    pub(super) broken: Option<Failure>,
    /// Files that were not begun.
    pub(super) left: usize,
}

impl Tally {
    pub(super) fn add(&mut self, done: Transferred) {
        self.files += 1;
        self.bytes += done.bytes;
        self.digests += u64::from(done.verified == Verified::Digest);
        self.lengths += u64::from(done.verified == Verified::Length);
    }

    pub(super) fn fail(&mut self, what: impl fmt::Display, fault: &Fault) {
        self.failed.push(format!("{what}: {fault}"));
    }
}

/// The files that are left, and how many sessions work on them.
struct Queue<T> {
    items: VecDeque<T>,
    /// Sessions, those that are being opened included.
    workers: usize,
}

/// What all sessions share.
struct Shared<'a, T, W> {
    target: &'a Target,
    queue: Mutex<Queue<T>>,
    tally: Mutex<Tally>,
    /// The session that finished last, for what is to be done after the files.
    finished: Mutex<Option<Session<'a>>>,
    work: W,
}

/// Does `work` for every item, in up to `jobs` sessions, of which one is open already. Returns a
/// session that still works, if there is one.
pub(super) fn run<'a, T: Send + fmt::Display>(
    target: &'a Target,
    session: Session<'a>,
    jobs: u16,
    items: Vec<T>,
    tally: &mut Tally,
    work: impl Fn(&mut Session<'a>, &T) -> Result<Transferred, Fault> + Sync,
) -> Option<Session<'a>> {
    let workers = usize::from(jobs).min(items.len()).max(1);
    let features = session.features.clone();
    let shared = Shared {
        target,
        queue: Mutex::new(Queue {
            items: items.into(),
            workers,
        }),
        tally: Mutex::new(std::mem::take(tally)),
        finished: Mutex::new(None),
        work,
    };
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| match Session::open(target, Some(&features)) {
                Ok(session) => shared.work_off(session),
                Err(failure) => shared.leave(None, failure),
            });
        }
        shared.work_off(session);
    });
    *tally = shared.tally.into_inner();
    tally.left = shared.queue.into_inner().items.len();
    shared.finished.into_inner()
}

impl<'a, T, W> Shared<'a, T, W>
where
    T: fmt::Display,
    W: Fn(&mut Session<'a>, &T) -> Result<Transferred, Fault>,
{
    /// Works until nothing is left. A session that breaks is replaced by a new one, for the next
    /// file.
    fn work_off(&self, session: Session<'a>) {
        let mut session = Some(session);
        while let Some(item) = self.next() {
            let opened = match session.take() {
                Some(mut open) => open.refresh().map(|()| open),
                None => Session::open(self.target, None),
            };
            let mut open = match opened {
                Ok(open) => open,
                Err(failure) => return self.leave(Some(item), failure),
            };
            match (self.work)(&mut open, &item) {
                Ok(done) => self.tally.lock().add(done),
                Err(fault) => self.tally.lock().fail(&item, &fault),
            }
            session = open.is_alive().then_some(open);
        }
        let Some(session) = session else { return };
        let earlier = self.finished.lock().replace(session);
        if let Some(earlier) = earlier {
            earlier.quit();
        }
    }

    fn next(&self) -> Option<T> {
        let mut queue = self.queue.lock();
        let item = queue.items.pop_front();
        if item.is_none() {
            queue.workers -= 1;
        }
        item
    }

    /// Ends a worker that gets no session, because a server may allow fewer sessions than `--jobs`.
    /// Its item is left to the other workers. The last worker ends the run.
    fn leave(&self, item: Option<T>, failure: Failure) {
        let mut queue = self.queue.lock();
        queue.workers -= 1;
        if queue.workers > 0 {
            queue.items.extend(item);
            return;
        }
        if item.is_none() && queue.items.is_empty() {
            return;
        }
        let mut tally = self.tally.lock();
        if let Some(item) = item {
            tally.failed.push(format!("{item}: {}", failure.message));
        }
        tally.broken = Some(failure);
    }
}
