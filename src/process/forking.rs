//! Python's `ForkingMixIn`: a process for each request.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::{ProcessRequest, Request, RequestKind};
use crate::error::{Error, Result};
use crate::handle::Admission;
use crate::sys::{Fork, fork, thread_count};

/// A process for each request, as Python's `ForkingMixIn` has it: what a handler breaks ends with
/// its process.
///
/// Limits are counted in the parent; that of an address can't be for clients behind a PROXY header,
/// which only the child reads. Forking needs a process with a single thread: `serve_forever`
/// refuses to begin when there are others.
pub struct ForkingMixIn {
    max_children: usize,
    block_on_close: bool,
    children: Mutex<HashMap<Pid, Option<Admission>>>,
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

    /// How many processes serve at the same time; more requests wait in the listener's backlog.
    /// Defaults to 40.
    pub fn max_children(self, count: usize) -> Self {
        ForkingMixIn {
            max_children: count.max(1),
            ..self
        }
    }

    /// Whether `server_close` waits for the children (Python's `block_on_close`). Defaults to true.
    pub fn block_on_close(self, yes: bool) -> Self {
        ForkingMixIn {
            block_on_close: yes,
            ..self
        }
    }

    /// Reaps the children that have ended (Python's `collect_children`); waits for one if
    /// `blocking`.
    fn collect_children(&self, blocking: bool) {
        let pids: Vec<Pid> = self.children.lock().keys().copied().collect();
        let options = if blocking {
            WaitOptions::empty()
        } else {
            WaitOptions::NOHANG
        };
        for pid in pids {
            // Each by its id: other children of this process are not ours to reap.
            match waitpid(Some(pid), options) {
                Ok(None) => {}
                Ok(Some(_)) | Err(rustix::io::Errno::CHILD) => {
                    drop(self.children.lock().remove(&pid))
                }
                Err(error) => log::error!("child {}: {error}", pid.as_raw_nonzero()),
            }
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
        while self.children.lock().len() >= self.max_children {
            std::thread::sleep(Duration::from_millis(1)); // a full house is rare, and SIGCHLD isn't ours to take
            self.collect_children(false);
        }
        match fork() {
            Ok(Fork::Child) => {
                request.core().mark_forked();
                if let RequestKind::Stream {
                    session, sources, ..
                } = &request.0
                {
                    sources.stop_listening_in_child(session.core().wake_pipe.closing());
                }
                request.run();
                // Neither destructors nor exit handlers: they belong to the parent (Python's
                // `os._exit`).
                signal_hook::low_level::exit(0);
            }
            Ok(Fork::Parent(pid)) => {
                let admission = match &mut request.0 {
                    RequestKind::Stream { session, .. } => session.take_admission(),
                    RequestKind::Datagram { .. } => None,
                };
                self.children.lock().insert(pid, admission);
            }
            Err(error) => log::error!(
                "{}: no process can be started: {error}",
                request.client_address()
            ),
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

    fn abort(&self) {
        for pid in self.children.lock().keys() {
            // It may have ended by itself.
            let _ = kill_process(*pid, Signal::KILL);
        }
    }

    fn server_close(&self) {
        self.collect_children(self.block_on_close);
    }

    fn check(&self) -> Result<()> {
        match thread_count()? {
            1 => Ok(()),
            count => Err(Error::Unsupported(format!(
                "forking needs a process with a single thread, and this one has {count}: start the server before other threads, or use ThreadingMixIn"
            ))),
        }
    }
}
