//! A session: a control connection after the login.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::net::sockopt;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS12;
use rustls::{ALL_VERSIONS, ClientConfig};

use super::control::Control;
use super::credentials::Credentials;
use super::fault::Fault;
use super::features::{DigestCommand, Features, digest_in};
use super::listing::mlsd;
use super::options::{ConnectionOptions, TlsMode};
use super::path::{RemotePath, check_name};
use super::reply::Reply;
use super::tickets::Tickets;
use super::url::FtpUrl;
use crate::client::{Connection, connect, tls_config};
use crate::common::digest::Digests;
use crate::service::Failure;

/// Idle time after which the system sends keep-alive probes. The control connection is idle during
/// a long transfer, and routers forget idle connections.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// Number of bytes for which the maximum wait for a reply grows by one second. A server needs time
/// to compute the digest of a large file, or to write the file to its disk.
const BYTES_PER_SECOND: u64 = 10_000_000;

/// The server, and the options for a connection to it. All sessions share this value.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: FtpUrl,
    pub(super) options: ConnectionOptions,
    credentials: Credentials,
    /// The TLS configuration and the name in the certificate; `None` without TLS.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    mode: TlsMode,
}

impl Target {
    /// Finds the user and the TLS options of a server, and checks everything that can be checked
    /// without a connection.
    ///
    /// # Errors
    /// Exit code 2 if an option or `~/.netrc` cannot be used.
    pub(super) fn new(url: FtpUrl, options: ConnectionOptions) -> Result<Target, Failure> {
        let credentials = Credentials::find(&url)?;
        Target::with_credentials(url, options, credentials)
    }

    /// As [`new`](Target::new), but for the user `anonymous`, and without reading `~/.netrc`.
    ///
    /// # Errors
    /// Exit code 2 if an option cannot be used.
    pub(super) fn anonymous(url: FtpUrl, options: ConnectionOptions) -> Result<Target, Failure> {
        Target::with_credentials(url, options, Credentials::anonymous())
    }

    fn with_credentials(
        url: FtpUrl,
        options: ConnectionOptions,
        credentials: Credentials,
    ) -> Result<Target, Failure> {
        let mode = options.tls_mode(&url);
        let tls = if mode == TlsMode::Off {
            None
        } else {
            let config = tls_config(
                options.tls_ca.as_deref(),
                options.tls_insecure,
                ALL_VERSIONS,
            )?;
            let name = ServerName::try_from(url.host.clone())
                .map_err(|error| Failure::usage(format!("{url}: {error}")))?;
            Some((config, name))
        };
        Ok(Target {
            credentials,
            url,
            options,
            tls,
            mode,
        })
    }

    /// The TLS configuration of a new session.
    fn session_tls(&self) -> Option<SessionTls> {
        let (config, name) = self.tls.as_ref()?;
        Some(SessionTls::new(config, name))
    }

    /// The TLS configuration of a new session that offers the server only TLS 1.2. [`Tickets`]
    /// describes why.
    fn session_tls12(&self) -> Result<Option<SessionTls>, Failure> {
        let Some((_, name)) = &self.tls else {
            return Ok(None);
        };
        let (ca, is_insecure) = (self.options.tls_ca.as_deref(), self.options.tls_insecure);
        let config = tls_config(ca, is_insecure, &[&TLS12])?;
        Ok(Some(SessionTls::new(&config, name)))
    }
}

/// The TLS configuration of all connections of one session.
#[derive(Clone, Debug)]
pub(super) struct SessionTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    tickets: Arc<Tickets>,
}

impl SessionTls {
    /// Makes the configuration of one session, with its own tickets. A server may demand that a
    /// data connection resumes the TLS session of its own control connection. With a ticket of
    /// another session it would resume the wrong one.
    fn new(config: &ClientConfig, name: &ServerName<'static>) -> SessionTls {
        let mut config = config.clone();
        let tickets = Arc::new(Tickets::default());
        config.resumption = Resumption::store(Arc::clone(&tickets) as _);
        SessionTls {
            config: Arc::new(config),
            name: name.clone(),
            tickets,
        }
    }
}

