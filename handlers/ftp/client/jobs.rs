//! Several sessions that work off one list.

use std::thread;

use parking_lot::Mutex;

use super::fault::Fault;
use super::session::{Session, Target};
use super::transfer::{Transferred, Verified};
use crate::service::Failure;

/// What has become of the files, all sessions together.
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
    /// Nothing more can be done, for this reason.
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

    pub(super) fn fail(&mut self, what: impl std::fmt::Display, fault: &Fault) {
        self.failed.push(format!("{what}: {fault}"));
    }
}

/// Does `work` for every item, in up to `jobs` sessions, of which one is there already. Returns
/// that session, if it still works.
pub(super) fn run<'a, T: Send + std::fmt::Display>(
    target: &'a Target,
    session: Session<'a>,
    jobs: u16,
    items: Vec<T>,
    tally: &mut Tally,
    work: impl Fn(&mut Session<'a>, &T) -> Result<Transferred, Fault> + Sync,
) -> Option<Session<'a>> {
    let jobs = usize::from(jobs).min(items.len()).max(1);
    let features = session.features.clone();
    let queue = Mutex::new(items.into_iter());
    let shared = Mutex::new(std::mem::take(tally));
    let (features, queue, shared, work) = (&features, &queue, &shared, &work);
    let first = thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(move || {
                // A server may allow fewer sessions: the others do the work then.
                if let Ok(session) = Session::open(target, Some(features))
                    && let Some(session) = work_off(target, session, queue, shared, work)
                {
                    session.quit();
                }
            });
        }
        work_off(target, session, queue, shared, work)
    });
    *tally = std::mem::take(&mut *shared.lock());
    tally.left = queue.lock().len();
    first
}

/// Works until nothing is left. A session that breaks is replaced by a new one, for the next file.
fn work_off<'a, T: std::fmt::Display>(
    target: &'a Target,
    session: Session<'a>,
    queue: &Mutex<std::vec::IntoIter<T>>,
    tally: &Mutex<Tally>,
    work: &(impl Fn(&mut Session<'a>, &T) -> Result<Transferred, Fault> + Sync),
) -> Option<Session<'a>> {
    let mut session = Some(session);
    loop {
        if tally.lock().broken.is_some() {
            return session;
        }
        let Some(item) = queue.lock().next() else {
            return session;
        };
        let opened = match session.take() {
            Some(open) => open.refreshed(),
            None => Session::open(target, None),
        };
        let mut open = match opened {
            Ok(open) => open,
            Err(failure) => {
                let mut tally = tally.lock();
                tally.failed.push(format!("{item}: {}", failure.message));
                tally.broken.get_or_insert(failure);
                return None;
            }
        };
        match work(&mut open, &item) {
            Ok(done) => tally.lock().add(done),
            Err(fault) => tally.lock().fail(&item, &fault),
        }
        session = open.is_alive().then_some(open);
    }
}
