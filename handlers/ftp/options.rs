//! The options of `serve ftp`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use clap::{Args, ValueEnum};

use super::Shared;
use super::doctor::{options_in_container, this_container};
use super::limits::{Registry, UserLimits};
use super::mount::MountedFolders;
use super::passive::{Passive, PassiveAddress, PassivePorts};
use super::storage::Storage;
use super::transfer_log::TransferLog;
use crate::accounts::{Accounts, Cost, Rights};
use crate::common::store::{OnDuplicate, Store, StoreOptions};
use crate::common::values::{size, time_limit};
use crate::service::{Context, Failure, Service};

/// The default port with `--tls-implicit`. The standard port is 990, which only root may bind.
pub(super) const IMPLICIT_PORT: u16 = 2990;

const DATA: &str = "Data connections";
const TLS: &str = "TLS";
const USERS: &str = "Users";
const UPLOADS: &str = "Uploads";

/// The options of `serve ftp`.
#[derive(Debug, Args)]
pub struct Ftp {
    /// The folder to serve
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// Accounts file of `socketserver users`: only its users may log in [default: anonymous users
    /// may read everything]
    #[arg(long, value_name = "FILE", env = "SOCKETSERVER_ACCOUNTS", help_heading = USERS)]
    pub(super) accounts: Option<PathBuf>,
    /// Let anonymous users also store files, but not replace or remove files
    #[arg(
        long,
        env = "SOCKETSERVER_ANONYMOUS_WRITE",
        conflicts_with = "accounts",
        help_heading = USERS
    )]
    anonymous_write: bool,
    /// Maximum number of sessions of one user at the same time; `users set --max-sessions`
    /// overrides it [default: no limit]
    #[arg(
        long,
        value_name = "N",
        env = "SOCKETSERVER_MAX_SESSIONS_PER_USER",
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = USERS
    )]
    max_sessions_per_user: Option<u32>,
    /// Number of failed logins after which a session is closed
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        env = "SOCKETSERVER_MAX_LOGIN_FAILURES",
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = USERS
    )]
    pub(super) max_login_failures: u32,
    /// Maximum rate of each user over all sessions, in bytes per second; 0 switches the limit off.
    /// `users set --rate-limit` overrides it [default: no limit]
    #[arg(
        long,
        value_name = "SIZE",
        env = "SOCKETSERVER_RATE_LIMIT",
        value_parser = size,
        help_heading = USERS
    )]
    rate_limit: Option<u64>,
    /// User of the system to run as after the addresses are bound, by name or number (for ports
    /// below 1024, which only root may bind)
    #[arg(long, value_name = "NAME", env = "SOCKETSERVER_USER")]
    pub(super) user: Option<String>,
    /// Group of the system to run in [default: the group of --user]
    #[arg(
        long,
        value_name = "NAME",
        env = "SOCKETSERVER_GROUP",
        requires = "user"
    )]
    pub(super) group: Option<String>,
    /// Text of the first reply to each client
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "socketserver ready.",
        env = "SOCKETSERVER_BANNER"
    )]
    pub(super) banner: String,

    /// Ports for passive data connections, LOW-HIGH [default: any free port]
    #[arg(
        long,
        value_name = "LOW-HIGH",
        env = "SOCKETSERVER_PASSIVE_PORTS",
        help_heading = DATA
    )]
    pub(super) passive_ports: Option<PassivePorts>,
    /// IPv4 address in the reply to PASV: HOST, CIDR=HOST for clients of a network, or auto for the
    /// address that the client has connected to; may be repeated [default: auto]
    #[arg(
        long,
        value_name = "HOST|auto|CIDR=HOST",
        env = "SOCKETSERVER_PASSIVE_ADDRESS",
        value_delimiter = ',',
        help_heading = DATA
    )]
    pub(super) passive_address: Vec<PassiveAddress>,
    /// Active mode (PORT, EPRT): whether the server connects to clients for data connections
    #[arg(
        long,
        value_enum,
        default_value = "on",
        env = "SOCKETSERVER_ACTIVE",
        help_heading = DATA
    )]
    active: Active,

    /// Connections that must be encrypted
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_default_value = true,
        env = "SOCKETSERVER_REQUIRE_TLS",
        help_heading = TLS
    )]
    pub(super) require_tls: RequireTls,
    /// Use TLS from the first byte, on port 2990 by default, instead of waiting for AUTH TLS
    #[arg(long, env = "SOCKETSERVER_TLS_IMPLICIT", help_heading = TLS)]
    pub(super) tls_implicit: bool,
    /// Whether an encrypted data connection must resume the TLS session of its control connection
    #[arg(
        long,
        value_enum,
        default_value = "required",
        env = "SOCKETSERVER_TLS_SESSION_REUSE",
        help_heading = TLS
    )]
    tls_session_reuse: SessionReuse,

    /// What to do with a file whose name already exists
    #[arg(
        long,
        value_enum,
        default_value = "overwrite",
        value_name = "POLICY",
        env = "SOCKETSERVER_ON_DUPLICATE",
        help_heading = UPLOADS
    )]
    on_duplicate: OnDuplicate,
    /// Maximum size of a file [default: no limit]
    #[arg(
        long,
        value_name = "SIZE",
        env = "SOCKETSERVER_MAX_SIZE",
        value_parser = size,
        help_heading = UPLOADS
    )]
    max_size: Option<u64>,
    /// Time for which an interrupted upload can be resumed; then it is removed
    #[arg(
        long,
        value_name = "TIME",
        default_value = "24h",
        env = "SOCKETSERVER_PARTIAL_EXPIRY",
        value_parser = time_limit,
        help_heading = UPLOADS
    )]
    partial_expiry: Duration,
    /// Reply before a file is on the disk: faster, but a power failure may lose the file
    #[arg(long, env = "SOCKETSERVER_NO_FSYNC", help_heading = UPLOADS)]
    no_fsync: bool,

    /// File for a line of JSON about each transfer, or - for standard error
    #[arg(
        long,
        value_name = "FILE",
        env = "SOCKETSERVER_TRANSFER_LOG",
        help_heading = "Logs"
    )]
    transfer_log: Option<PathBuf>,
    /// File for a line about each transfer in the format of wu-ftpd (xferlog), or - for standard
    /// error
    #[arg(
        long,
        value_name = "FILE",
        env = "SOCKETSERVER_XFERLOG",
        help_heading = "Logs"
    )]
    xferlog: Option<PathBuf>,
}