/// The command that asks for a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passive {
    /// EPSV (RFC 2428 §3). Its reply contains a port, but no address.
    Extended,
    /// PASV, for servers that do not know EPSV.
    Classic,
}

/// A session with the server.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub(super) target: &'a Target,
    pub(super) features: Features,
    pub(super) tls: Option<SessionTls>,
    /// The address of the server. Data connections go only to this address, unless
    /// `--trust-pasv-address` is set.
    pub(super) peer: IpAddr,
    /// The command that the next data connection uses.
    pub(super) passive: Passive,
    /// The working directory after the login; `None` until a command needs it.
    pub(super) home: Option<Vec<u8>>,
    /// Whether LIST shows hidden files with `-a`; `None` before the first LIST.
    pub(super) list_all: Option<bool>,
    /// Whether this session has selected the client's algorithm for HASH.
    is_hash_chosen: bool,
    /// The control connection; `None` after it was closed.
    control: Option<Control>,
}

impl<'a> Session<'a> {
    /// Connects and logs in. `features` are the features that another session has found; `None` to
    /// ask the server.
    ///
    /// # Errors
    /// Exit code 1, or 2 if there is no password.
    pub(super) fn open(
        target: &'a Target,
        features: Option<&Features>,
    ) -> Result<Session<'a>, Failure> {
        Session::open_over(target, features, target.session_tls())
    }

    /// As [`open`](Session::open), but with this TLS configuration if the target uses TLS.
    fn open_over(
        target: &'a Target,
        features: Option<&Features>,
        tls: Option<SessionTls>,
    ) -> Result<Session<'a>, Failure> {
        let url = &target.url;
        let port = url.port(target.mode == TlsMode::Implicit);
        let timeout = target.options.timeout;
        let failed = |error| Failure::run(format!("cannot connect to {url}: {error}"));
        let stream = connect(&url.host, port, timeout).map_err(failed)?;
        let peer = stream.peer_addr().map_err(failed)?.ip();
        // Errors are ignored, because only a very long transfer needs the probes.
        let _ = sockopt::set_socket_keepalive(&stream, true);
        #[cfg(target_os = "linux")]
        let _ = sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE_INTERVAL);
        let connection = Connection::over(stream, timeout, target.options.trace);
        let mut session = Session {
            target,
            features: Features::unknown(),
            tls: None,
            peer,
            passive: Passive::Extended,
            home: None,
            list_all: None,
            is_hash_chosen: false,
            control: Some(Control::new(connection, timeout)),
        };
        if target.mode == TlsMode::Implicit {
            session.secure(tls.clone())?;
        }
        session.greet()?;
        if target.mode == TlsMode::Explicit {
            let reply = session
                .command("AUTH", Some(b"TLS"))
                .map_err(|e| e.about(url))?;
            if reply.code != 234 {
                let text = reply.text();
                return Err(Failure::run(format!("{url} refuses TLS: {text}")));
            }
            session.secure(tls)?;
        }
        session.log_in()?;
        session
            .prepare(features)
            .map_err(|fault| fault.about(url))?;
        Ok(session)
    }

    fn greet(&mut self) -> Result<(), Failure> {
        let url = &self.target.url;
        let mut reply = self.receive(0).map_err(|fault| fault.about(url))?;
        if reply.is_preliminary() {
            reply = self.receive(0).map_err(|fault| fault.about(url))?;
        }
        if reply.is_done() {
            return Ok(());
        }
        let text = reply.text();
        Err(Failure::run(format!(
            "{url} refused the connection: {text}"
        )))
    }

    fn secure(&mut self, tls: Option<SessionTls>) -> Result<(), Failure> {
        let (url, mode) = (&self.target.url, self.target.mode);
        self.tls = tls;
        let (Some(control), Some(tls)) = (self.control.take(), self.tls.clone()) else {
            return Err(Failure::run(format!(
                "{url}: there is no connection to encrypt"
            )));
        };
        let secured = control.secure(tls.config, tls.name).map_err(|error| {
            let hint = match tls_error(&error) {
                Some(rustls::Error::InvalidMessage(_)) if mode == TlsMode::Implicit => {
                    ": the server may not use implicit TLS: use --tls"
                }
                _ => "",
            };
            Failure::run(format!("TLS with {url} failed: {error}{hint}"))
        });
        self.control = Some(secured?);
        Ok(())
    }

    fn log_in(&mut self) -> Result<(), Failure> {
        let url = &self.target.url;
        let credentials = &self.target.credentials;
        let user = credentials.user.as_str();
        let mut reply = self
            .command("USER", Some(user.as_bytes()))
            .map_err(|fault| fault.about(url))?;
        if reply.code == 331 {
            let password = credentials.password()?;
            reply = self
                .control()
                .and_then(|control| {
                    control
                        .send_secret("PASS", &password)
                        .map_err(|error| Fault::broken(&error))
                })
                .and_then(|()| self.receive(0))
                .map_err(|fault| fault.about(url))?;
        }
        if reply.is_done() {
            return Ok(());
        }
        let text = reply.text();
        Err(Failure::run(format!(
            "the login of `{user}` at {url} failed: {text}"
        )))
    }

    /// Sends the commands that each session needs once.
    fn prepare(&mut self, features: Option<&Features>) -> Result<(), Fault> {
        if self.tls.is_some() {
            self.done("PBSZ", Some(b"0"))?;
            self.done("PROT", Some(b"P"))?;
        }
        self.features = match features {
            Some(features) => features.clone(),
            None => {
                let reply = self.command("FEAT", None)?;
                if reply.is_done() {
                    Features::read(&reply)
                } else {
                    Features::unknown()
                }
            }
        };
        if self.features.utf8 {
            // RFC 2640 does not require this command, but some servers do. The reply is ignored.
            self.command("OPTS", Some(b"UTF8 ON"))?;
        }
        self.done("TYPE", Some(b"I")).map(|_| ())
    }

    /// Logs in again if the TLS session cannot be resumed any more, because a server may demand
    /// that data connections resume it. Must be called before each file and each listing.
    ///
    /// # Errors
    /// The errors of [`open`](Session::open). After an error the session is closed.
    pub(super) fn refresh(&mut self) -> Result<(), Failure> {
        let is_fit = |tls: &SessionTls| !tls.tickets.have_run_out();
        if self.tls.as_ref().is_none_or(is_fit) {
            return Ok(());
        }
        let (target, features) = (self.target, self.features.clone());
        let tls12 = target.session_tls12()?;
        self.send_quit();
        self.give_up();
        // If the server does not support TLS 1.2, the client uses TLS 1.3 again. The new session at
        // least has new tickets.
        *self = Session::open_over(target, Some(&features), tls12)
            .or_else(|_| Session::open(target, Some(&features)))?;
        Ok(())
    }

    /// Whether commands can still be sent.
    pub(super) fn is_alive(&self) -> bool {
        self.control.is_some()
    }

    /// Closes the control connection. The next reply on it could be the reply to an earlier
    /// command, so the client can send no further command.
    pub(super) fn give_up(&mut self) {
        self.control = None;
    }

    pub(super) fn control(&mut self) -> Result<&mut Control, Fault> {
        self.control
            .as_mut()
            .ok_or_else(|| Fault::Broken("the connection has ended".to_owned()))
    }

    /// Waits for a reply. The wait may be longer if the server must read or write many `bytes`.
    pub(super) fn receive(&mut self, bytes: u64) -> Result<Reply, Fault> {
        let extra = Duration::from_secs(bytes / BYTES_PER_SECOND);
        match self.control()?.receive(extra) {
            // 421: the server is about to close the connection (RFC 959 §5.4).
            Ok(reply) if reply.code == 421 => {
                self.give_up();
                Err(Fault::Broken(reply.text()))
            }
            Ok(reply) => Ok(reply),
            Err(error) => {
                self.give_up();
                Err(Fault::broken(&error))
            }
        }
    }

    /// Sends a command, and waits for its reply.
    pub(super) fn command(&mut self, verb: &str, argument: Option<&[u8]>) -> Result<Reply, Fault> {
        self.command_on(verb, argument, 0)
    }

    /// As [`command`](Session::command), for a command for which the server must read `bytes` bytes
    /// of a file.
    fn command_on(
        &mut self,
        verb: &str,
        argument: Option<&[u8]>,
        bytes: u64,
    ) -> Result<Reply, Fault> {
        if let Some(argument) = argument {
            check_name(argument).map_err(Fault::Local)?;
        }
        if let Err(error) = self.control()?.send(verb, argument) {
            // The server may have sent a reply with the reason before it closed the connection.
            let reply = self.receive(0);
            self.give_up();
            return match reply {
                Ok(reply) => Err(Fault::Broken(reply.text())),
                Err(Fault::Broken(text)) if text.starts_with("421") => Err(Fault::Broken(text)),
                Err(_) => Err(Fault::broken(&error)),
            };
        }
        self.receive(bytes)
    }

    /// Sends a command. A reply without success is an error.
    pub(super) fn done(&mut self, verb: &str, argument: Option<&[u8]>) -> Result<Reply, Fault> {
        let reply = self.command(verb, argument)?;
        if reply.is_done() {
            Ok(reply)
        } else {
            Err(Fault::refused(&reply))
        }
    }

    /// The length of a file in bytes (SIZE, RFC 3659 §4). `None` if the server does not return a
    /// length.
    pub(super) fn size(&mut self, path: &RemotePath) -> Result<Option<u64>, Fault> {
        if !self.features.size {
            return Ok(None);
        }
        let reply = self.command("SIZE", Some(&path.argument()))?;
        self.features.size = !reply.is_unknown_command();
        Ok(value(&reply).and_then(|text| text.parse().ok()))
    }

    /// When a file was last changed (MDTM, RFC 3659 §3). `None` if the server does not return a
    /// time.
    pub(super) fn modified(&mut self, path: &RemotePath) -> Result<Option<SystemTime>, Fault> {
        if !self.features.mdtm {
            return Ok(None);
        }
        let reply = self.command("MDTM", Some(&path.argument()))?;
        self.features.mdtm = !reply.is_unknown_command();
        Ok(value(&reply).and_then(|text| mlsd::time(&text)))
    }

    /// Sets the time of a file if the server can. Returns whether the time was set.
    pub(super) fn set_modified(
        &mut self,
        path: &RemotePath,
        time: SystemTime,
    ) -> Result<bool, Fault> {
        let Some(text) = mlsd::time_text(time).filter(|_| self.features.mfmt) else {
            return Ok(false);
        };
        let argument = [text.as_bytes(), b" ", &path.argument()].concat();
        Ok(self.command("MFMT", Some(&argument))?.is_done())
    }

    /// Asks the server for the digest of a file of `size` bytes. `None` if the server returns no
    /// digest.
    pub(super) fn digest(
        &mut self,
        path: &RemotePath,
        size: u64,
    ) -> Result<Option<Digests>, Fault> {
        let Some(command) = self.features.digest else {
            return Ok(None);
        };
        if let DigestCommand::Hash {
            algorithm,
            is_chosen,
        } = command
            && !(is_chosen || self.is_hash_chosen)
        {
            let option = format!("HASH {}", algorithm.name());
            if !self.command("OPTS", Some(option.as_bytes()))?.is_done() {
                self.features.digest = None;
                return Ok(None);
            }
            self.is_hash_chosen = true;
        }
        let reply = self.command_on(command.verb(), Some(&path.argument()), size)?;
        if reply.is_unknown_command() {
            self.features.digest = None;
        }
        let digest = reply
            .is_done()
            .then(|| digest_in(&reply, command.algorithm()));
        Ok(digest.flatten())
    }

    /// Ends the session with QUIT. The reply is ignored.
    pub(super) fn quit(mut self) {
        self.send_quit();
    }

    fn send_quit(&mut self) {
        if let Some(control) = &mut self.control
            && control.send("QUIT", None).is_ok()
        {
            let _ = control.receive(Duration::ZERO);
        }
    }
}

/// Finds the TLS error in an error of a connection.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The text of a reply with the code 213; `None` for other codes.
fn value(reply: &Reply) -> Option<String> {
    let line = reply.lines.first().filter(|_| reply.code == 213)?;
    Some(String::from_utf8_lossy(line).trim().to_owned())
}
