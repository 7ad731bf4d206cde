//! Transfers the files of one list in several sessions. Each session has its own thread.

use std::collections::VecDeque;
use std::fmt;
use std::thread;

use parking_lot::Mutex;

use super::fault::Fault;
use super::session::{Session, Target};
use super::transfer::{Transferred, Verified};
use crate::service::Failure;

/// The results of all sessions together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Number of files that were verified by their digests.
    pub(super) digests: u64,
    /// Number of files that were verified only by their lengths.
    pub(super) lengths: u64,
    /// A message for each file or folder that failed.
    pub(super) failed: Vec<String>,
    /// Why the run ended before all files were transferred; `None` if it did not.
    pub(super) broken: Option<Failure>,
    /// Number of files that no session has begun to transfer.
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

/// The items that no session has begun, and the number of workers.
struct Queue<T> {
    /// The items that no session has begun.
    items: VecDeque<T>,
    /// Number of workers that have a session or are opening one.
    workers: usize,
}

/// The state that all workers share.
struct Shared<'a, T, W> {
    target: &'a Target,
    queue: Mutex<Queue<T>>,
    tally: Mutex<Tally>,
    /// The session of the worker that ended last. It is used for the work after the transfers.
    finished: Mutex<Option<Session<'a>>>,
    /// Transfers one item.
    work: W,
}

/// Calls `work` for every item, in up to `jobs` sessions. `session` is the first of them, and the
/// others are opened here. Returns a session that can still be used; `None` if there is none.
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
    /// Transfers items until the queue is empty. If the session breaks, opens a new session for the
    /// next item.
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

    /// Ends a worker that could not open a session, because a server may allow fewer sessions than
    /// `--jobs`. The worker's item goes back to the queue for the other workers. If this was the
    /// last worker, the run ends with this failure, unless nothing is left to do.
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
