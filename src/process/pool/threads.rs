//! The only file that names the `threadpool` crate, which owns the pool's threads: each runs one
//! long job.

use parking_lot::Mutex;
use threadpool::ThreadPool;

/// Threads that are added and leave one by one.
pub(super) struct Threads(Mutex<Counted>);

struct Counted {
    pool: ThreadPool,
    /// Jobs that were started and haven't left. Counted here, under the lock that also tells the
    /// pool: a thread that starts while another leaves would else be told a number that no longer
    /// holds, and its job be left to nobody.
    jobs: usize,
}

impl Threads {
    pub(super) fn new(name: &str) -> Threads {
        // A `ThreadPool` of no threads can't be had; its first thread waits for the first job.
        let pool = threadpool::Builder::new()
            .num_threads(1)
            .thread_name(name.to_owned())
            .build();
        Threads(Mutex::new(Counted { pool, jobs: 0 }))
    }

    /// Adds a thread that runs `job`.
    pub(super) fn start(&self, job: impl FnOnce() + Send + 'static) {
        let mut counted = self.0.lock();
        counted.jobs += 1;
        counted.fit();
        counted.pool.execute(job);
    }

    /// The calling job is about to return, and its thread shall end; or take over a job that no
    /// other thread has begun.
    pub(super) fn leave(&self) {
        let mut counted = self.0.lock();
        counted.jobs -= 1;
        counted.fit();
    }
}

impl Counted {
    fn fit(&mut self) {
        self.pool.set_num_threads(self.jobs.max(1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// Starts a job that reports when it has begun, and leaves when it is told to.
    fn start(threads: &Arc<Threads>) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (begins, begun) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let leaving = Arc::clone(threads);
        threads.start(move || {
            begins.send(()).unwrap();
            released.recv().unwrap();
            leaving.leave();
            begins.send(()).unwrap();
            released.recv().unwrap();
        });
        (begun, release)
    }

    #[test]
    fn a_job_that_starts_while_others_leave_gets_a_thread() {
        let threads = Arc::new(Threads::new("test"));
        let jobs: Vec<_> = (0..3).map(|_| start(&threads)).collect();
        jobs.iter()
            .for_each(|(begun, _)| begun.recv_timeout(LONG).unwrap());
        // One has said that it leaves, another hasn't yet; neither thread has ended.
        jobs[1].1.send(()).unwrap();
        jobs[1].0.recv_timeout(LONG).unwrap();
        let (begun, release) = start(&threads);
        jobs[2].1.send(()).unwrap();
        jobs[2].0.recv_timeout(LONG).unwrap();
        jobs[1..]
            .iter()
            .for_each(|(_, release)| release.send(()).unwrap());
        begun.recv_timeout(LONG).expect("the new job has no thread");
        for release in [&release, &jobs[0].1] {
            release.send(()).unwrap();
            release.send(()).unwrap();
        }
    }
}
