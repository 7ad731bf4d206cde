//! Queues that keep the datagrams of each peer in order.
//!
//! A peer has a queue while one of its datagrams is served. The request of this datagram holds the
//! peer's turn. Datagrams that arrive meanwhile wait in the queue, and hold no thread:
//!
//! ```text
//!            admit: Serve                   PeerTurn::next
//!   no queue ────────────▶ served ─────────────────────────▶ served
//!      ▲                   │    ▲  a datagram waits: it gets    │
//!      │                   │    │  the turn                     │
//!      │                   ▼    │                               │
//!      │                 admit: Queued, or Full at the maximum  │
//!      │                                                        │
//!      └──── PeerTurn::next: none waits; or the turn is dropped ┘
//! ```

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use super::DatagramRequest;
use crate::address::ClientAddress;
use crate::error::Error;
use crate::handle::LifecyclePhase;

/// Maximum number of datagrams of one peer that wait. The memory of all queues is bounded as well,
/// because a peer has a queue only while a thread or a request of the concurrency model serves it.
const MAX_QUEUED_PER_PEER: usize = 64;

type Queue = VecDeque<Box<DatagramRequest>>;

/// The queues of the peers of one socket.
#[derive(Debug, Default)]
pub(crate) struct PeerQueues(Mutex<HashMap<ClientAddress, Queue>>);

/// What became of a datagram.
pub(crate) enum QueueResult {
    /// It must be served. No other datagram of its peer is being served.
    Serve(Box<DatagramRequest>),
    /// It waits for an earlier datagram of its peer.
    Queued,
    /// The maximum number of datagrams of its peer waits.
    Full(Box<DatagramRequest>),
}

impl PeerQueues {
    /// Takes a datagram over. The calls decide the order in which a peer's datagrams are served.
    pub(crate) fn admit(self: &Arc<PeerQueues>, mut request: Box<DatagramRequest>) -> QueueResult {
        let mut queues = self.0.lock();
        match queues.entry(request.client_address.clone()) {
            Entry::Vacant(entry) => {
                request.turn = Some(PeerTurn {
                    queues: Arc::clone(self),
                    peer: Some(entry.key().clone()),
                });
                entry.insert(Queue::new());
                QueueResult::Serve(request)
            }
            Entry::Occupied(mut entry) if entry.get().len() < MAX_QUEUED_PER_PEER => {
                request.queued_at = Some(request.server.clock().now());
                request.rfile.shrink();
                entry.get_mut().push_back(request);
                QueueResult::Queued
            }
            Entry::Occupied(_) => QueueResult::Full(request),
        }
    }
}

/// The duty to serve the next datagram of a peer. If it is dropped, because the concurrency model
/// dropped the request or its thread could not be started, the datagrams that wait are lost.
#[derive(Debug)]
pub(crate) struct PeerTurn {
    queues: Arc<PeerQueues>,
    /// `None` once the turn is over.
    peer: Option<ClientAddress>,
}

impl PeerTurn {
    /// The present datagram of the peer was served: returns the next one, which gets the turn.
    /// `None` if none waits, or if the server aborts its requests.
    pub(crate) fn next(mut self) -> Option<Box<DatagramRequest>> {
        let peer = self.peer.as_ref()?;
        let mut queues = self.queues.0.lock();
        let queue = queues.get_mut(peer)?;
        if queue.front().is_some_and(|next| is_aborting(next)) {
            return None; // dropping the turn drops the queue
        }
        let Some(mut request) = queue.pop_front() else {
            queues.remove(peer);
            drop(queues);
            self.peer = None;
            return None;
        };
        drop(queues);
        request.turn = Some(self);
        Some(request)
    }
}

impl Drop for PeerTurn {
    fn drop(&mut self) {
        let Some(peer) = self.peer.take() else {
            return;
        };
        // Dropped without the lock: reporting calls a hook of the user.
        let lost = self.queues.0.lock().remove(&peer);
        for request in lost.into_iter().flatten() {
            let core = &request.server.0;
            if is_aborting(&request) {
                core.stats.aborted.fetch_add(1, Relaxed);
            } else {
                let what = "the datagram was dropped: the earlier one of its client that it \
                            waited for was not served";
                core.report_failure(&peer, &Error::Io(io::Error::other(what)));
            }
        }
    }
}

fn is_aborting(request: &DatagramRequest) -> bool {
    request.server.0.phase() == LifecyclePhase::Aborting
}
