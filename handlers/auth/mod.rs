//! Authentication by HMAC, in front of any service for connections (contract §3.7), and `serve
//! auth`, which has no other function.
//!
//! The server sends a [`challenge`]. A client that answers it with one of the [`keys`] reaches the
//! handler behind [`authenticated`].

pub mod authenticated;
pub mod backoff;
pub mod challenge;
pub mod client;
pub mod keys;

use clap::{Args, Command};

use crate::common::echo::EchoHandler;
use crate::service::{Context, Failure, Served, Service};

/// The options of `serve auth`: those that every server has.
#[derive(Debug, Args)]
pub struct Auth {}

impl Service for Auth {
    const NAME: &'static str = "auth";
    const PORT: u16 = 9998;

    fn open(self, context: &Context) -> Result<Served, Failure> {
        if !context.authenticated {
            return Err(Failure::no_key());
        }
        Ok(Served::stream(|_| Box::new(EchoHandler { upper: true })))
    }
}

/// Adds short names of the options for the service `auth` itself: `--key-file` and `--digest`.
pub(crate) fn with_short_names(command: Command) -> Command {
    command
        .mut_arg("auth_key_file", |option| option.visible_alias("key-file"))
        .mut_arg("auth_digest", |option| option.visible_alias("digest"))
}
