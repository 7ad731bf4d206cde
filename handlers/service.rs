//! What a service is to the binary: its options, and how it opens.
//!
//! To add one: a file with the handler, a `clap::Args` struct that implements [`Service`], and a
//! line in the list in `lib.rs`. The subcommand, its help, `make run-NAME` and the tests that every
//! service must pass follow from that line.

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

/// What the process offers to a service that opens.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Where requests are written to, if the user wants them.
    pub access_log: Option<Arc<AccessLog>>,
    /// Whether clients must prove that they hold a key before the service hears of them.
    pub authenticated: bool,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The certificate, for a service that starts TLS itself.
    pub certificate: Option<Tls>,
    /// Where the server will listen.
    pub addresses: Vec<Address>,
    /// Whether requests are served by processes of their own: no thread may be started before, and
    /// what a handler changes the next doesn't see.
    pub forks: bool,
    /// Whether only one connection is served at a time.
    pub is_sequential: bool,
    /// What is to be done after the last request, before the process ends.
    pub at_end: AtEnd,
    /// The files that are read again at a reload.
    pub at_reload: AtReload,
}

impl Context {
    /// The first address that others than this machine can reach.
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

/// What services want done at the end: send what they still hold, above all.
#[derive(Clone, Default)]
pub struct AtEnd(Arc<Mutex<Vec<Task>>>);

/// Takes the end of the grace time, and returns whether it has aborted something.
type Task = Box<dyn FnOnce(Option<Instant>) -> bool + Send>;

impl AtEnd {
    /// Adds something to be done. It should take no more than a moment.
    pub fn add(&self, task: impl FnOnce() + Send + 'static) {
        self.0.lock().push(Box::new(|_| {
            task();
            false
        }));
    }

    /// Adds something that may take until the end of the grace time, which the task gets; `None`
    /// is without end. The task returns whether it had to abort something: then the exit code is 1.
    pub fn add_until(&self, task: impl FnOnce(Option<Instant>) -> bool + Send + 'static) {
        self.0.lock().push(Box::new(task));
    }

    /// Does it until this moment. Returns whether something was aborted.
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
    /// The subcommand, and the first word of the ready line.
    const NAME: &'static str;
    /// The default port.
    const PORT: u16;
    /// The scheme of the ready line.
    const SCHEME: &'static str = "tcp";
    /// The scheme with TLS.
    const TLS_SCHEME: &'static str = "tls";
    /// The protocols that TLS offers (ALPN).
    const ALPN: &'static [&'static str] = &[];
    /// How long a connection may be silent between messages, if the user says nothing.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
    /// Whether its connections can be put behind the challenge of `--auth-key-file`; protocols that
    /// know users can't.
    const AUTH: bool = true;
    /// Whether its handlers are called with TLS for clients in the clear too, to tell them so in
    /// the words of their protocol.
    const PLAINTEXT: bool = false;
    /// Whether it only ever serves datagrams.
    const DATAGRAMS: bool = false;
    /// Whether it writes an access log.
    const ACCESS_LOG: bool = false;

    /// The default port, with these options.
    fn port(&self) -> u16 {
        Self::PORT
    }

    /// Whether the service starts TLS itself, when a client asks for it. Otherwise every connection
    /// begins with TLS. Defaults to false.
    fn starts_tls(&self) -> bool {
        false
    }

    /// The user and the group that the server runs as once it has bound its addresses. `None` for
    /// the user and the group that started it, which is the default.
    ///
    /// # Errors
    /// There is no such user or group: exit code 2.
    fn identity(&self) -> Result<Option<Identity>, Failure> {
        Ok(None)
    }

    /// The options, every server's or its own, that it cannot honour together with its other
    /// options.
    fn unsupported(&self) -> Vec<Unsupported> {
        Vec::new()
    }

    /// Opens what the options name, once, before anything is bound.
    ///
    /// # Errors
    /// What the options name can't be used: exit code 2.
    fn open(self, context: &Context) -> Result<Served, Failure>;
}

/// Options that a service cannot honour. Given on the command line they are an error; their
/// variables are ignored with a warning.
#[derive(Clone, Copy, Debug)]
pub struct Unsupported {
    /// The names of the options' fields.
    pub options: &'static [&'static str],
    /// Why: what follows "--option does not apply: ".
    pub reason: &'static str,
}

/// What datagrams do without: everything that concerns connections.
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

/// Makes the handler of each connection.
pub type StreamClass = Box<dyn Fn(&ClientAddress) -> Box<dyn StreamRequestHandler> + Send + Sync>;
/// Makes the handler of each datagram.
pub type DatagramClass =
    Box<dyn Fn(&ClientAddress) -> Box<dyn DatagramRequestHandler> + Send + Sync>;

/// An open service.
pub enum Served {
    /// It serves connections.
    Stream {
        /// Makes their handlers.
        class: StreamClass,
        /// What a connection that is refused gets to read.
        refusal: fn(Refusal) -> Option<&'static [u8]>,
    },
    /// It serves datagrams.
    Datagram(DatagramClass),
}

impl Served {
    /// Connections, served by such handlers; one that is refused gets a line of text.
    pub fn stream(
        class: impl Fn(&ClientAddress) -> Box<dyn StreamRequestHandler> + Send + Sync + 'static,
    ) -> Served {
        Served::Stream {
            class: Box::new(class),
            refusal: |why| Some(refusal_line(why).as_bytes()),
        }
    }
}

/// Why a connection is refused, in a line: what services of text send. It is shorter than the
/// challenge of `--auth-key-file`, so that a client that waits for that does not take it for one.
pub fn refusal_line(why: Refusal) -> &'static str {
    match why {
        Refusal::MaxConnections => "busy: too many connections\n",
        Refusal::MaxPerAddress => "busy: too many from you\n",
        Refusal::Denied => "denied\n",
        _ => "busy: overloaded\n",
    }
}

/// The reason for which the server refused the connection, if its bytes are a refusal of a text
/// service.
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

/// Why the program ends, in one line, and with which exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// 1: failed at run time; 2: wrong usage or configuration.
    pub code: u8,
    /// What failed, and what to do.
    pub message: String,
}

impl Failure {
    /// Wrong usage, or a file that an option names can't be used.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure {
            code: 2,
            message: message.into(),
        }
    }

    /// A server or client that can't go without a key has none.
    pub fn no_key() -> Failure {
        Failure::usage("there is no key: use --auth-key-file FILE, or set SOCKETSERVER_KEY")
    }

    /// Something failed at run time.
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
    /// A file that can't be used is wrong usage (2); what the file answers is a failure at run time
    /// (1).
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
            // The system's text alone does not say what the server wanted.
            Error::Io(error) if is_out_of_descriptors(&error) => Failure::run(format!(
                "cannot open another file or socket: {error}; raise the limit on open files \
                 (`ulimit -n`, LimitNOFILE=)"
            )),
            _ => Failure::run(error),
        }
    }
}
