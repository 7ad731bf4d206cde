//! The place of one connection in the registry.

use std::sync::Arc;
use std::time::Instant;

use crate::address::ClientAddress;
use crate::handle::{Core, Origin};
use crate::session::Session;
use crate::stats::Stats;
use crate::transport::Transport;

#[derive(Default)]
pub(super) struct Slot {
    /// How often the slot was used.
    pub(super) generation: u32,
    pub(super) state: SlotState,
    /// `None` while the slot is free.
    pub(super) owner: Option<Owner>,
    /// When a parked connection expires.
    pub(super) deadline: Option<Instant>,
    /// When the heap's only entry for this slot is due. It is never later than `deadline`. It stays
    /// after the connection has ended: to take it out, every end of a connection would need the
    /// common lock of the heap. The slot's next connection uses it.
    pub(super) scheduled: Option<Instant>,
    /// Whether the connection is counted as active in its server's statistics.
    active: bool,
}

/// Some connections of an engine.
#[derive(Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// Those of a server.
    Server(&'a Arc<Core>),
    /// Those of one listening socket.
    Origin(&'a Arc<Origin>),
}

impl Scope<'_> {
    pub(crate) fn includes(self, core: &Arc<Core>, origin: Option<&Arc<Origin>>) -> bool {
        match self {
            Scope::Server(meant) => Arc::ptr_eq(meant, core),
            Scope::Origin(meant) => origin.is_some_and(|origin| Arc::ptr_eq(meant, origin)),
        }
    }
}

#[derive(Default)]
pub(super) enum SlotState {
    #[default]
    Free,
    Parked(Box<Session>),
    /// A thread serves it, or it is queued for one.
    Held {
        /// An event that came meanwhile.
        event: Option<MaybeEof>,
        /// Whether the poller was told to report nothing more of this socket.
        silent: bool,
        /// Whether nothing of a message is under way: its thread sleeps until one begins, or
        /// closes it.
        idle: bool,
        /// When its message began; of an idle one, when it was last served.
        since: Instant,
    },
}

pub(super) type MaybeEof = bool;

/// What must be known of a connection while a thread holds it.
pub(super) struct Owner {
    pub(super) core: Arc<Core>,
    pub(super) origin: Option<Arc<Origin>>,
    pub(super) client: ClientAddress,
    /// To shut the socket down while its handler uses it.
    pub(super) transport: Arc<Transport>,
}

impl Slot {
    /// The free slot that this one becomes when its connection is over.
    pub(super) fn next(&self) -> Slot {
        Slot {
            generation: self.generation.wrapping_add(1),
            scheduled: self.scheduled,
            ..Slot::default()
        }
    }

    pub(super) fn belongs_to(&self, scope: Scope<'_>) -> bool {
        let owner = self.owner.as_ref();
        owner.is_some_and(|owner| scope.includes(&owner.core, owner.origin.as_ref()))
    }

    /// Keeps the server's number of active connections.
    pub(super) fn note_active(&mut self, active: bool) {
        if self.active != active
            && let Some(owner) = &self.owner
        {
            self.active = active;
            let count = |stats: &Stats| stats.note_active(active);
            owner.core.count(owner.origin.as_ref(), count);
        }
    }

    /// Takes a parked connection out. `closing` if it is idle and will be closed.
    pub(super) fn unpark(&mut self, closing: bool) -> Option<Box<Session>> {
        match std::mem::take(&mut self.state) {
            SlotState::Parked(session) => {
                self.state = SlotState::held(&session, closing);
                self.note_active(!closing);
                Some(session)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Takes a parked connection out that a shutdown concerns.
    pub(super) fn unpark_for_shutdown(&mut self) -> Option<EndingConnection> {
        let SlotState::Parked(session) = &mut self.state else {
            return None;
        };
        let is_served = if session.ends_at_shutdown() {
            session.has_arrived()
        } else if session.announce_shutdown() {
            true
        } else {
            return None;
        };
        let session = self.unpark(!is_served)?;
        Some(EndingConnection { session, is_served })
    }
}

impl SlotState {
    /// A thread has taken the connection.
    pub(super) fn held(session: &Session, idle: bool) -> SlotState {
        SlotState::Held {
            event: None,
            silent: false,
            idle,
            since: if idle {
                session.last_served_at()
            } else {
                session.since()
            },
        }
    }
}

/// A parked connection that a shutdown has taken.
pub(crate) struct EndingConnection {
    pub(crate) session: Box<Session>,
    /// Whether it is served and not closed: bytes have arrived, which may be a request, or its
    /// handler is to be told of the shutdown.
    pub(crate) is_served: bool,
}
