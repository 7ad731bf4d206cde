//! The pool: leader and followers over one poller.

mod engine;
mod pool_engine;
mod scheduler;
mod sync;
mod threads;
mod usage;

use std::io;
use std::num::NonZero;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Accepting, AcceptingKind, ProcessRequest, Request, RequestKind};
use crate::clock::Clock;
use engine::Pool;
pub(crate) use pool_engine::PoolEngine;
use scheduler::PoolSize;

/// A pool of threads, whose idle connections hold none (Python's `ThreadingMixIn` starts a thread
/// for each).
///
/// Clones share their threads: give the same pool to several servers. Threads start with the first
/// server that serves, and end when the pool and its servers are dropped.
#[derive(Clone)]
pub struct ThreadingMixIn {
    shared: Arc<PoolShared>,
}

struct PoolShared {
    size: Mutex<(usize, usize)>,
    pool: Mutex<Option<Arc<Pool>>>,
}

impl Default for ThreadingMixIn {
    fn default() -> ThreadingMixIn {
        let size = Mutex::new((ThreadingMixIn::default_threads(), 256));
        ThreadingMixIn {
            shared: Arc::new(PoolShared {
                size,
                pool: Mutex::new(None),
            }),
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

impl ThreadingMixIn {
    /// A pool of the default size.
    pub fn new() -> ThreadingMixIn {
        ThreadingMixIn::default()
    }

    /// How many threads stay, even without work. Defaults to twice the number of cores, at least 4.
    /// No more of them are awake than there are cores, unless handlers block. Counts until the
    /// first server serves.
    pub fn threads(self, count: usize) -> Self {
        self.shared.size.lock().0 = count.max(1);
        self
    }

    /// How many threads stay unless [`threads`](ThreadingMixIn::threads) says otherwise.
    pub fn default_threads() -> usize {
        (2 * cores()).max(4)
    }

    /// How many threads there may be while handlers block. Defaults to 256. Counts until the first
    /// server serves.
    pub fn max_threads(self, count: usize) -> Self {
        self.shared.size.lock().1 = count.max(1);
        self
    }

    /// The pool at work, whose deadlines go by the clock of the server that came first.
    pub(crate) fn pool(&self, clock: &Clock) -> io::Result<Arc<Pool>> {
        let (threads, max_threads) = *self.shared.size.lock();
        let mut pool = self.shared.pool.lock();
        let pool = match &mut *pool {
            Some(pool) => Arc::clone(pool),
            none => {
                let size = PoolSize {
                    least: threads,
                    most: max_threads.max(threads),
                    awake: cores(),
                };
                Arc::clone(none.insert(Pool::new(size, clock.clone())?))
            }
        };
        pool.start(threads)?;
        Ok(pool)
    }
}

impl ProcessRequest for ThreadingMixIn {
    fn process_request(&self, request: Request) {
        match request.0 {
            RequestKind::Stream { session, .. } => match self.pool(&session.core().clock) {
                Ok(pool) => pool.submit(session),
                Err(error) => log::error!(
                    "{}: the pool can't start: {error}",
                    session.client_address()
                ),
            },
            RequestKind::Datagram { request, job } => job.handle(request),
        }
    }

    fn accepting(&self) -> Accepting {
        Accepting(AcceptingKind::Pool(self.clone()))
    }
}

impl Drop for PoolShared {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.get_mut() {
            pool.stop();
        }
    }
}

impl std::fmt::Debug for ThreadingMixIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (threads, max_threads) = *self.shared.size.lock();
        f.debug_struct("ThreadingMixIn")
            .field("threads", &threads)
            .field("max_threads", &max_threads)
            .finish()
    }
}
