//! Giving up the rights of root.

use crate::error::Result;
use crate::sys;

/// From now on the whole process runs as this user and in this group, without the groups that it
/// was in. For a server that must be root to bind a port below 1024, and should not be root when it
/// serves clients: call this after [`Builder::bind`](crate::Builder::bind). What is opened later,
/// such as a file that a reload reads, is opened as that user.
///
/// ```
/// use socketserver::{Builder, Next, StreamRequest, drop_privileges};
///
/// let ignore = |request: &mut StreamRequest| {
///     request.rfile.take_all();
///     Ok(Next::Wait)
/// };
/// let server = Builder::new().tcp("127.0.0.1:0", move |_| ignore)?;
/// // The numbers of another user and group, if root runs this program.
/// let identity: Option<(u32, u32)> = None;
/// if let Some((user, group)) = identity {
///     drop_privileges(user, group)?;
/// }
/// drop(server);
/// # Ok::<(), socketserver::Error>(())
/// ```
///
/// # Errors
/// The process may not change its user, or not to this one. Its groups may have changed then, so it
/// should end.
pub fn drop_privileges(user: u32, group: u32) -> Result<()> {
    Ok(sys::drop_privileges(user, group)?)
}
