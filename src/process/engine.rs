//! What a server asks of its engine: the part that accepts and waits for it.
//!
//! There are two. In a `PoolEngine` the pool's threads accept, and the thread of `serve_forever`
//! only waits for the end. In a `DispatchEngine` the thread of `serve_forever` accepts, and hands
//! each request to a [`ProcessRequest`](super::ProcessRequest).

use std::io;
use std::time::Instant;

use super::sources::Source;
use crate::handle::LifecyclePhase;

/// Accepts for one server, and knows its connections.
///
/// The server calls `listen`, then `serve_until` again and again, then `stop_listening`,
/// `close_idle`, `wait_drained`, and if that failed `abort`, from one thread. It may serve again
/// after that.
pub(crate) trait Engine: Send + Sync {
    /// Accepts from these sources, and from no others, until `stop_listening`.
    fn listen(&self, sources: &[Source]) -> io::Result<()>;

    /// Serves until `until`, a shutdown, or earlier: the caller calls again.
    fn serve_until(&self, until: Option<Instant>) -> io::Result<()>;

    /// Waits until `until` for one request of these sources, and has it processed; false if none
    /// came.
    fn handle_one(&self, sources: &[Source], until: Option<Instant>) -> io::Result<bool>;

    /// Accepts nothing more, and lets go of the sources.
    fn stop_listening(&self);

    /// Ends the connections that are between two messages, as the server goes down.
    fn close_idle(&self);

    /// Ends the requests in flight by force; returns how many there were.
    fn abort(&self) -> usize;

    /// Waits until every request has ended; false when `until` or the end of `phase` came first.
    fn wait_drained(&self, phase: LifecyclePhase, until: Option<Instant>) -> bool;
}
