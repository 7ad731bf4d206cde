//! The pool: leader and followers over one poller.

mod connections;
mod ending;
mod engine;
mod leader;
mod pool_engine;
mod scheduler;
mod sync;
mod threads;
mod usage;
mod woken;
mod workers;

use std::io;
use std::num::NonZero;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Accepting, AcceptingKind, ProcessRequest, Request, RequestKind};
use crate::clock::Clock;
use crate::error::Error;
use engine::Pool;
pub(crate) use pool_engine::PoolEngine;
use scheduler::PoolSize;

/// A pool of threads. Idle connections hold no thread, whereas Python's `ThreadingMixIn` starts a
/// thread for each connection.
///
/// Clones share their threads: give the same pool to several servers. Threads start with the first
/// server that serves, and end when the pool and its servers are dropped.
///
/// Two servers that share the threads of one pool:
///
/// ```
/// use socketserver::{Builder, Next, StreamRequest, ThreadingMixIn};
///
/// let threads = ThreadingMixIn::default_threads().min(8);
/// let pool = ThreadingMixIn::new().threads(threads).max_threads(64);
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let serve = |pool| Builder::new().process(pool).tcp("127.0.0.1:0", move |_| close)?.spawn();
/// let (first, second) = (serve(pool.clone())?, serve(pool)?);
/// assert_eq!(first.handle().stats().threads, threads);
/// first.stop()?;
/// second.stop()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
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

    /// The largest number of threads that a pool can have.
    pub const MAX_THREADS: usize = 65_536;

    /// Minimum number of threads, which stay even without work. Range: 1 to
    /// [`MAX_THREADS`](ThreadingMixIn::MAX_THREADS); other values are moved into it. Defaults to
    /// twice the number of cores, at least 4. No more of them are awake than there are cores,
    /// unless handlers block. Has no effect after the first server has begun to serve.
    pub fn threads(self, count: usize) -> Self {
        self.shared.size.lock().0 = count.clamp(1, ThreadingMixIn::MAX_THREADS);
        self
    }

    /// The default of [`threads`](ThreadingMixIn::threads): twice the number of cores, at least 4.
    pub fn default_threads() -> usize {
        (2 * cores()).max(4)
    }

    /// Maximum number of threads, which is reached only while handlers block. Range: 1 to
    /// [`MAX_THREADS`](ThreadingMixIn::MAX_THREADS); other values are moved into it. Defaults to
    /// 256. Two threads more, which call no `handle`, look after the pool: one replaces threads
    /// that are stuck, the other ends connections while all are. Has no effect after the first
    /// server has begun to serve.
    pub fn max_threads(self, count: usize) -> Self {
        self.shared.size.lock().1 = count.clamp(1, ThreadingMixIn::MAX_THREADS);
        self
    }

    /// The pool at work, whose deadlines go by the clock of the server that came first.
    pub(crate) fn pool(&self, clock: &Clock) -> io::Result<Arc<Pool>> {
        let (threads, max_threads) = *self.shared.size.lock();
        let mut shared = self.shared.pool.lock();
        let pool = match &mut *shared {
            Some(pool) => Arc::clone(pool),
            none => {
                let size = PoolSize {
                    min_threads: threads,
                    max_threads: max_threads.max(threads),
                    max_awake: cores(),
                };
                Arc::clone(none.insert(Pool::new(size, clock.clone())?))
            }
        };
        if let Err(error) = pool.start(threads) {
            *shared = None; // its threads have ended; a later server tries with a new pool
            return Err(error);
        }
        Ok(pool)
    }
}

impl ProcessRequest for ThreadingMixIn {
    fn process_request(&self, request: Request) {
        match request.0 {
            RequestKind::Stream { session, .. } => match self.pool(&session.core().config.clock) {
                Ok(pool) => pool.submit(session),
                Err(error) => {
                    let client = session.client_address();
                    session.core().report_failure(client, &Error::Io(error));
                }
            },
            datagram @ RequestKind::Datagram { .. } => Request(datagram).run(),
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
