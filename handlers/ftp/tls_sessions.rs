//! The TLS sessions that a data connection may resume.
//!
//! Only the client that began a TLS session can resume it. So a data connection must resume the
//! session of its control connection, or of an earlier data connection. Clients that use several
//! control connections, such as rclone, often have one memory of sessions for all of them. So a
//! session of another control connection is accepted as well, if the same user is or was logged in
//! there from the same address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use socketserver::{TlsResumption, TlsSessionId};

/// TLS sessions of data connections that a client may resume, besides that of the control
/// connection.
const MAX_SESSIONS: usize = 32;

/// Maximum number of sessions of control connections that have ended.
const MAX_ENDED_SESSIONS: usize = 1024;

/// Who is logged in on a control connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsUser {
    /// Nobody yet.
    #[default]
    Unknown,
    /// An anonymous user: two of them may be different people.
    Anonymous,
    /// A user with an account.
    Named(String),
}

/// Whether a data connection may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Yes,
    /// It may not.
    No,
    /// Perhaps soon. The client is quicker than the server: the session is that of a control
    /// connection on which nobody is logged in yet, or of a data connection that is not known yet.
    NotYet,
}

/// The sessions of all control connections.
#[derive(Clone, Debug, Default)]
pub struct TlsSessions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    owners: HashMap<TlsSessionId, Arc<Owner>>,
    /// Those of users whose control connection has ended, the oldest one first.
    ended: VecDeque<TlsSessionId>,
}

/// A control connection.
#[derive(Debug)]
struct Owner {
    /// `None` for a Unix socket.
    ip: Option<IpAddr>,
    user: Mutex<TlsUser>,
    /// The first one, that of the control connection, is never forgotten.
    ids: Mutex<Vec<TlsSessionId>>,
}

/// The sessions of one control connection.
#[derive(Debug)]
pub struct OwnTlsSessions {
    all: TlsSessions,
    owner: Arc<Owner>,
}

impl TlsSessions {
    /// Those of a control connection, which begin with its own.
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
    /// Who is logged in now.
    pub fn set_user(&self, user: TlsUser) {
        *self.owner.user.lock() = user;
    }

    /// Whether a data connection whose TLS session began in this way may be used.
    pub fn permit(&self, resumption: Option<TlsResumption>) -> Permit {
        let id = match resumption {
            Some(TlsResumption::Of(Some(id))) => id,
            // TLS 1.2: it is a session of this server, and a client of this address.
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

    /// A client may resume the session of an earlier data connection.
    pub fn add(&self, id: Option<TlsSessionId>) {
        let Some(id) = id else {
            return;
        };
        let mut ids = self.owner.ids.lock();
        let mut all = self.all.0.lock();
        if ids.len() > MAX_SESSIONS {
            all.owners.remove(&ids.remove(1));
        }
        ids.push(id);
        all.owners.insert(id, Arc::clone(&self.owner));
    }
}

impl Drop for OwnTlsSessions {
    /// The client may still use the sessions of a user in other control connections.
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
