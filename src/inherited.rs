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
/// ```
/// use std::process::Command;
///
/// socketserver::close_inherited_on_exec()?;
/// // The command gets standard input, output and error only.
/// assert!(Command::new("true").status()?.success());
/// # Ok::<(), socketserver::Error>(())
/// ```
///
/// # Errors
/// When the system neither marks nor lists the open descriptors.
pub fn close_inherited_on_exec() -> Result<()> {
    Ok(sys::close_inherited_on_exec()?)
}

/// A copy of the inherited descriptor with this number. The copy is closed on exec, and its owner
/// closes it; the number stays open.
///
/// A server on a listening socket that its parent opened, such as systemd (`sd_listen_fds(3)`: the
/// first one has the number 3):
///
/// ```
/// use std::net::TcpListener;
/// use std::os::fd::AsRawFd;
/// use socketserver::{Builder, Next, StreamRequest, inherited_descriptor};
///
/// # let parent = TcpListener::bind("127.0.0.1:0")?;
/// # let number = parent.as_raw_fd();
/// let close = |_: &mut StreamRequest| Ok(Next::Close);
/// let server = Builder::new().from_listener(inherited_descriptor(number)?, move |_| close)?;
/// # assert_eq!(server.server_address().inet(), Some(parent.local_addr()?));
/// # Ok::<(), socketserver::Error>(())
/// ```
///
/// # Errors
/// When no descriptor with this number is open, or too many are.
pub fn inherited_descriptor(number: RawFd) -> Result<OwnedFd> {
    Ok(sys::duplicate(number)?)
}
