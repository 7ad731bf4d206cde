//! The pool's threads, which the scenario can wait for.

use crate::sync::{Mutex, thread};

/// In place of the `threadpool` crate.
pub(crate) struct Threads(Mutex<Vec<thread::JoinHandle<()>>>);

impl Threads {
    pub(crate) fn new(_: &str) -> Threads {
        Threads(Mutex::default())
    }

    /// A thread of the model; its end is awaited by shuttle itself, which fails a run whose threads
    /// don't end.
    pub(crate) fn start(&self, job: impl FnOnce() + Send + 'static) {
        let thread = thread::spawn(job);
        self.0.lock().push(thread);
    }

    pub(crate) fn leave(&self) {}
}
