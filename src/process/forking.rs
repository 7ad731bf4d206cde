//! Python's `ForkingMixIn`: a process for each request.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use super::{ProcessRequest, Request, RequestKind};
use crate::address::ClientAddress;
use crate::error::{Error, Result};
use crate::handle::{Admission, Core, InFlight};
use crate::sys::{Fork, fork, thread_count};

/// A process for each request, as in Python's `ForkingMixIn`. Damage that a handler does ends with
/// its process.
///
/// The children count in memory that they share with the parent, so the figures and errors of
/// [`ServerHandle::stats`](crate::ServerHandle::stats) are those of all of them; `handle_error` is
/// called in the child, and in the parent for a child that a signal or an exit code other than 0
/// ended. Limits are counted in the parent. Only the child reads a PROXY header, so a limit per
/// address behind a proxy cannot be counted, and building a server with both settings is an error.
/// A handler's [`shutdown`](crate::ServerHandle::shutdown) reaches the parent.
///
/// Forking needs a process with a single thread. With more, `serve_forever` returns
/// [`Error::Unsupported`].
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use socketserver::{Builder, ForkingMixIn, Next, StreamRequest};
///
/// let process = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     write!(request.wfile, "{}", std::process::id())?;
///     Ok(Next::Close)
/// };
/// let model = ForkingMixIn::new().max_children(10).block_on_close(true);
/// let mut server = Builder::new().process(model).tcp("127.0.0.1:0", move |_| process)?;
/// let mut client = TcpStream::connect(server.server_address().inet().unwrap())?;
/// client.write_all(b"\n")?;
/// server.handle_request()?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_ne!(answer, std::process::id().to_string());
/// # Ok::<(), socketserver::Error>(())
/// ```
pub struct ForkingMixIn {
    max_children: usize,
    block_on_close: bool,
    children: Mutex<HashMap<Pid, Child>>,
}

/// A child process, as its parent sees it.
struct Child {
    core: Arc<Core>,
    client: ClientAddress,
    since: Instant,
    /// Whether the server has ended it by force.
    is_aborted: bool,
    /// The connection's place in the counts.
    _admission: Option<Admission>,
}

impl Default for ForkingMixIn {
    fn default() -> ForkingMixIn {
        ForkingMixIn {
            max_children: 40,
            block_on_close: true,
            children: Mutex::default(),
        }
    }
}

impl ForkingMixIn {
    /// Python's settings.
    pub fn new() -> ForkingMixIn {
        ForkingMixIn::default()
    }

    /// Maximum number of processes, at least 1. Further requests wait in the listener's backlog.
    /// Defaults to 40.
    pub fn max_children(self, count: usize) -> Self {
        ForkingMixIn {
            max_children: count.max(1),
            ..self
        }
    }

    /// Whether dropping the server waits for the children, and kills them at the end of the grace
    /// time (Python's `block_on_close`). Defaults to true.
    pub fn block_on_close(self, yes: bool) -> Self {
        ForkingMixIn {
            block_on_close: yes,
            ..self
        }
    }

    /// Reaps the children that have ended (Python's `collect_children`); waits for all if
    /// `blocking`.
    fn collect_children(&self, blocking: bool) {
        let pids: Vec<Pid> = self.children.lock().keys().copied().collect();
        let options = if blocking {
            WaitOptions::empty()
        } else {
            WaitOptions::NOHANG
        };
        for pid in pids {
            // Each by its id: other children of this process are not the server's to reap.
            match waitpid(Some(pid), options) {
                Ok(None) => {}
                Ok(Some((_, status))) => self.child_ended(pid, Some(status)),
                // Other code of the program has reaped it: how it ended is not known.
                Err(rustix::io::Errno::CHILD) => self.child_ended(pid, None),
                Err(error) => log::error!("child {}: {error}", pid.as_raw_nonzero()),
            }
        }
    }

