//! A file, or standard error, that is written by a thread of its own: a slow disk never holds a
//! worker.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The target of log records that a quiet server writes too: who had it do what.
pub(crate) const AUDIT: &str = "audit";

/// Bytes that wait for the disk at most; what comes then is dropped, and counted.
const MOST_WAITING: usize = 4 << 20;
/// After the first line, others are waited for, so that a busy server writes in large pieces.
const GATHER: Duration = Duration::from_millis(100);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    StandardError,
    File(PathBuf),
}

impl Target {
    /// `-` is standard error.
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

/// Takes lines, and writes them soon. Dropped, it writes what is left.
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
    /// Opens the target, for appending.
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

    /// Starts the thread that writes. Before, and without it, lines are written by the threads that
    /// say them: a server that forks can't have other threads.
    pub(crate) fn start(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_on())?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Takes a line, its end included.
    pub(crate) fn line(&self, line: &[u8]) {
        let mut state = self.shared.state.lock();
        if self.thread.lock().is_none() {
            state.waiting.extend_from_slice(line);
            self.shared.write_waiting(&mut state);
        } else if state.waiting.len() + line.len() > MOST_WAITING {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            let first = state.waiting.is_empty();
            state.waiting.extend_from_slice(line);
            if first {
                self.shared.changed.notify_one();
            }
        }
    }

    /// Writes what is left, and ends the thread: at the end of the process, as the global logger is
    /// never dropped. What comes later is written by whoever says it.
    pub(crate) fn finish(&self) {
        let thread = self.thread.lock().take();
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = thread {
            // Its panic was reported where it happened.
            let _ = thread.join();
        }
    }

    /// Opens the file anew, as somebody may have moved it away; nothing is changed before
    /// [`switch`](LogWriter::switch).
    pub(crate) fn open_anew(&self) -> io::Result<Opened> {
        self.target
            .open()
            .map(Opened)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.target)))
    }

    /// From now on writes to what was opened anew.
    pub(crate) fn switch(&self, Opened(output): Opened) {
        let mut state = self.shared.state.lock();
        self.shared.write_waiting(&mut state);
        state.output = Some(output);
    }
}

/// A log file that was opened anew.
pub(crate) struct Opened(Output);

impl Shared {
    /// The writing thread's life.
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
            // The disk is waited for without the lock; a reopening meanwhile finds its own place.
            parking_lot::MutexGuard::unlocked(&mut state, || self.write(&mut output, &mut lines));
            state.output.get_or_insert(output);
        }
        self.write_waiting(&mut state);
    }

    /// Without an output the thread is writing, and will look again.
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
        // A log that can't be written has nowhere to say so, and is no reason to stop serving.
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

/// Appends `text` so that it stays one line and can't be taken for another field: as nginx does,
/// control bytes, quotes, backslashes and what isn't ASCII become `\xHH`.
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
