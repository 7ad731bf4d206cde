//! Descriptors that the program that started this one left open.

use std::os::fd::{OwnedFd, RawFd};

use crate::error::Result;
use crate::sys;

/// Keeps every open descriptor but standard input, output and error from the programs that this
/// process executes. A process inherits what its parent left open, and would hand it on to each
/// command that it runs: pipes that then never end, and files that the command must not see.
///
/// The descriptors stay open in this process: inherited sockets can still be served.
///
/// # Errors
/// When the system neither marks nor lists the open descriptors.
pub fn close_inherited_on_exec() -> Result<()> {
    Ok(sys::close_inherited_on_exec()?)
}

/// A copy of the inherited descriptor with this number. The copy is closed on exec, and its owner
/// closes it; the number stays open.
///
/// # Errors
/// When no descriptor with this number is open, or too many are.
pub fn inherited_descriptor(number: RawFd) -> Result<OwnedFd> {
    Ok(sys::duplicate(number)?)
}
