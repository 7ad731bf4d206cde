//! What a registry tells about its connections.

use std::sync::Arc;
use std::time::Duration;

use super::registry::{ConnectionKey, Registry};
use super::slot::{Scope, Slot, SlotState};
use crate::handle::{ConnectionInfo, ConnectionPhase, Core, InFlight};
use crate::session::Session;

impl Registry {
    /// The connections of `core` that are within a message. Looks at every slot that was ever used.
    pub(crate) fn in_flight(&self, core: &Arc<Core>) -> Vec<InFlight> {
        let mut found = Vec::new();
        self.for_each(|_, slot| {
            let since = match &slot.state {
                SlotState::Parked(session) if session.is_in_flight() => session.since(),
                SlotState::Held {
                    idle: false, since, ..
                } => *since,
                _ => return,
            };
            if let Some(owner) = slot
                .owner
                .as_ref()
                .filter(|owner| Arc::ptr_eq(&owner.core, core))
            {
                found.push(InFlight {
                    client_address: owner.client.clone(),
                    since,
                });
            }
        });
        found
    }

    /// All connections of `core`. Those that wait for a thread of the pool count as active here:
    /// the pool knows them.
    pub(crate) fn connections(&self, core: &Arc<Core>) -> Vec<ConnectionInfo> {
        let mut found = Vec::new();
        self.for_each(|index, slot| {
            if slot.belongs_to(Scope::Server(core)) {
                let key = ConnectionKey::new(index, slot.generation);
                found.extend(describe(key, slot));
            }
        });
        found
    }

    /// Shuts the socket of a connection of `core` down. False if it is over.
    pub(crate) fn abort_one(&self, core: &Arc<Core>, key: ConnectionKey) -> bool {
        let Some(slot) = self.slot(key) else {
            return false;
        };
        let slot = slot.lock();
        match &slot.owner {
            Some(owner)
                if Registry::is_current(&slot, key) && slot.belongs_to(Scope::Server(core)) =>
            {
                Session::abort(&owner.transport);
                true
            }
            _ => false,
        }
    }
}

fn describe(key: ConnectionKey, slot: &Slot) -> Option<ConnectionInfo> {
    let owner = slot.owner.as_ref()?;
    let now = owner.core.config.clock.now();
    let (is_idle, served_at) = match &slot.state {
        SlotState::Free => return None,
        SlotState::Parked(session) => (session.is_idle(), Some(session.last_served_at())),
        SlotState::Held { idle, since, .. } => (*idle, idle.then_some(*since)),
    };
    let (bytes_received, bytes_sent) = owner.transport.bytes();
    Some(ConnectionInfo {
        id: key.0 as u64,
        service: owner.core.service_name(owner.origin.as_ref()),
        client_address: owner.client.clone(),
        phase: if is_idle {
            ConnectionPhase::Parked
        } else {
            ConnectionPhase::Active
        },
        age: now.saturating_duration_since(owner.transport.opened_at()),
        idle: served_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
        bytes_received,
        bytes_sent,
        doing: owner.transport.link().and_then(|link| link.doing()),
    })
}
