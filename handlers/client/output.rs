//! Standard output, whose reader may close it at any time: `socketserver client … | head -1` ends
//! without an error, as `cat` does.

use std::fmt;
use std::io::{self, StdoutLock, Write};

use crate::service::Failure;

/// Standard output. A closed standard output is not a failure, but a closed connection is:
/// [`quietly`] distinguishes the two.
pub(crate) struct Output(StdoutLock<'static>);

impl Output {
    pub(crate) fn lock() -> Output {
        Output(io::stdout().lock())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(marked)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(marked)
    }
}

/// The error of a closed standard output.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for Closed {}

fn marked(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        io::Error::other(Closed)
    } else {
        error
    }
}

/// Returns the exit code, which is 0 if standard output was closed. `explain` converts other
/// errors.
pub(crate) fn quietly(
    result: io::Result<u8>,
    explain: impl FnOnce(io::Error) -> Failure,
) -> Result<u8, Failure> {
    match result {
        Err(error) if error.get_ref().is_some_and(|inner| inner.is::<Closed>()) => Ok(0),
        result => result.map_err(explain),
    }
}
