//! AUTH, PBSZ, PROT and CCC: TLS (RFC 4217, RFC 2228).

use std::sync::Arc;

use socketserver::{StreamRequest, Tls};

use super::{Answer, Session};
use crate::ftp::command::number;
use crate::ftp::data::Protection;
use crate::ftp::reply::{Refused, Reply};
use crate::ftp::tls_sessions::{OwnTlsSessions, TlsUser};

/// The state of a control connection under TLS.
#[derive(Debug)]
pub(super) struct Secured {
    /// The certificate and the ticket keys at the start of the connection.
    tls: Tls,
    /// The certificate for uploads ([`Protection::tls_for_uploads`]).
    tls_for_uploads: Tls,
    /// The TLS sessions that data connections may resume.
    sessions: Arc<OwnTlsSessions>,
    /// Whether the client has sent PBSZ. PROT is refused before PBSZ.
    has_buffer_size: bool,
    /// Whether data connections are encrypted.
    is_private: bool,
}

impl Session {
    /// Registers the TLS session of the control connection after the handshake.
    pub(super) fn note_secured(&mut self, request: &StreamRequest) {
        let (ip, id) = (request.client_address.ip(), request.tls_session_id());
        let sessions = self.shared.tls_sessions.begin(ip, id);
        if let Some(secured) = &mut self.secured {
            // AUTH has already stored the certificate.
            secured.sessions = sessions;
            return;
        }
        self.secured = self.shared.tls.as_ref().map(|tls| {
            let tls = tls.snapshot();
            Secured {
                tls_for_uploads: tls.without_new_tickets(),
                tls,
                sessions,
                has_buffer_size: false,
                is_private: true,
            }
        });
    }

    pub(super) fn auth(&mut self, request: &mut StreamRequest, argument: &[u8]) -> Answer {
        if self.secured.is_some() {
            return Err(Refused::new(503, "TLS is in use already."));
        }
        let Some(tls) = &self.shared.tls else {
            return Err(Refused::new(502, "This server has no certificate."));
        };
        let mechanism = argument.trim_ascii().to_ascii_uppercase();
        // RFC 4217 §17: `SSL` and `TLS-P` also set the protection of data connections.
        let is_private = match &*mechanism {
            b"TLS" | b"TLS-C" => false,
            b"SSL" | b"TLS-P" => true,
            _ => return Err(Refused::new(504, "Unknown security mechanism: use TLS.")),
        };
        let tls = tls.snapshot();
        if request.start_tls(&tls).is_err() {
            return Err(Refused::new(503, "TLS is in use already."));
        }
        self.is_starting_tls = true;
        // An attacker could have inserted commands before TLS began. These commands must not run
        // under TLS.
        self.queue.clear();
        self.parser = Default::default();
        self.log_out();
        self.secured = Some(Secured {
            tls_for_uploads: tls.without_new_tickets(),
            tls,
            sessions: self.shared.tls_sessions.begin(None, None),
            has_buffer_size: false,
            is_private,
        });
        Ok(Some(Reply::new(234, "Start the TLS handshake.")))
    }

    pub(super) fn pbsz(&mut self, argument: &[u8]) -> Answer {
        let Some(secured) = &mut self.secured else {
            let text = "PBSZ needs TLS: send AUTH TLS first.";
            return Err(Refused::new(503, text));
        };
        let argument = argument.trim_ascii();
        if number::<u64>(argument).is_none() {
            return Err(Refused::new(501, "Invalid size: PBSZ takes a number."));
        }
        secured.has_buffer_size = true;
        Ok(Some(Reply::new(200, "PBSZ=0")))
    }

    pub(super) fn prot(&mut self, argument: &[u8]) -> Answer {
        let requires_private = self.shared.require_tls.data();
        let Some(secured) = &mut self.secured else {
            let text = "PROT needs TLS: send AUTH TLS first.";
            return Err(Refused::new(503, text));
        };
        if !secured.has_buffer_size {
            let text = "PROT needs PBSZ: send PBSZ 0 first.";
            return Err(Refused::new(503, text));
        }
        match &*argument.trim_ascii().to_ascii_uppercase() {
            b"C" if requires_private => {
                Err(Refused::new(534, "TLS is required for data connections."))
            }
            b"C" => {
                secured.is_private = false;
                Ok(Some(Reply::new(
                    200,
                    "Data connections are in the clear now.",
                )))
            }
            b"P" => {
                secured.is_private = true;
                Ok(Some(Reply::new(200, "Data connections are encrypted now.")))
            }
            b"S" | b"E" => Err(Refused::new(
                536,
                "This protection is not implemented: use C or P.",
            )),
            _ => Err(Refused::new(504, "Unknown protection: use C or P.")),
        }
    }

    pub(super) fn ccc(&self) -> Answer {
        match self.secured {
            Some(_) => Err(Refused::new(534, "The control connection stays encrypted.")),
            None => Err(Refused::new(
                533,
                "The control connection is not encrypted.",
            )),
        }
    }

    /// Registers the user who is logged in, because the user's data connections may resume TLS
    /// sessions of the same user.
    pub(super) fn note_user(&self) {
        let Some(secured) = &self.secured else {
            return;
        };
        secured.sessions.set_user(match &self.login.view {
            None => TlsUser::Unknown,
            Some(view) if view.user.is_anonymous => TlsUser::Anonymous,
            Some(view) => TlsUser::Named(view.user.name.clone()),
        });
    }

    /// Whether data connections are encrypted.
    pub(super) fn is_private(&self) -> bool {
        self.secured
            .as_ref()
            .is_some_and(|secured| secured.is_private)
    }

    /// How the next data connection is encrypted.
    ///
    /// # Errors
    /// 521 if data connections require TLS, and the client has not sent PROT P.
    pub(super) fn protection(&self) -> Result<Option<Protection>, Refused> {
        match &self.secured {
            Some(secured) if secured.is_private => Ok(Some(Protection {
                tls: secured.tls.clone(),
                tls_for_uploads: secured.tls_for_uploads.clone(),
                sessions: secured.sessions.clone(),
                is_reuse_required: self.shared.is_reuse_required,
            })),
            _ if self.shared.require_tls.data() => Err(Refused::new(
                521,
                "TLS is required for data connections: send PROT P first.",
            )),
            _ => Ok(None),
        }
    }
}
