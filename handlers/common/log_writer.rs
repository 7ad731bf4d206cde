//! Writes log lines to a file or standard error in a thread of its own, so that a slow disk never
//! delays a worker.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The target of audit records, which are logged even with `--quiet`: which client ran which
/// command.
pub(crate) const AUDIT: &str = "audit";

/// Maximum number of bytes that wait for the disk. Further lines are dropped and counted.
const MAX_WAITING: usize = 4 << 20;
/// Time that the thread waits for more lines after the first one, so that a busy server writes many
/// lines with one call.
const GATHER: Duration = Duration::from_millis(100);

/// The destination of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    StandardError,
    File(PathBuf),
}

impl Target {
    /// Parses a path; `-` is standard error.
    pub(crate) fn new(path: &Path) -> Target {
        if path == Path::new("-") {
            Target::StandardError
        } else {
            Target::File(path.to_owned())
        }
    }

    fn open(&self) -> io::Result<Output> {
        Ok(match self {
            Target::StandardError => Output::StandardError,
            Target::File(path) => {
                Output::File(OpenOptions::new().append(true).create(true).open(path)?)
            }
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::StandardError => f.write_str("standard error"),
            Target::File(path) => path.display().fmt(f),
        }
    }
}

enum Output {
    StandardError,
    File(File),
}

impl Output {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Output::StandardError => io::stderr().write_all(bytes),
            Output::File(file) => file.write_all(bytes),
        }
    }
}

/// Writes lines soon after they are added. If it is dropped, it writes the remaining lines.
pub(crate) struct LogWriter {
    target: Target,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

struct State {
    waiting: Vec<u8>,
    output: Option<Output>,
    closed: bool,
}

impl LogWriter {
    /// Opens the target for appending.
    pub(crate) fn open(target: Target) -> io::Result<LogWriter> {
        let output = target.open()?;
        let state = State {
            waiting: Vec::new(),
            output: Some(output),
            closed: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        Ok(LogWriter {
            target,
            shared,
            thread: Mutex::new(None),
        })
    }

    /// Starts the thread that writes. Before this call, the threads that log lines write them,
    /// because a server that forks must not have other threads.
    pub(crate) fn start(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_on())?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Adds a line, including its line end.
    pub(crate) fn line(&self, line: &[u8]) {
        let mut state = self.shared.state.lock();
        if self.thread.lock().is_none() {
            state.waiting.extend_from_slice(line);
            self.shared.write_waiting(&mut state);
        } else if state.waiting.len() + line.len() > MAX_WAITING {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            let first = state.waiting.is_empty();
            state.waiting.extend_from_slice(line);
            if first {
                self.shared.changed.notify_one();
            }
        }
    }

    /// Writes the remaining lines and ends the thread. This is called at the end of the process,
    /// because the global logger is never dropped. Later lines are written by the threads that log
    /// them.
    pub(crate) fn finish(&self) {
        let thread = self.thread.lock().take();
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = thread {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }

    /// Opens the file again, because log rotation may have moved it. Lines go to the new file only
    /// after [`switch`](LogWriter::switch).
    pub(crate) fn open_anew(&self) -> io::Result<Opened> {
        self.target
            .open()
            .map(Opened)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.target)))
    }

    /// Writes to the newly opened file from now on.
    pub(crate) fn switch(&self, Opened(output): Opened) {
        let mut state = self.shared.state.lock();
        self.shared.write_waiting(&mut state);
        state.output = Some(output);
    }
}

/// A log file that was opened again.
pub(crate) struct Opened(Output);

impl Shared {
    /// The loop of the writing thread.
    fn write_on(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            if state.waiting.is_empty() {
                self.changed.wait(&mut state);
                continue;
            }
            if !state.closed {
                self.changed.wait_for(&mut state, GATHER);
            }
            let Some(mut output) = state.output.take() else {
                return;
            };
            let mut lines = std::mem::take(&mut state.waiting);
            // The lock is released during the write. If the file is opened again meanwhile, the new
            // output is kept.
            parking_lot::MutexGuard::unlocked(&mut state, || self.write(&mut output, &mut lines));
            state.output.get_or_insert(output);
        }
        self.write_waiting(&mut state);
    }

    /// Writes the waiting lines. While the log's thread uses the output, it is missing here, and
    /// that thread writes these lines too.
    fn write_waiting(&self, state: &mut State) {
        if let Some(output) = &mut state.output {
            let mut lines = std::mem::take(&mut state.waiting);
            self.write(output, &mut lines);
        }
    }

    fn write(&self, output: &mut Output, lines: &mut Vec<u8>) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            lines.extend_from_slice(
                format!("# {dropped} lines were dropped: the disk is too slow\n").as_bytes(),
            );
        }
        // An error is ignored: errors are reported in this log, and the server must continue.
        let _ = output.write_all(lines);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.finish();
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Appends `text` so that it stays on one line and cannot look like another field. As in nginx,
/// control bytes, quotes, backslashes and bytes outside of ASCII become `\xHH`.
pub(crate) fn escape_into(line: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => {
                line.extend_from_slice(&[
                    b'\\',
                    b'x',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]);
            }
            _ => line.push(byte),
        }
    }
}
