//! The interface between a service and the binary: its options, and how it opens.
//!
//! A new service needs a file with the handler, a `clap::Args` struct that implements [`Service`],
//! and a line in the list in `lib.rs`. That line adds the subcommand, its help, `make run-NAME`,
//! and the tests that every service must pass.

use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use socketserver::{
    Address, ClientAddress, DatagramRequestHandler, Error, Refusal, StreamRequestHandler, Tls,
};

use crate::accounts::AccountsError;
use crate::common::access_log::AccessLog;

/// The information and functions that a service gets when it opens.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The access log; `None` without `--access-log`.
    pub access_log: Option<Arc<AccessLog>>,
    /// Whether clients must prove that they have a key before the service gets their connections.
    pub authenticated: bool,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The TLS settings, for a service that starts TLS itself.
    pub certificate: Option<Tls>,
    /// The addresses that the server will listen on.
    pub addresses: Vec<Address>,
    /// Whether each connection is served by its own process. Then the service must not start a
    /// thread before the fork, and a change by one handler is not visible to the next one.
    pub forks: bool,
    /// Whether only one connection is served at a time.
    pub is_sequential: bool,
    /// The tasks after the last request, before the process ends.
    pub at_end: AtEnd,
    /// The files that are read again at a reload.
    pub at_reload: AtReload,
}

impl Context {
    /// Returns the first address that other machines can reach.
    pub fn exposed(&self) -> Option<&Address> {
        self.addresses.iter().find(|address| !is_local(address))
    }
}

/// Whether only this machine can connect.
fn is_local(address: &Address) -> bool {
    match address {
        Address::Unix(_) => true,
        Address::Inet { host, port } => match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => (host.as_str(), *port)
                .to_socket_addrs()
                .is_ok_and(|mut found| {
                    found.all(|address| address.ip().to_canonical().is_loopback())
                }),
        },
        _ => false,
    }
}

/// Tasks of services at the end of the process, such as sending remaining data.
#[derive(Clone, Default)]
pub struct AtEnd(Arc<Mutex<Vec<Task>>>);

/// A task. It gets the end of the grace time, and returns whether it has aborted something.
type Task = Box<dyn FnOnce(Option<Instant>) -> bool + Send>;

impl AtEnd {
    /// Adds a task, which should take no more than a moment.
    pub fn add(&self, task: impl FnOnce() + Send + 'static) {
        self.0.lock().push(Box::new(|_| {
            task();
            false
        }));
    }

    /// Adds a task that may take until the end of the grace time, which is its argument; `None`
    /// means no limit. The task returns whether it had to abort something. In that case the exit
    /// code is 1.
    pub fn add_until(&self, task: impl FnOnce(Option<Instant>) -> bool + Send + 'static) {
        self.0.lock().push(Box::new(task));
    }

    /// Runs the tasks. `until` is the end of the grace time. Returns whether something was aborted.
    pub(crate) fn run(&self, until: Option<Instant>) -> bool {
        let tasks = mem::take(&mut *self.0.lock());
        let aborted = tasks.into_iter().map(|task| task(until));
        // Every task runs, also after one that has aborted something.
        aborted.fold(false, |any, aborted| any | aborted)
    }
}

impl fmt::Debug for AtEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtEnd")
    }
}

/// The files that services read again at a reload (SIGHUP).
#[derive(Clone, Default)]
pub struct AtReload(Arc<Mutex<Vec<Prepare>>>);

/// Reads a file again. Returns the function that puts it in use.
type Prepare = Box<dyn Fn() -> Result<Commit, Failure> + Send>;
/// Puts a file in use that was read. It cannot fail.
pub type Commit = Box<dyn FnOnce() + Send>;

impl AtReload {
    /// Adds a file that is read again at each reload.
    pub fn add(&self, prepare: impl Fn() -> Result<Commit, Failure> + Send + 'static) {
        self.0.lock().push(Box::new(prepare));
    }

    /// Reads all files again. Returns the functions that put them in use.
    ///
    /// # Errors
    /// A file cannot be used: then none may be put in use.
    pub(crate) fn prepare(&self) -> Result<Vec<Commit>, Failure> {
        self.0.lock().iter().map(|prepare| prepare()).collect()
    }
}

impl fmt::Debug for AtReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtReload")
    }
}

/// A user and a group of the system, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The number of the user.
    pub user: u32,
    /// The number of the group.
    pub group: u32,
}

/// A service with its options.
pub trait Service: clap::Args + fmt::Debug + 'static {
    /// The name of the subcommand, and the first word of the ready line.
    const NAME: &'static str;
    /// The default port.
    const PORT: u16;
    /// The scheme of the ready line.
    const SCHEME: &'static str = "tcp";
    /// The scheme with TLS.
    const TLS_SCHEME: &'static str = "tls";
    /// The protocols that TLS offers (ALPN).
    const ALPN: &'static [&'static str] = &[];
    /// The default of `--idle-timeout`, the maximum silence between messages.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
    /// Whether `--auth-key-file` is possible, which puts connections behind a challenge. Protocols
    /// with users of their own do not support it.
    const AUTH: bool = true;
    /// Whether clients without TLS reach the handlers of a server with TLS, so that the handlers
    /// can answer with an error of their protocol.
    const PLAINTEXT: bool = false;
    /// Whether the service serves only datagrams.
    const DATAGRAMS: bool = false;
    /// Whether the service writes an access log.
    const ACCESS_LOG: bool = false;

    /// Returns the default port with these options.
    fn port(&self) -> u16 {
        Self::PORT
    }

    /// Whether the service starts TLS itself, when a client asks for it. Otherwise every connection
    /// begins with TLS. Defaults to false.
    fn starts_tls(&self) -> bool {
        false
    }

    /// Returns the user and the group that the server runs as after it has bound its addresses.
    /// `None`, the default, means the user and the group that started it.
    ///
    /// # Errors
    /// There is no such user or group: exit code 2.
    fn identity(&self) -> Result<Option<Identity>, Failure> {
        Ok(None)
    }

    /// Returns the options that the service cannot honour in combination with its other options.
    /// They may be options of every server or of this service.
    fn unsupported(&self) -> Vec<Unsupported> {
        Vec::new()
    }

    /// Opens the files and folders that the options name. It is called once, before an address is
    /// bound.
    ///
    /// # Errors
    /// A file or folder of the options cannot be used: exit code 2.
    fn open(self, context: &Context) -> Result<Served, Failure>;
}

