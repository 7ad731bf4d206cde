//! `serve ftp`: serves files by FTP to many users at the same time (RFC 959, 1123, 2228, 2389,
//! 2428, 3659, 4217).
//!
//! [`command`] splits the bytes of the control connection into commands. [`verbs`] is the table of
//! commands, and `session` runs them. A data connection ([`data`]) is another connection of the
//! same server. In passive mode a listener accepts it, and in active mode the server connects to
//! the client. The session and its data connection exchange messages by mailboxes. Neither holds a
//! thread while it waits. [`storage`] and [`upload`] access the files.

pub mod address;
pub mod ascii;
pub mod client;
pub mod command;
pub mod data;
pub mod dates;
pub mod decimal;
pub mod deflate;
pub mod doctor;
pub mod facts;
pub mod glob;
pub mod limits;
pub mod listing;
pub mod mount;
mod options;
pub mod passive;
pub mod path;
pub mod reply;
pub mod resolver;
mod session;
pub mod storage;
mod system_user;
pub mod tls_sessions;
pub mod transfer;
pub mod transfer_log;
pub mod upload;
pub mod user;
pub mod verbs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver::{Refusal, Tls};

use crate::accounts::Rights;
use crate::service::{Context, Failure, Identity, Served, Service};
use limits::Registry;
pub use options::{Ftp, RequireTls};
use passive::Passive;
pub use session::Session;
use storage::Storage;
use tls_sessions::TlsSessions;
use transfer_log::TransferLog;

/// The options and the state that all sessions share.
#[derive(Debug)]
pub struct Shared {
    /// The served files.
    pub storage: Arc<Storage>,
    /// The rights of the anonymous user if the server has no accounts; otherwise `None`.
    pub anonymous: Option<Rights>,
    /// The number of sessions and the transfer rate of each user.
    pub registry: Registry,
    /// The certificate; `None` if the server has no certificate. Then clients cannot use TLS.
    pub tls: Option<Tls>,
    /// Which connections must be encrypted.
    pub require_tls: RequireTls,
    /// Whether a data connection must resume a TLS session of its user.
    pub is_reuse_required: bool,
    /// The TLS sessions that may be resumed.
    pub tls_sessions: TlsSessions,
    /// The options of passive mode.
    pub passive: Arc<Passive>,
    /// Whether active mode (PORT, EPRT) is allowed.
    pub is_active_allowed: bool,
    /// The text of the first reply (220), of one line or several.
    pub banner: String,
    /// Number of failed logins after which a session is closed.
    pub max_login_failures: u32,
    /// The files of `--transfer-log` and `--xferlog`.
    pub transfer_log: Arc<TransferLog>,
}

impl Service for Ftp {
    const NAME: &'static str = "ftp";
    const PORT: u16 = 2121;
    const SCHEME: &'static str = "ftp";
    const TLS_SCHEME: &'static str = "ftps";
    const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
    const AUTH: bool = false;

    fn port(&self) -> u16 {
        if self.tls_implicit {
            options::IMPLICIT_PORT
        } else {
            Self::PORT
        }
    }

    fn starts_tls(&self) -> bool {
        !self.tls_implicit
    }

    fn identity(&self) -> Result<Option<Identity>, Failure> {
        match &self.user {
            Some(user) => system_user::identity(user, self.group.as_deref()).map(Some),
            None => Ok(None),
        }
    }

    fn open(self, context: &Context) -> Result<Served, Failure> {
        let shared = Arc::new(self.shared(context)?);
        let log = Arc::clone(&shared.transfer_log);
        context.at_end.add(move || log.finish());
        let log = Arc::clone(&shared.transfer_log);
        context.at_reload.add(move || match log.reopen() {
            Ok(commit) => Ok(Box::new(commit)),
            Err(error) => Err(Failure::usage(format!("a log of transfers: {error}"))),
        });
        shared.passive.resolve_names_in_background(context.forks);
        let passive = Arc::clone(&shared.passive);
        context.at_reload.add(move || {
            let passive = Arc::clone(&passive);
            Ok(Box::new(move || passive.expire_names(Instant::now())))
        });
        Ok(Served::Stream {
            class: Box::new(move |_| Box::new(Session::new(Arc::clone(&shared)))),
            refusal,
        })
    }
}

/// The reply to a client if the server refuses the connection.
fn refusal(why: Refusal) -> Option<&'static [u8]> {
    let text: &[u8] = match why {
        Refusal::MaxConnections => b"421 Too many connections, try again later.\r\n",
        Refusal::MaxPerAddress => b"421 Too many connections from your address.\r\n",
        Refusal::Denied => b"421 Not allowed from this address.\r\n",
        _ => b"421 The server is overloaded, try again later.\r\n",
    };
    Some(text)
}
