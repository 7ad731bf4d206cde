//! The TLS sessions that a data connection may resume.
//!
//! Only the client that began a TLS session can resume it. So a data connection that resumes the
//! TLS session of its control connection, or of an earlier data connection, comes from the same
//! client. Clients with several control connections, such as rclone, often have one cache of TLS
//! sessions for all of them. So a data connection may also resume the TLS session of another
//! control connection, if the same user is or was logged in there from the same address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use socketserver::{TlsResumption, TlsSessionId};

/// Maximum number of data connections of one control connection that later data connections may
/// resume.
const MAX_SESSIONS: usize = 32;

/// Maximum number of TLS sessions that are kept after their control connection has ended.
const MAX_ENDED_SESSIONS: usize = 1024;

/// Who is logged in on a control connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsUser {
    /// No user is logged in yet.
    #[default]
    Unknown,
    /// An anonymous user. Two anonymous users may be different people.
    Anonymous,
    /// A user with an account.
    Named(String),
}

/// Whether a data connection may be used, by the TLS session that it has resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// The connection may be used.
    Yes,
    /// The connection must be refused.
    No,
    /// The answer is not known yet. The TLS session belongs to a control connection without a
    /// login, or to no known connection. The client may have been faster than the server, so the
    /// caller must check again soon.
    NotYet,
}

/// The TLS sessions of all control connections and their data connections.
#[derive(Clone, Debug, Default)]
pub struct TlsSessions(Arc<Mutex<TlsSessionTable>>);

#[derive(Debug, Default)]
struct TlsSessionTable {
    /// The control connection to which each TLS session belongs.
    owners: HashMap<TlsSessionId, Arc<Owner>>,
    /// TLS sessions of named users after their control connection has ended, the oldest first.
    ended: VecDeque<TlsSessionId>,
}

/// A control connection to which TLS sessions belong.
#[derive(Debug)]
struct Owner {
    /// The address of the client; `None` for a Unix socket.
    ip: Option<IpAddr>,
    /// The user who is logged in on the control connection.
    user: Mutex<TlsUser>,
    /// The TLS sessions of the control connection and of its latest data connections. The TLS
    /// session of the control connection is the first, and is not removed while the connection is
    /// open.
    ids: Mutex<Vec<TlsSessionId>>,
}

/// The TLS sessions of one control connection and its data connections.
#[derive(Debug)]
pub struct OwnTlsSessions {
    /// The TLS sessions of all control connections.
    all: TlsSessions,
    /// The control connection to which these TLS sessions belong.
    owner: Arc<Owner>,
}

impl TlsSessions {
    /// Registers a control connection from the address `ip`, with the TLS session `id`.
    pub fn begin(&self, ip: Option<IpAddr>, id: Option<TlsSessionId>) -> Arc<OwnTlsSessions> {
        let owner = Arc::new(Owner {
            ip,
            user: Mutex::default(),
            ids: Mutex::default(),
        });
        let own = OwnTlsSessions {
            all: self.clone(),
            owner,
        };
        own.add(id);
        Arc::new(own)
    }
}

impl OwnTlsSessions {
    /// Sets the user who is logged in now.
    pub fn set_user(&self, user: TlsUser) {
        *self.owner.user.lock() = user;
    }

    /// Whether a data connection that has resumed this TLS session may be used.
    pub fn permit(&self, resumption: Option<TlsResumption>) -> Permit {
        let id = match resumption {
            Some(TlsResumption::Of(Some(id))) => id,
            // TLS 1.2 shows only that a TLS session of this server was resumed, but not which one.
            // This is sufficient, because the listener accepts only connections from the client's
            // address.
            Some(TlsResumption::Of(None)) => return Permit::Yes,
            _ => return Permit::No,
        };
        let Some(other) = self.all.0.lock().owners.get(&id).cloned() else {
            return Permit::NotYet;
        };
        if Arc::ptr_eq(&other, &self.owner) {
            return Permit::Yes;
        }
        let own = self.owner.user.lock().clone();
        if other.ip != self.owner.ip || !matches!(own, TlsUser::Named(_)) {
            return Permit::No;
        }
        match &*other.user.lock() {
            TlsUser::Unknown => Permit::NotYet,
            user if *user == own => Permit::Yes,
            _ => Permit::No,
        }
    }

