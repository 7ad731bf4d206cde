//! The options that every server has.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "doc comments are help texts here, where brackets are brackets"
)]

use std::path::PathBuf;

use super::values::{Addresses, TimeOut, addresses, at_least_one, duration, size, time_out};
use crate::auth::keys::KeyOptions;
use crate::service::Service;
use clap::{Args, ValueEnum};

/// A service with its own options and everybody's.
#[derive(Debug, Args)]
pub struct Serve<S: Service> {
    #[command(flatten)]
    pub(crate) service: S,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
}

/// How requests are processed.
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

/// The options that every server has; each can be given as a variable too.
#[derive(Debug, Args)]
#[command(next_help_heading = "Addresses")]
pub struct ServerOptions {
    /// Where to listen: HOST:PORT, :PORT (every interface), [IPV6]:PORT or unix:PATH; may be
    /// repeated [default: 127.0.0.1 and the service's port]
    #[arg(long, value_name = "ADDRESS", env = "SOCKETSERVER_BIND", value_parser = addresses, verbatim_doc_comment)]
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
    /// From these peers, and only from them, expect a PROXY header, v1 or v2; may be repeated
    #[arg(
        long,
        value_name = "CIDR",
        env = "SOCKETSERVER_PROXY_PROTOCOL",
        value_delimiter = ','
    )]
    pub proxy_protocol: Vec<String>,
    /// Encrypt: the certificate chain, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "SOCKETSERVER_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Encrypt: the certificate's key, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "SOCKETSERVER_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Encrypt with a certificate of your own making, for development: made once, and used again
    #[arg(long, env = "SOCKETSERVER_TLS_SELF_SIGNED", conflicts_with_all = ["tls_cert", "tls_key"])]
    pub tls_self_signed: bool,

    /// Who is served: those who hold a key.
    #[command(flatten)]
    pub keys: KeyOptions,

    /// How requests are processed
    #[arg(
        long,
        value_enum,
        default_value = "pool",
        env = "SOCKETSERVER_MODEL",
        help_heading = "Limits"
    )]
    pub model: Model,
    /// Threads that stay in the pool [default: 2 for each core, at least 4]
    #[arg(long, value_name = "N", env = "SOCKETSERVER_THREADS", value_parser = at_least_one, help_heading = "Limits")]
    pub threads: Option<usize>,
    /// Threads, or processes, at most
    #[arg(long, value_name = "N", default_value = "256", env = "SOCKETSERVER_MAX_THREADS", value_parser = at_least_one, help_heading = "Limits")]
    pub max_threads: usize,
    /// Open connections at most; more are refused
    #[arg(long, value_name = "N", default_value = "16384", env = "SOCKETSERVER_MAX_CONNECTIONS", value_parser = at_least_one, help_heading = "Limits")]
    pub max_connections: usize,
    /// Open connections of one client address at most [default: no limit]
    #[arg(long, value_name = "N", env = "SOCKETSERVER_MAX_PER_IP", value_parser = at_least_one, help_heading = "Limits")]
    pub max_per_ip: Option<usize>,
    /// Connections that the system keeps until they are accepted
    #[arg(
        long,
        value_name = "N",
        default_value = "1024",
        env = "SOCKETSERVER_BACKLOG",
        help_heading = "Limits"
    )]
    pub backlog: u32,

    /// Silence between two messages [default: 60s for http, 10m for others]
    #[arg(long, value_name = "TIME", env = "SOCKETSERVER_IDLE_TIMEOUT", value_parser = time_out, help_heading = "Deadlines (500ms, 30s, 2m; off)")]
    pub idle_timeout: Option<TimeOut>,
    /// A TLS handshake, a PROXY header, the answer to the HMAC challenge, or a message's head must
    /// be whole
    #[arg(long, value_name = "TIME", default_value = "10s", env = "SOCKETSERVER_HEAD_TIMEOUT", value_parser = time_out, help_heading = "Deadlines (500ms, 30s, 2m; off)")]
    pub head_timeout: TimeOut,
    /// No byte came within a message
    #[arg(long, value_name = "TIME", default_value = "30s", env = "SOCKETSERVER_READ_TIMEOUT", value_parser = time_out, help_heading = "Deadlines (500ms, 30s, 2m; off)")]
    pub read_timeout: TimeOut,
    /// The client took no byte of an answer
    #[arg(long, value_name = "TIME", default_value = "30s", env = "SOCKETSERVER_WRITE_TIMEOUT", value_parser = time_out, help_heading = "Deadlines (500ms, 30s, 2m; off)")]
    pub write_timeout: TimeOut,
    /// Bytes a second, over 10 s within a message, below which a client is cut; 0 is off
    #[arg(long, value_name = "BYTES/S", default_value = "100", env = "SOCKETSERVER_MIN_RATE", value_parser = size, help_heading = "Deadlines (500ms, 30s, 2m; off)")]
    pub min_rate: u64,
    /// After Ctrl-C: requests in flight may go on
    #[arg(long, value_name = "TIME", default_value = "10s", env = "SOCKETSERVER_GRACE", value_parser = duration, help_heading = "Deadlines (500ms, 30s, 2m; off)")]
    pub grace: std::time::Duration,

    /// What is written down, and where.
    #[command(flatten)]
    pub logs: LogOptions,
}

/// What is written down, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
pub struct LogOptions {
    /// What is logged: error, warn, info, debug, trace, or off; the commands that exec ran always
    /// but with off
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "SOCKETSERVER_LOG_LEVEL"
    )]
    pub log_level: log::LevelFilter,
    /// Log to this file instead of standard error; reopened on SIGHUP
    #[arg(long, value_name = "FILE", env = "SOCKETSERVER_LOG_FILE")]
    pub log_file: Option<PathBuf>,
    /// Log every request to this file (Combined format), or to standard error (-); reopened on
    /// SIGHUP
    #[arg(long, value_name = "FILE", env = "SOCKETSERVER_ACCESS_LOG")]
    pub access_log: Option<PathBuf>,
    /// Show all that crosses the wire on standard error: time, direction, bytes
    #[arg(long, env = "SOCKETSERVER_TRACE")]
    pub trace: bool,
    /// Log more: -v debug, -vv trace
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet", env = "SOCKETSERVER_VERBOSE")]
    pub verbose: u8,
    /// Log errors only, and the commands that exec ran
    #[arg(short, long, env = "SOCKETSERVER_QUIET")]
    pub quiet: bool,
}

impl LogOptions {
    /// The level, after all three options that tell.
    pub(super) fn level(&self) -> log::LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => log::LevelFilter::Error,
            (false, 0) => self.log_level,
            (false, 1) => log::LevelFilter::Debug,
            (false, _) => log::LevelFilter::Trace,
        }
    }
}
