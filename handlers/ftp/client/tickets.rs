//! What a session keeps to resume its TLS session on data connections.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Maximum number of tickets. A server sends one or two with each handshake.
const MAX_TICKETS: usize = 8;

/// The TLS sessions of one FTP session, all with the same server.
///
/// rustls uses each ticket of TLS 1.3 once (RFC 8446 appendix C.4), so the server must send a new
/// one on each data connection. Some servers send none on the data connection of an upload (proftpd
/// and our own), and refuse a data connection that does not resume the session: after two uploads
/// no ticket is left. A session of TLS 1.2 can be resumed any number of times. So the client then
/// logs in again with TLS 1.2, in `Session::refresh`.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
    /// Whether the server has ever sent a ticket of TLS 1.3.
    had_ticket: bool,
}

impl Tickets {
    /// Whether the server's tickets of TLS 1.3 are used up.
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