/// Whether active mode is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Active {
    Off,
    On,
}

/// Which connections must be encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RequireTls {
    /// None
    #[default]
    #[value(hide = true)]
    None,
    /// The control connection, before the login
    Control,
    /// Data connections
    Data,
    /// Both
    All,
}

impl RequireTls {
    /// Whether the control connection must be encrypted.
    pub fn control(self) -> bool {
        matches!(self, RequireTls::Control | RequireTls::All)
    }

    /// Whether data connections must be encrypted.
    pub fn data(self) -> bool {
        matches!(self, RequireTls::Data | RequireTls::All)
    }
}

/// Whether data connections must resume a TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SessionReuse {
    /// Data connections that do not resume it are refused, so that no other client can take over a
    /// data connection
    Required,
    /// All data connections are accepted, for clients that cannot resume a session
    Off,
}

impl Ftp {
    /// Opens the files and directories of the options, and returns what all sessions share.
    ///
    /// # Errors
    /// Exit code 2 if an option is invalid, or a file or directory cannot be opened.
    pub(super) fn shared(self, context: &Context) -> Result<Shared, Failure> {
        self.check(context)?;
        let accounts = match &self.accounts {
            Some(file) => Some(Arc::new(open_accounts(file, &self.dir)?)),
            None => None,
        };
        if accounts.is_some() && !self.require_tls.control() && !self.tls_implicit {
            warn_about_passwords(context);
        }
        if self.passive_ports.is_none() {
            warn_about_container(context);
        }
        let storage = Arc::new(self.storage(accounts, context)?);
        let anonymous = Rights::LIST | Rights::READ;
        let anonymous = match (&storage.accounts, self.anonymous_write) {
            (Some(_), _) => None,
            (None, true) => Some(anonymous | Rights::WRITE),
            (None, false) => Some(anonymous),
        };
        let limits = UserLimits {
            max_sessions: self.max_sessions_per_user.map(|max| max as usize),
            rate: self.rate_limit,
        };
        let transfer_log = TransferLog::open(self.transfer_log.as_deref(), self.xferlog.as_deref());
        Ok(Shared {
            storage,
            anonymous,
            registry: Registry::new(limits),
            tls: context.certificate.clone(),
            require_tls: self.require_tls,
            is_reuse_required: self.is_reuse_required(),
            tls_sessions: Default::default(),
            passive: Arc::new(Passive::new(self.passive_ports, self.passive_address)),
            is_active_allowed: self.active == Active::On,
            banner: self.banner,
            max_login_failures: self.max_login_failures,
            transfer_log: Arc::new(transfer_log.map_err(Failure::usage)?),
        })
    }

