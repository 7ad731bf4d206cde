//! The only file that names the `threadpool` crate, which owns the pool's threads: each runs one long job.

use parking_lot::Mutex;
use threadpool::ThreadPool;

/// Threads that are added and leave one by one.
pub(super) struct Threads(Mutex<ThreadPool>);

impl Threads {
    pub(super) fn new(name: &str) -> Threads {
        // A `ThreadPool` of no threads can't be had; its first thread waits for the first job.
        Threads(Mutex::new(threadpool::Builder::new().num_threads(1).thread_name(name.to_owned()).build()))
    }

    /// Adds a thread that runs `job`, the `count`th at the same time.
    pub(super) fn start(&self, count: usize, job: impl FnOnce() + Send + 'static) {
        let mut pool = self.0.lock();
        if pool.max_count() < count {
            pool.set_num_threads(count);
        }
        pool.execute(job);
    }

    /// The calling job is about to return, and its thread shall end: `count` remain.
    pub(super) fn leave(&self, count: usize) {
        self.0.lock().set_num_threads(count.max(1));
    }
}
