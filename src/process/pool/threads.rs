//! The pool's threads. This is the only file that names the `threadpool` crate, which owns them.
//!
//! Each thread of the `ThreadPool` runs one long job: a worker's whole life. So starting a worker
//! means to raise the number of threads by one and to submit a job, and a worker leaves by
//! lowering the number before its job returns.
//!
//! `threadpool` unwraps the result of the system call that starts a thread. If the system refuses
//! the thread (`RLIMIT_NPROC`, a container's `pids.max`, no memory for a stack), the caller of
//! `set_num_threads` panics, and the crate counts a thread that does not exist. Therefore
//! [`Threads::start`] first starts a *probe*, a thread of the standard library that ends at once;
//! its failure is an ordinary error. Another process may take the place between the probe and the
//! real thread. Then the panic is caught, the count is corrected, and the caller gets an error as
//! well (the panic hook of the program has printed its lines by then). `threadpool` holds no lock
//! while it panics.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use threadpool::ThreadPool;

/// Tests whether the system grants another thread.
type Probe = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Threads that are started and leave one by one.
pub(super) struct Threads {
    name: String,
    probe: Probe,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    /// `None` until the first start: a `ThreadPool` has at least one thread from the beginning.
    pool: Option<ThreadPool>,
    /// Jobs that were started and have not left. They are counted under the lock that is held while
    /// the `ThreadPool` learns their number. Otherwise a thread that starts while another leaves
    /// could announce a number that is out of date, and its job would get no thread.
    jobs: usize,
}

impl Threads {
    pub(super) fn new(name: &str) -> Threads {
        Threads::with_probe(name, Box::new(probe_thread))
    }

    fn with_probe(name: &str, probe: Probe) -> Threads {
        Threads {
            name: name.to_owned(),
            probe,
            counted: Mutex::default(),
        }
    }

    /// Adds a thread that runs `job`.
    ///
    /// # Errors
    /// When the system refuses the thread. Then `job` is dropped, and a later call may succeed.
    pub(super) fn start(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut counted = self.counted.lock();
        (self.probe)()?;
        let jobs = counted.jobs + 1;
        let started = catch_unwind(AssertUnwindSafe(|| {
            counted
                .pool
                .get_or_insert_with(|| {
                    threadpool::Builder::new()
                        .num_threads(1)
                        .thread_name(self.name.clone())
                        .build()
                })
                .set_num_threads(jobs);
        }));
        if started.is_err() {
            counted.announce();
            return Err(rustix::io::Errno::AGAIN.into());
        }
        counted.jobs = jobs;
        if let Some(pool) = &counted.pool {
            pool.execute(job);
        }
        Ok(())
    }

    /// The calling job is about to return. Its thread ends, or takes over a job that no other
    /// thread has begun.
    pub(super) fn leave(&self) {
        let mut counted = self.counted.lock();
        counted.jobs -= 1;
        counted.announce();
    }
}

impl Counted {
    /// Tells the `ThreadPool` how many threads it has to have. Never more than it has: so it starts
    /// none, and cannot panic.
    fn announce(&mut self) {
        if let Some(pool) = &mut self.pool {
            pool.set_num_threads(self.jobs.max(1));
        }
    }
}

/// Starts a thread, and waits until it is gone.
fn probe_thread() -> io::Result<()> {
    let probe = thread::Builder::new()
        .name("probe".to_owned())
        .spawn(|| std::fs::read_link("/proc/thread-self").ok())?;
    // The thread counts against the limits for a few microseconds after it was joined. The real
    // thread must not be refused for that; where there is no `/proc`, it is a risk.
    if let Ok(Some(task)) = probe.join() {
        let task = Path::new("/proc").join(task);
        for _ in 0..100 {
            if !task.exists() {
                break;
            }
            thread::sleep(Duration::from_micros(20));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// Starts a job that reports when it has begun, and leaves when it is told to.
    fn start(threads: &Arc<Threads>) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (begins, begun) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let leaving = Arc::clone(threads);
        threads
            .start(move || {
                begins.send(()).unwrap();
                released.recv().unwrap();
                leaving.leave();
                begins.send(()).unwrap();
                released.recv().unwrap();
            })
            .unwrap();
        (begun, release)
    }

    #[test]
    fn a_job_that_starts_while_others_leave_gets_a_thread() {
        let threads = Arc::new(Threads::new("test"));
        let jobs: Vec<_> = (0..3).map(|_| start(&threads)).collect();
        jobs.iter()
            .for_each(|(begun, _)| begun.recv_timeout(LONG).unwrap());
        // One has said that it leaves, another has not yet; neither thread has ended.
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

    #[test]
    fn a_thread_that_is_refused_is_an_error_and_a_later_one_starts() {
        let refuses = Arc::new(AtomicBool::new(true));
        let probe = Arc::clone(&refuses);
        let probe: Probe = Box::new(move || match probe.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        });
        let threads = Arc::new(Threads::with_probe("test", probe));
        let mut running = Vec::new();
        for _ in 0..3 {
            refuses.store(true, Ordering::SeqCst);
            let refused = threads.start(|| unreachable!("it has no thread"));
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::WouldBlock);
            refuses.store(false, Ordering::SeqCst);
            let (begun, release) = start(&threads);
            begun
                .recv_timeout(LONG)
                .expect("the next one has no thread");
            running.push(release);
        }
        for release in running {
            release.send(()).unwrap();
            release.send(()).unwrap();
        }
    }
}
