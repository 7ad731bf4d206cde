//! The options that every server has.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "doc comments are help texts here, where brackets are brackets"
)]

use std::path::PathBuf;

use crate::auth::keys::KeyOptions;
use crate::common::values::{
    Addresses, TimeOut, addresses, at_least_one, log_level, rate, shown, time_limit, time_out,
};
use crate::service::Service;
use clap::{Args, ValueEnum};
use socketserver::{Limits, Timeouts};

const LIMITS: &str = "Limits";
const DEADLINES: &str = "Deadlines (500ms, 30s, 2m; off)";

/// A service with its own options and every server's.
#[derive(Debug, Args)]
pub struct Serve<S: Service> {
    #[command(flatten)]
    pub(crate) service: S,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
}

/// The concurrency model: how requests are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// A pool of threads; idle connections hold none
    Pool,
    /// A thread for each connection
    Threads,
    /// A process for each connection
    Processes,
    /// One connection after the other
    Sequential,
}

/// The options that every server has; each can be given as a variable too. The default address and
/// the default idle time-out are each service's own, and added to the help from its constants.
#[derive(Debug, Args)]
#[command(next_help_heading = "Addresses")]
pub struct ServerOptions {
    /// Address to listen on: HOST:PORT, :PORT (every interface), [IPV6]:PORT or unix:PATH; may be
    /// repeated
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SOCKETSERVER_BIND",
        value_parser = addresses,
        verbatim_doc_comment
    )]
    pub bind: Vec<Addresses>,
    /// Serve only these networks (CIDR, or @FILE with one a line); may be repeated
    #[arg(
        long,
        value_name = "CIDR",
        env = "SOCKETSERVER_ALLOW",
        value_delimiter = ','
    )]
    pub allow: Vec<String>,
    /// Refuse these networks (CIDR, or @FILE with one a line); may be repeated
    #[arg(
        long,
        value_name = "CIDR",
        env = "SOCKETSERVER_DENY",
        value_delimiter = ','
    )]
    pub deny: Vec<String>,
    /// Require a PROXY header (v1 or v2) from these peers, and from no others; may be repeated
    #[arg(
        long,
        value_name = "CIDR",
        env = "SOCKETSERVER_PROXY_PROTOCOL",
        value_delimiter = ','
    )]
    pub proxy_protocol: Vec<String>,
    /// Certificate chain for TLS, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "SOCKETSERVER_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "SOCKETSERVER_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Use TLS with a self-signed certificate, for development: generated once, then reused
    #[arg(
        long,
        env = "SOCKETSERVER_TLS_SELF_SIGNED",
        conflicts_with_all = ["tls_cert", "tls_key"]
    )]
    pub tls_self_signed: bool,

    /// Who is served: those who hold a key.
    #[command(flatten)]
    pub keys: KeyOptions,

    /// Concurrency model
    #[arg(
        long,
        value_enum,
        default_value = "pool",
        env = "SOCKETSERVER_MODEL",
        help_heading = LIMITS
    )]
    pub model: Model,
    /// Minimum number of threads in the pool [default: 2 for each core, at least 4]
    #[arg(
        long,
        value_name = "N",
        env = "SOCKETSERVER_THREADS",
        value_parser = at_least_one,
        help_heading = LIMITS
    )]
    pub threads: Option<usize>,
    /// Maximum number of threads or processes
    #[arg(
        long,
        value_name = "N",
        default_value = "256",
        env = "SOCKETSERVER_MAX_THREADS",
        value_parser = at_least_one,
        help_heading = LIMITS
    )]
    pub max_threads: usize,
    /// Maximum number of open connections; more are refused
    #[arg(
        long,
        value_name = "N",
        default_value = Limits::default().max_connections.to_string(),
        env = "SOCKETSERVER_MAX_CONNECTIONS",
        value_parser = at_least_one,
        help_heading = LIMITS
    )]
    pub max_connections: usize,
    /// Maximum number of open connections from one client address [default: no limit]
    #[arg(
        long,
        value_name = "N",
        env = "SOCKETSERVER_MAX_PER_IP",
        value_parser = at_least_one,
        help_heading = LIMITS
    )]
    pub max_per_ip: Option<usize>,
    /// Maximum number of connections that the system holds until they are accepted
    #[arg(
        long,
        value_name = "N",
        default_value = "1024",
        env = "SOCKETSERVER_BACKLOG",
        help_heading = LIMITS
    )]
    pub backlog: u32,

    /// Maximum silence between two messages
    #[arg(
        long,
        value_name = "TIME",
        env = "SOCKETSERVER_IDLE_TIMEOUT",
        value_parser = time_out,
        help_heading = DEADLINES
    )]
    pub idle_timeout: Option<TimeOut>,
    /// Maximum time until a TLS handshake, a PROXY header, the answer to the HMAC challenge, or the
    /// head of a message is complete
    #[arg(
        long,
        value_name = "TIME",
        default_value = shown(Timeouts::default().head),
        env = "SOCKETSERVER_HEAD_TIMEOUT",
        value_parser = time_out,
        help_heading = DEADLINES
    )]
    pub head_timeout: TimeOut,
    /// Maximum pause between bytes of one message
    #[arg(
        long,
        value_name = "TIME",
        default_value = shown(Timeouts::default().read),
        env = "SOCKETSERVER_READ_TIMEOUT",
        value_parser = time_out,
        help_heading = DEADLINES
    )]
    pub read_timeout: TimeOut,
    /// Maximum time in which the client accepts no byte of an answer
    #[arg(
        long,
        value_name = "TIME",
        default_value = shown(Timeouts::default().write),
        env = "SOCKETSERVER_WRITE_TIMEOUT",
        value_parser = time_out,
        help_heading = DEADLINES
    )]
    pub write_timeout: TimeOut,
    /// Minimum rate of a client within a message, in bytes per second over 10 s; 0 or off for none
    #[arg(
        long,
        value_name = "BYTES/S",
        default_value = Timeouts::default().min_rate.to_string(),
        env = "SOCKETSERVER_MIN_RATE",
        value_parser = rate,
        help_heading = DEADLINES
    )]
    pub min_rate: u64,
    /// Maximum time that requests in flight may take after SIGTERM or Ctrl-C
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        env = "SOCKETSERVER_GRACE",
        value_parser = time_limit,
        help_heading = DEADLINES
    )]
    pub grace: std::time::Duration,

    /// What is written to logs, and where.
    #[command(flatten)]
    pub logs: LogOptions,
}

