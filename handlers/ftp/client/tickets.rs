//! The tickets and keys with which data connections resume the TLS session of their FTP session.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Maximum number of tickets. A server sends one or two with each handshake.
const MAX_TICKETS: usize = 8;

/// The TLS sessions of one FTP session. All of them are sessions with the same server.
///
/// rustls uses each ticket of TLS 1.3 only once (RFC 8446 appendix C.4), so the server must send a
/// new ticket on each data connection. Some servers (proftpd and `serve ftp`) send no ticket on the
/// data connection of an upload, and refuse a data connection that does not resume the session.
/// With such a server, no ticket is left after two uploads. Then `Session::refresh` logs in again
/// with TLS 1.2, because a session of TLS 1.2 can be resumed any number of times.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The group for key exchange that the server has chosen.
    group: Option<NamedGroup>,
    /// The session of TLS 1.2, which can be resumed any number of times.
    tls12: Option<Tls12ClientSessionValue>,
    /// The unused tickets of TLS 1.3, the oldest first.
    tls13: VecDeque<Tls13ClientSessionValue>,
    /// Whether the server has ever sent a ticket of TLS 1.3.
    had_ticket: bool,
}

impl Tickets {
    /// Whether all tickets of TLS 1.3 that the server has sent are used up.
    pub(super) fn have_run_out(&self) -> bool {
        let kept = self.0.lock();
        kept.had_ticket && kept.tls13.is_empty()
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.lock().tls12 = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.lock().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.0.lock();
        kept.had_ticket = true;
        if kept.tls13.len() == MAX_TICKETS {
            kept.tls13.pop_front();
        }
        kept.tls13.push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().tls13.pop_back()
    }
}