/// Options that a service cannot honour. On the command line they are an error. Their variables are
/// ignored with a warning.
#[derive(Clone, Copy, Debug)]
pub struct Unsupported {
    /// The names of the options' fields.
    pub options: &'static [&'static str],
    /// The reason, which follows the text "--option does not apply: ".
    pub reason: &'static str,
}

/// The options that concern only connections, and do not apply to datagrams.
pub const FOR_CONNECTIONS: Unsupported = Unsupported {
    options: &[
        "proxy_protocol",
        "tls_cert",
        "tls_key",
        "tls_self_signed",
        "auth_key_file",
        "auth_digest",
        "max_connections",
        "max_per_ip",
        "backlog",
        "idle_timeout",
        "head_timeout",
        "read_timeout",
        "write_timeout",
        "min_rate",
    ],
    reason: "datagrams have no connection",
};

/// A function that creates the handler of a connection.
pub type StreamClass = Box<dyn Fn(&ClientAddress) -> Box<dyn StreamRequestHandler> + Send + Sync>;
/// A function that creates the handler of a datagram.
pub type DatagramClass =
    Box<dyn Fn(&ClientAddress) -> Box<dyn DatagramRequestHandler> + Send + Sync>;

/// An open service.
pub enum Served {
    /// The service serves connections.
    Stream {
        /// Creates the handlers.
        class: StreamClass,
        /// Returns the bytes that a refused connection gets.
        refusal: fn(Refusal) -> Option<&'static [u8]>,
    },
    /// The service serves datagrams.
    Datagram(DatagramClass),
}

impl Served {
    /// A service for connections with these handlers. A refused connection gets a line of text.
    pub fn stream(
        class: impl Fn(&ClientAddress) -> Box<dyn StreamRequestHandler> + Send + Sync + 'static,
    ) -> Served {
        Served::Stream {
            class: Box::new(class),
            refusal: |why| Some(refusal_line(why).as_bytes()),
        }
    }
}

/// Returns the line of text that a text service sends to a refused connection. It is shorter than
/// the challenge of `--auth-key-file`, so that a client that waits for a challenge does not mistake
/// the line for one.
pub fn refusal_line(why: Refusal) -> &'static str {
    match why {
        Refusal::MaxConnections => "busy: too many connections\n",
        Refusal::MaxPerAddress => "busy: too many from you\n",
        Refusal::Denied => "denied\n",
        _ => "busy: overloaded\n",
    }
}

/// Returns the reason for which the server refused the connection, if the bytes are a refusal of a
/// text service.
pub(crate) fn refusal_in(bytes: &[u8]) -> Option<&'static str> {
    refusal_lines()
        .find(|line| line.as_bytes() == bytes)
        .map(str::trim_end)
}

/// Whether the bytes are the beginning of a refusal of a text service, or all of it.
pub(crate) fn begins_refusal(bytes: &[u8]) -> bool {
    refusal_lines().any(|line| line.as_bytes().starts_with(bytes))
}

fn refusal_lines() -> impl Iterator<Item = &'static str> {
    Refusal::ALL.into_iter().map(refusal_line)
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Served::Stream { .. } => "Served::Stream",
            Served::Datagram(_) => "Served::Datagram",
        })
    }
}

/// The error that ends the program: one line, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code. 1: failure at run time; 2: wrong usage or configuration.
    pub code: u8,
    /// The error, and what to do about it.
    pub message: String,
}

impl Failure {
    /// A failure by wrong usage, or by a file of an option that cannot be used: code 2.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure {
            code: 2,
            message: message.into(),
        }
    }

    /// The failure of a server or client that needs a key and has none.
    pub fn no_key() -> Failure {
        Failure::usage("there is no key: use --auth-key-file FILE, or set SOCKETSERVER_KEY")
    }

    /// A failure at run time: code 1.
    pub fn run(message: impl fmt::Display) -> Failure {
        Failure {
            code: 1,
            message: message.to_string(),
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl From<AccountsError> for Failure {
    /// A file that cannot be used is wrong usage (code 2). An error of an operation on a usable
    /// file is a failure at run time (code 1).
    fn from(error: AccountsError) -> Failure {
        use AccountsError::*;
        match error {
            Missing(_) | Foreign(_) | Newer(_) | Io(..) | BadName(_) | BadPassword(_) => {
                Failure::usage(error.to_string())
            }
            Database(_, ref cause)
                if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) =>
            {
                Failure::usage(error.to_string())
            }
            _ => Failure::run(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Address(_) | Error::File { .. } => Failure::usage(error.to_string()),
            // The error text of the system does not say which operation failed.
            Error::Io(error) if is_out_of_descriptors(&error) => Failure::run(format!(
                "cannot open another file or socket: {error}; raise the limit on open files \
                 (`ulimit -n`, LimitNOFILE=)"
            )),
            _ => Failure::run(error),
        }
    }
}