impl ServerOptions {
    /// Whether requests are served by processes of their own.
    pub(super) fn forks(&self) -> bool {
        self.model == Model::Processes
    }

    /// Whether only one connection is served at a time.
    pub(super) fn is_sequential(&self) -> bool {
        self.model == Model::Sequential
    }
}

/// What is written to logs, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
pub struct LogOptions {
    /// Level of the log: error, warn, info, debug, trace, or off. The commands that exec runs are
    /// logged at every level but off
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "SOCKETSERVER_LOG_LEVEL",
        value_parser = log_level
    )]
    pub log_level: log::LevelFilter,
    /// File for the log instead of standard error; reopened on SIGHUP
    #[arg(long, value_name = "FILE", env = "SOCKETSERVER_LOG_FILE")]
    pub log_file: Option<PathBuf>,
    /// File for a line about each request (Combined Log Format), or - for standard error; reopened
    /// on SIGHUP
    #[arg(long, value_name = "FILE", env = "SOCKETSERVER_ACCESS_LOG")]
    pub access_log: Option<PathBuf>,
    /// Show all traffic on standard error: time, direction, bytes
    #[arg(long, env = "SOCKETSERVER_TRACE")]
    pub trace: bool,
    /// Log more: -v debug, -vv trace
    #[arg(
        short,
        long,
        action = clap::ArgAction::Count,
        conflicts_with = "quiet",
        env = "SOCKETSERVER_VERBOSE"
    )]
    pub verbose: u8,
    /// Log only errors, and the commands that exec runs
    #[arg(short, long, env = "SOCKETSERVER_QUIET")]
    pub quiet: bool,
}

impl LogOptions {
    /// The level, from the three options that set it.
    pub(super) fn level(&self) -> log::LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => log::LevelFilter::Error,
            (false, 0) => self.log_level,
            (false, 1) => log::LevelFilter::Debug,
            (false, _) => log::LevelFilter::Trace,
        }
    }
}
