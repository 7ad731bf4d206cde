//! A thread for each request, as in Python's `ThreadingMixIn`, with a maximum.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{ProcessRequest, Request};
use crate::error::Error;

/// A thread for each request, as in Python's `ThreadingMixIn`. An idle connection holds its thread.
/// A request whose thread the system refuses is closed, counted as failed, and reported to
/// `handle_error`. Prefer [`ThreadingMixIn`](crate::ThreadingMixIn), unless each handler needs its
/// own thread.
///
/// A clone has the same settings, and its own threads and count.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use socketserver::{Builder, Next, StreamRequest, ThreadPerRequest};
///
/// let model = ThreadPerRequest::new().max_threads(50).daemon_threads(false).block_on_close(true);
/// let name = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     write!(request.wfile, "{}", std::thread::current().name().unwrap_or_default())?;
///     Ok(Next::Close)
/// };
/// let server = Builder::new().process(model).tcp("127.0.0.1:0", move |_| name)?.spawn()?;
/// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
/// client.write_all(b"\n")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "request");
/// server.stop()?;
/// # Ok::<(), socketserver::Error>(())
/// ```
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

    /// Maximum number of threads, at least 1. Further requests wait in the listener's backlog.
    /// Defaults to 256.
    pub fn max_threads(self, count: usize) -> Self {
        ThreadPerRequest {
            max_threads: count.max(1),
            ..self
        }
    }

    /// Whether dropping the server does not wait for running threads (Python's `daemon_threads`).
    /// Defaults to false.
    pub fn daemon_threads(self, yes: bool) -> Self {
        ThreadPerRequest {
            daemon_threads: yes,
            ..self
        }
    }

    /// Whether dropping the server waits for the threads that are not daemons (Python's
    /// `block_on_close`): for the grace time, and then, because a thread cannot be killed, until
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
