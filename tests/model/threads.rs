//! The pool's threads, which the scenario can wait for.

use std::io;

use crate::sync::{Mutex, thread};

/// In place of the `threadpool` crate.
pub(crate) struct Threads(Mutex<Vec<thread::JoinHandle<()>>>);

impl Threads {
    pub(crate) fn new(_: &str) -> Threads {
        Threads(Mutex::default())
    }

    /// A thread of the model. Shuttle itself waits for its end, and fails a run whose threads do
    /// not end.
    pub(crate) fn start(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = thread::spawn(job);
        self.0.lock().push(thread);
        Ok(())
    }

    pub(crate) fn leave(&self) {}
}