    /// Adds the TLS session of a data connection, which later data connections may resume.
    pub fn add(&self, id: Option<TlsSessionId>) {
        let Some(id) = id else {
            return;
        };
        let mut ids = self.owner.ids.lock();
        let mut all = self.all.0.lock();
        // The list has more than one entry here, because MAX_SESSIONS is at least 1.
        if ids.len() > MAX_SESSIONS {
            all.owners.remove(&ids.remove(1));
        }
        ids.push(id);
        all.owners.insert(id, Arc::clone(&self.owner));
    }
}

impl Drop for OwnTlsSessions {
    /// Keeps the TLS sessions of a named user, because the client may resume them for data
    /// connections of its other control connections.
    fn drop(&mut self) {
        let ids = std::mem::take(&mut *self.owner.ids.lock());
        let is_named = matches!(*self.owner.user.lock(), TlsUser::Named(_));
        let mut all = self.all.0.lock();
        if !is_named {
            ids.iter().for_each(|id| drop(all.owners.remove(id)));
            return;
        }
        all.ended.extend(ids);
        while all.ended.len() > MAX_ENDED_SESSIONS
            && let Some(oldest) = all.ended.pop_front()
        {
            all.owners.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> TlsSessionId {
        let mut id = TlsSessionId::default();
        id[..8].copy_from_slice(&number.to_ne_bytes());
        id
    }

    fn of(number: usize) -> Option<TlsResumption> {
        Some(TlsResumption::Of(Some(id(number))))
    }

    #[test]
    fn a_session_of_the_same_user_at_the_same_address_is_permitted() {
        let sessions = TlsSessions::default();
        let here: Option<IpAddr> = "192.0.2.1".parse().ok();
        let begin = |ip, number| sessions.begin(ip, Some(id(number)));
        let (own, other) = (begin(here, 1), begin(here, 2));
        let far = begin("192.0.2.2".parse().ok(), 3);
        let ada = || TlsUser::Named("ada".to_owned());
        own.set_user(ada());
        far.set_user(ada());
        assert_eq!(own.permit(of(1)), Permit::Yes);
        assert_eq!(own.permit(of(2)), Permit::NotYet);
        assert_eq!(own.permit(of(3)), Permit::No);
        assert_eq!(own.permit(of(4)), Permit::NotYet);
        assert_eq!(own.permit(Some(TlsResumption::None)), Permit::No);
        assert_eq!(own.permit(Some(TlsResumption::Of(None))), Permit::Yes);
        for (user, permit) in [
            (ada(), Permit::Yes),
            (TlsUser::Named("bob".to_owned()), Permit::No),
            (TlsUser::Anonymous, Permit::No),
        ] {
            other.set_user(user);
            assert_eq!(own.permit(of(2)), permit);
        }
        other.set_user(ada());
        drop(other);
        assert_eq!(own.permit(of(2)), Permit::Yes);
        own.set_user(TlsUser::Anonymous);
        assert_eq!(own.permit(of(2)), Permit::No);
    }

    #[test]
    fn sessions_are_limited_and_forgotten() {
        let sessions = TlsSessions::default();
        let own = sessions.begin(None, Some(id(0)));
        (1..100).for_each(|number| own.add(Some(id(number))));
        let count = || sessions.0.lock().owners.len();
        assert_eq!(count(), MAX_SESSIONS + 1);
        for (number, permit) in [(0, Permit::Yes), (1, Permit::NotYet), (99, Permit::Yes)] {
            assert_eq!(own.permit(of(number)), permit, "{number}");
        }
        drop(own);
        assert_eq!(count(), 0);
        for number in 0..2 * MAX_ENDED_SESSIONS {
            let own = sessions.begin(None, Some(id(number)));
            own.set_user(TlsUser::Named("ada".to_owned()));
        }
        assert_eq!(count(), MAX_ENDED_SESSIONS);
    }
}
