//! Header lines that take time to compute.

use std::io;
use std::time::Duration;

/// Computes header lines of a response, in slices between other turns. The response is sent once
/// they are known.
pub trait PendingHeaders: Send {
    /// Does the next slice.
    ///
    /// # Errors
    /// An error ends the connection: the response can't be sent.
    fn advance(&mut self) -> io::Result<PendingState>;

    /// The client may have left: the response should be sent without costly work.
    fn hurry(&mut self);
}

/// How far header lines are.
#[derive(Debug)]
pub enum PendingState {
    /// The lines.
    Ready(String),
    /// The next slice can follow at once.
    Again,
    /// The next slice should follow after this time.
    After(Duration),
}
