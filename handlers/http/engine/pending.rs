//! Header lines that take long to compute, such as a digest of a large file.

use std::io;
use std::time::Duration;

/// Computes header lines of a response step by step, so that other connections get their turns in
/// between. The response is sent once the lines are complete.
pub trait PendingHeaders: Send {
    /// Does the next step.
    ///
    /// # Errors
    /// An error ends the connection: the response can't be sent.
    fn advance(&mut self) -> io::Result<PendingState>;

    /// Tells the computation that the client may have disconnected. It should finish without costly
    /// work, and leave out lines if necessary.
    fn hurry(&mut self);
}

/// The progress of the computation.
#[derive(Debug)]
pub enum PendingState {
    /// The computation is complete, with these lines.
    Ready(String),
    /// The next step can follow immediately.
    Again,
    /// The next step should follow after this time.
    After(Duration),
}
