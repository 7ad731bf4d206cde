//! `serve exec`: runs commands for authenticated clients (contract §3.8).
//!
//! If a client disconnects, the server kills the command of the client. An end of the client's
//! stream within 50 ms of the command's start is considered a half-close: the client still waits
//! for the answer. A later end is considered a disconnection. TCP sends the same FIN in both cases.
//! Only sending data would show whether the client still reads, and no framing allows data before
//! the answer.
//!
//! | module | task |
//! |---|---|
//! | [`request`] | parses a request |
//! | [`handler`] | decides whether the command may run |
//! | [`command`](crate::common::command) | runs the command |
//! | [`answer`] | frames the answer |
//!
//! `lessons/sticky.md` shows the disadvantages of the raw framing.

pub mod answer;
pub mod client;
pub mod handler;
pub mod request;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::common::command::Limits;
use crate::common::values::{patience, size};
use crate::service::{Context, Failure, Served, Service};
use answer::Framing;
use handler::{ExecHandler, Rules};

/// The options of `serve exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// Framing of the answers
    #[arg(long, value_enum, default_value = "json", env = "SOCKETSERVER_FRAMING")]
    framing: Framing,
    /// The only command that may run, compared literally with the first word; may be repeated
    /// [default: any]
    #[arg(
        long,
        value_name = "NAME",
        env = "SOCKETSERVER_ALLOW_COMMAND",
        value_delimiter = ','
    )]
    allow_command: Vec<String>,
    /// Run the text with /bin/sh -c instead of splitting it into words
    #[arg(long, env = "SOCKETSERVER_SHELL", conflicts_with = "allow_command")]
    shell: bool,
    /// Maximum time of a command; then it is killed, exit code 124
    #[arg(
        long,
        value_name = "TIME",
        default_value = "60s",
        env = "SOCKETSERVER_COMMAND_TIMEOUT",
        value_parser = patience
    )]
    command_timeout: Duration,
    /// Maximum size of a command's output; then it is killed
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "16MiB",
        env = "SOCKETSERVER_MAX_OUTPUT",
        value_parser = max_output
    )]
    max_output: usize,
    /// Serve clients without a key; allowed only on loopback and Unix sockets
    #[arg(long, env = "SOCKETSERVER_NO_AUTH")]
    no_auth: bool,
}

/// Parses the maximum size of the output. Its length must fit into the prefix of a frame.
fn max_output(text: &str) -> Result<usize, String> {
    let bytes = size(text)?;
    i32::try_from(bytes)
        .ok()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| "the maximum is 2GiB - 1: use a smaller size".to_owned())
}

impl Service for Exec {
    const NAME: &'static str = "exec";
    const PORT: u16 = 8080;

    fn open(self, context: &Context) -> Result<Served, Failure> {
        self.check_access(context)?;
        let rules = Arc::new(Rules {
            framing: self.framing,
            allowed: Some(self.allow_command).filter(|names| !names.is_empty()),
            shell: self.shell,
            limits: Limits {
                time: self.command_timeout,
                output: self.max_output,
            },
        });
        Ok(Served::Stream {
            class: Box::new(move |_| Box::new(ExecHandler::new(Arc::clone(&rules)))),
            refusal: match self.framing {
                Framing::Json => |why| answer::to_refused(Framing::Json, why),
                Framing::Struct => |why| answer::to_refused(Framing::Struct, why),
                Framing::Ack => |why| answer::to_refused(Framing::Ack, why),
                Framing::Raw => |why| answer::to_refused(Framing::Raw, why),
            },
        })
    }
}

impl Exec {
    /// Checks that only authenticated clients can run commands, unless `--no-auth` permits others.
    fn check_access(&self, context: &Context) -> Result<(), Failure> {
        match (context.authenticated, self.no_auth) {
            (true, false) => Ok(()),
            (true, true) => Err(Failure::usage(
                "--no-auth and a key contradict each other: leave one of them out",
            )),
            (false, false) => {
                let message =
                    Failure::no_key().message + "; or serve anyone on this machine with --no-auth";
                Err(Failure::usage(message))
            }
            (false, true) => match context.exposed() {
                None => Ok(()),
                Some(address) => Err(Failure::usage(format!(
                    "--no-auth would let anyone who reaches {address} run commands: bind to \
                     loopback or a Unix socket, or use --auth-key-file"
                ))),
            },
        }
    }
}
