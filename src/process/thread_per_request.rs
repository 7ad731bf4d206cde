//! Python's `ThreadingMixIn` as it is, but with a limit.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{ProcessRequest, Request};
use crate::error::Error;

/// A thread for each request, as Python's `ThreadingMixIn` has it; an idle connection holds its
/// thread. A request for which no thread can be had is closed, counted as failed, and reported to
/// `handle_error`. Prefer [`ThreadingMixIn`](crate::ThreadingMixIn), unless handlers must have a
/// thread of their own.
///
/// A clone has the same settings, and threads and a limit of its own.
#[derive(Debug)]
pub struct ThreadPerRequest {
    max_threads: usize,
    daemon_threads: bool,
    block_on_close: bool,
    running: Arc<Running>,
}

#[derive(Debug, Default)]
struct Running {
    count: Mutex<usize>,
    fewer: Condvar,
}

impl Default for ThreadPerRequest {
    fn default() -> ThreadPerRequest {
        ThreadPerRequest {
            max_threads: 256,
            daemon_threads: false,
            block_on_close: true,
            running: Arc::default(),
        }
    }
}

impl Clone for ThreadPerRequest {
    fn clone(&self) -> ThreadPerRequest {
        // Shared threads would have one server wait at its end for the requests of another.
        ThreadPerRequest {
            running: Arc::default(),
            ..*self
        }
    }
}

impl ThreadPerRequest {
    /// Python's settings, and at most 256 threads.
    pub fn new() -> ThreadPerRequest {
        ThreadPerRequest::default()
    }

    /// How many requests are served at the same time, at least 1; more wait in the listener's
    /// backlog. Defaults to 256.
    pub fn max_threads(self, count: usize) -> Self {
        ThreadPerRequest {
            max_threads: count.max(1),
            ..self
        }
    }

    /// Whether dropping the server leaves running threads to themselves (Python's
    /// `daemon_threads`). Defaults to false.
    pub fn daemon_threads(self, yes: bool) -> Self {
        ThreadPerRequest {
            daemon_threads: yes,
            ..self
        }
    }

    /// Whether dropping the server waits for the threads that are not daemons (Python's
    /// `block_on_close`): for the grace time, and then, as a thread can't be ended by force, until
    /// the last handler returns. Defaults to true.
    pub fn block_on_close(self, yes: bool) -> Self {
        ThreadPerRequest {
            block_on_close: yes,
            ..self
        }
    }
}

impl ProcessRequest for ThreadPerRequest {
    fn process_request(&self, request: Request) {
        let mut count = self.running.count.lock();
        while *count >= self.max_threads {
            self.running.fewer.wait(&mut count);
        }
        *count += 1;
        drop(count);
        let counted = Counted(Arc::clone(&self.running));
        let (core, client) = (Arc::clone(request.core()), request.client_address().clone());
        let thread = std::thread::Builder::new()
            .name("request".to_owned())
            .spawn(move || {
                request.run();
                drop(counted);
            });
        if let Err(error) = thread {
            log::error!("no thread can be started: {error}");
            core.report_failure(&client, &Error::Io(error));
        }
    }

    fn is_full(&self) -> bool {
        *self.running.count.lock() >= self.max_threads
    }

    fn blocks_on_close(&self) -> bool {
        self.block_on_close && !self.daemon_threads
    }

    fn server_close(&self) {
        let mut count = self.running.count.lock();
        while *count > 0 {
            self.running.fewer.wait(&mut count);
        }
    }
}

/// One running thread, until it is dropped.
struct Counted(Arc<Running>);

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.count.lock() -= 1;
        self.0.fewer.notify_all();
    }
}
