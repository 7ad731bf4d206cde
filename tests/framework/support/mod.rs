//! Servers that run while a test looks at them, handlers that stop when they are told, and
//! processes for tests that count.

mod client;
#[path = "../../support/examples.rs"]
pub(crate) mod examples;
#[path = "../../support/process.rs"]
mod process;

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use socketserver::{
    ClientAddress, Result, Server, ServerAddress, ServerHandle, StatsSnapshot, Traffic,
};

pub(crate) use client::{Client, PATIENCE, TestDir, assert_closed, eventually, is_listening};
pub(crate) use process::BoundedCommand;

/// A server that serves on a thread of its own; shut down at the end of the test.
pub(crate) struct Running {
    pub(crate) handle: ServerHandle,
    pub(crate) addresses: Vec<ServerAddress>,
    result: mpsc::Receiver<Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(mut server: Server) -> Running {
        let (handle, addresses) = (server.handle(), server.server_addresses().to_vec());
        let (tell, result) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let served = server.serve_forever();
            drop(server);
            let _ = tell.send(served);
        });
        Running {
            handle,
            addresses,
            result,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> &ServerAddress {
        &self.addresses[0]
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    pub(crate) fn stats(&self) -> StatsSnapshot {
        self.handle.stats()
    }

    /// Waits until `serve_forever` has returned, and the server is dropped.
    #[track_caller]
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.result
                .recv_timeout(PATIENCE)
                .expect("serve_forever doesn't return")
                .unwrap();
            thread.join().unwrap();
        }
    }

    #[track_caller]
    pub(crate) fn stop(mut self) -> StatsSnapshot {
        self.handle.shutdown();
        self.join();
        self.handle.stats()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown();
        if !std::thread::panicking() {
            self.join();
        }
    }
}

/// Where handlers stop until the test lets them go on.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Default)]
struct GateState {
    entered: usize,
    allowed: usize,
}

impl Gate {
    /// For the handler: waits to be let on.
    pub(crate) fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock();
        state.entered += 1;
        changed.notify_all();
        let late = changed
            .wait_while_for(&mut state, |state| state.allowed == 0, PATIENCE)
            .timed_out();
        assert!(!late, "the gate stays shut");
        state.allowed -= 1;
    }

    /// Waits until so many handlers have come, since the beginning.
    #[track_caller]
    pub(crate) fn wait_entered(&self, count: usize) {
        let (state, changed) = &*self.0;
        let mut state = state.lock();
        let late = changed
            .wait_while_for(&mut state, |state| state.entered < count, PATIENCE)
            .timed_out();
        assert!(!late, "only {} handlers came", state.entered);
    }

    pub(crate) fn entered(&self) -> usize {
        self.0.0.lock().entered
    }

    /// Lets so many handlers on.
    pub(crate) fn open(&self, count: usize) {
        self.0.0.lock().allowed += count;
        self.0.1.notify_all();
    }
}

/// Counts the bytes that a server has read.
#[derive(Clone, Default)]
pub(crate) struct ReadBytes(Arc<AtomicUsize>);

impl ReadBytes {
    /// The trace of the server.
    pub(crate) fn trace(&self) -> impl Fn(&ClientAddress, Traffic<'_>) + Send + Sync + 'static {
        let count = Arc::clone(&self.0);
        move |_: &ClientAddress, traffic: Traffic<'_>| {
            if let Traffic::Received(bytes) = traffic {
                count.fetch_add(bytes.len(), Ordering::SeqCst);
            }
        }
    }

    /// Waits until this number of bytes was read, since the beginning.
    #[track_caller]
    pub(crate) fn wait_for(&self, total: usize) {
        eventually("the bytes are read", || {
            self.0.load(Ordering::SeqCst) >= total
        });
    }
}

/// Runs a test in a process of its own, whose descriptors, threads and memory no other test
/// touches.
#[track_caller]
pub(crate) fn alone(body: impl FnOnce()) {
    const MARK: &str = "FRAMEWORK_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let thread = std::thread::current();
    let test = thread
        .name()
        .expect("libtest names the thread after the test");
    run_test(
        Command::new(std::env::current_exe().unwrap()).env(MARK, "1"),
        test,
    );
}

/// Runs one test in another process, which the command starts.
#[track_caller]
pub(crate) fn run_test(command: &mut Command, test: &str) {
    let output = command.args(["--exact", test, "--nocapture"]).finish();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How many descriptors this process has.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
