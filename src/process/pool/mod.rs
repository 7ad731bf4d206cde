//! The pool: leader and followers over one poller.

mod connections;
mod ending;
mod engine;
mod leader;
mod scheduler;
mod sync;
mod threads;
mod usage;
mod workers;

use std::io;
use std::num::NonZero;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{ProcessRequest, Request, RequestKind};
use crate::clock::Clock;
use crate::handle::Core;
pub(crate) use engine::Pool;
use engine::PoolWaker;
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
    engine: Mutex<Option<Arc<Pool>>>,
}

impl Default for ThreadingMixIn {
    fn default() -> ThreadingMixIn {
        let size = Mutex::new((ThreadingMixIn::default_threads(), 256));
        ThreadingMixIn {
            shared: Arc::new(PoolShared {
                size,
                engine: Mutex::new(None),
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

    /// The largest number of threads that a pool can have.
    pub const MAX_THREADS: usize = 65_536;

    /// How many threads stay, even without work. Range: 1 to
    /// [`MAX_THREADS`](ThreadingMixIn::MAX_THREADS); other values are moved into it. Defaults to
    /// twice the number of cores, at least 4. No more of them are awake than there are cores,
    /// unless handlers block. Has no effect after the first server has begun to serve.
    pub fn threads(self, count: usize) -> Self {
        self.shared.size.lock().0 = count.clamp(1, ThreadingMixIn::MAX_THREADS);
        self
    }

    /// How many threads stay unless [`threads`](ThreadingMixIn::threads) says otherwise.
    pub fn default_threads() -> usize {
        (2 * cores()).max(4)
    }

    /// How many threads there may be while handlers block. Range: 1 to
    /// [`MAX_THREADS`](ThreadingMixIn::MAX_THREADS); other values are moved into it. Defaults to
    /// 256. Two threads more, which call no `handle`, look after the pool: one replaces threads
    /// that are stuck, the other ends connections while all are. Has no effect after the first
    /// server has begun to serve.
    pub fn max_threads(self, count: usize) -> Self {
        self.shared.size.lock().1 = count.clamp(1, ThreadingMixIn::MAX_THREADS);
        self
    }

    /// The pool at work; the first caller's clock is everybody's.
    pub(crate) fn engine(&self, clock: &Clock) -> io::Result<Arc<Pool>> {
        let (threads, max_threads) = *self.shared.size.lock();
        let mut shared = self.shared.engine.lock();
        let engine = match &mut *shared {
            Some(engine) => Arc::clone(engine),
            none => {
                let most = max_threads.max(threads);
                Arc::clone(none.insert(Pool::new(
                    PoolSize {
                        min_threads: threads,
                        max_threads: most,
                        max_awake: cores(),
                    },
                    clock.clone(),
                )?))
            }
        };
        if let Err(error) = engine.start(threads) {
            *shared = None; // its threads have ended; a later server tries with a new pool
            return Err(error);
        }
        Ok(engine)
    }

    /// Has the server's handle reach the pool.
    pub(crate) fn register_waker(engine: &Arc<Pool>, core: &Arc<Core>) {
        core.set_waker(Arc::new(PoolWaker {
            pool: Arc::clone(engine),
            core: Arc::downgrade(core),
        }));
    }
}

impl ProcessRequest for ThreadingMixIn {
    fn process_request(&self, request: Request) {
        match request.0 {
            RequestKind::Stream { session, .. } => match self.engine(&session.core().clock) {
                Ok(engine) => engine.submit(session),
                Err(error) => log::error!(
                    "{}: the pool can't start: {error}",
                    session.client_address()
                ),
            },
            RequestKind::Datagram { request, job } => job.handle(request),
        }
    }

    fn pool(&self) -> Option<&ThreadingMixIn> {
        Some(self)
    }
}

impl Drop for PoolShared {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.get_mut() {
            engine.stop();
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