    /// Checks the options as `serve ftp` does before it binds an address.
    ///
    /// # Errors
    /// Exit code 2 if `serve ftp` would refuse the options.
    pub(crate) fn check_before_start(&self, context: &Context) -> Result<(), Failure> {
        self.check(context)?;
        self.identity()?;
        Dir::open_ambient_dir(&self.dir, ambient_authority()).map_err(|e| self.unserved(e))?;
        match &self.accounts {
            Some(file) => open_accounts(file, &self.dir).map(drop),
            None => Ok(()),
        }
    }

    /// Whether an encrypted data connection must resume the TLS session of its control connection.
    pub(super) fn is_reuse_required(&self) -> bool {
        self.tls_session_reuse == SessionReuse::Required
    }

    fn unserved(&self, error: std::io::Error) -> Failure {
        let dir = self.dir.display();
        Failure::usage(format!("the folder {dir} can't be served: {error}"))
    }

    fn check(&self, context: &Context) -> Result<(), Failure> {
        if context.forks || context.is_sequential {
            return Err(Failure::usage(
                "--model: a session of ftp has several connections, which must be served at the \
                 same time and by one process: use pool or threads",
            ));
        }
        if context.certificate.is_none() {
            let option = match self.require_tls {
                _ if self.tls_implicit => "--tls-implicit",
                RequireTls::None => return Ok(()),
                _ => "--require-tls",
            };
            return Err(Failure::usage(format!(
                "{option} needs a certificate: add --tls-cert and --tls-key, or \
                 --tls-self-signed"
            )));
        }
        Ok(())
    }

    fn storage(
        &self,
        accounts: Option<Arc<Accounts>>,
        context: &Context,
    ) -> Result<Storage, Failure> {
        let fail = |error| self.unserved(error);
        let root = Dir::open_ambient_dir(&self.dir, ambient_authority()).map_err(fail)?;
        let options = StoreOptions {
            max_size: self.max_size,
            quota: None,
            partial_expiry: self.partial_expiry,
            sync: !self.no_fsync,
            ..StoreOptions::default()
        };
        let store = Store::with_accounts(&self.dir, options.clone(), accounts.clone());
        let store = store.map_err(fail)?;
        if !context.forks {
            store.expire_in_background();
        }
        let mounted = MountedFolders::new(
            &self.dir,
            store.clone(),
            options,
            accounts.clone(),
            context.forks,
        );
        Ok(Storage {
            mounted: mounted.map_err(fail)?,
            root: Storage::root(root, &store),
            store,
            on_duplicate: self.on_duplicate,
            accounts,
        })
    }
}

fn open_accounts(file: &Path, dir: &Path) -> Result<Accounts, Failure> {
    let accounts = Accounts::open(file, Cost::OWASP)?;
    let is_within =
        || -> std::io::Result<bool> { Ok(file.canonicalize()?.starts_with(dir.canonicalize()?)) };
    match is_within() {
        Ok(false) => Ok(accounts),
        Ok(true) => Err(Failure::usage(format!(
            "the accounts in {} would be served: move the file out of the folder {}",
            file.display(),
            dir.display()
        ))),
        Err(error) => Err(Failure::usage(format!(
            "--accounts {}: {error}",
            file.display()
        ))),
    }
}

fn warn_about_passwords(context: &Context) {
    if let Some(address) = context.exposed() {
        log::warn!(
            "passwords may cross the network in the clear on {address}: add --tls-cert and \
             --require-tls control, or bind to loopback"
        );
    }
}

/// Logs a warning in a container if `--passive-ports` is not set. Then the server uses any free
/// port. Clients reach only the published ports of a container, so their data connections would
/// fail.
fn warn_about_container(context: &Context) {
    if let (Some(address), Some(container)) = (context.exposed(), this_container()) {
        log::warn!(
            "{address} is in a container ({container}), whose clients reach only published ports: \
             add {}, and publish the ports",
            options_in_container()
        );
    }
}