    /// Forgets a child. One that a signal ended (a crash, the system's lack of memory), or that its
    /// handler ended with an exit code, could not count or report that itself.
    fn child_ended(&self, pid: Pid, status: Option<WaitStatus>) {
        let Some(child) = self.children.lock().remove(&pid) else {
            return;
        };
        let Some(status) = status.filter(|_| !child.is_aborted) else {
            return;
        };
        let how = match (status.terminating_signal(), status.exit_status()) {
            (Some(signal), _) => Some(format!("was ended by signal {signal}")),
            (None, Some(code)) if code != 0 => Some(format!("ended with exit code {code}")),
            _ => None,
        };
        if let Some(how) = how {
            let pid = pid.as_raw_nonzero();
            let what = format!("the request's process {pid} {how}");
            let error = Error::Io(io::Error::other(what));
            child.core.report_failure(&child.client, &error);
        }
    }
}

impl std::fmt::Debug for ForkingMixIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForkingMixIn")
            .field("max_children", &self.max_children)
            .finish_non_exhaustive()
    }
}

impl ProcessRequest for ForkingMixIn {
    fn process_request(&self, mut request: Request) {
        // The server looks before it accepts; a model that wraps this one may not.
        while self.is_full() && request.core().is_serving() {
            std::thread::sleep(Duration::from_millis(1)); // SIGCHLD is not the library's to take
            self.collect_children(false);
        }
        match fork() {
            Ok(Fork::Child) => serve_in_child(request),
            Ok(Fork::Parent(pid)) => {
                let child = Child {
                    core: Arc::clone(request.core()),
                    client: request.client_address().clone(),
                    since: Instant::now(),
                    is_aborted: false,
                    _admission: match &mut request.0 {
                        RequestKind::Stream { session, .. } => session.take_admission(),
                        RequestKind::Datagram { .. } => None,
                    },
                };
                self.children.lock().insert(pid, child);
            }
            Err(error) => {
                log::error!("no process can be started: {error}");
                let client = request.client_address();
                request.core().report_failure(client, &Error::Io(error));
            }
        }
    }

    fn service_actions(&self) {
        self.collect_children(false);
    }

    fn is_full(&self) -> bool {
        self.children.lock().len() >= self.max_children
    }

    fn pending(&self) -> usize {
        self.children.lock().len()
    }

    fn in_flight(&self) -> Vec<InFlight> {
        let children = self.children.lock();
        let in_flight = |child: &Child| InFlight {
            client_address: child.client.clone(),
            since: child.since,
        };
        children.values().map(in_flight).collect()
    }

    fn abort(&self) {
        for (pid, child) in &mut *self.children.lock() {
            child.is_aborted = true;
            // It may have ended by itself.
            let _ = kill_process(*pid, Signal::KILL);
        }
    }

    fn is_concurrent(&self) -> bool {
        false
    }

    fn forks(&self) -> bool {
        true
    }

    fn blocks_on_close(&self) -> bool {
        self.block_on_close
    }

    fn server_close(&self) {
        self.collect_children(true);
    }

    fn check(&self) -> Result<()> {
        match thread_count()? {
            1 => Ok(()),
            count => Err(Error::Unsupported(format!(
                "forking needs a process with a single thread, and this one has {count}: start \
                 the server before other threads, or use ThreadingMixIn"
            ))),
        }
    }
}

/// Serves the request, and ends this process. Whatever happens, the child must not unwind into its
/// copy of the program that called `serve_forever`, which would then run twice.
fn serve_in_child(request: Request) -> ! {
    let core = Arc::clone(request.core());
    let client = request.client_address().clone();
    let serve = || {
        core.mark_forked();
        if let RequestKind::Stream { sources, .. } = &request.0 {
            sources.stop_listening_in_child(core.wake_pipe.closing());
        }
        request.run();
    };
    let caught = catch_unwind(AssertUnwindSafe(|| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(serve)) {
            core.report_panic(&client, &*panic);
        }
        // The payload of a panic may panic when it is dropped: hence the second guard.
    }));
    std::mem::forget(caught);
    // Neither destructors nor exit handlers: they belong to the parent (Python's `os._exit`).
    signal_hook::low_level::exit(0)
}
