//! `client ftp`: transfers files and mirrors folders.

mod check;
mod control;
mod credentials;
mod data;
mod exclude;
mod fault;
mod features;
mod folder;
mod jobs;
mod listing;
mod mirror;
mod options;
mod partial;
mod path;
mod plan;
pub(super) mod probe;
mod reply;
mod report;
mod session;
mod single;
mod tickets;
mod transfer;
mod tree;
mod url;

use clap::{Args, Subcommand};

pub use check::check;

use crate::service::Failure;
use options::{Change, ConnectionOptions, Get, Mirror, Place, Put};

const PASSWORD_HELP: &str = "The password comes from the variable SOCKETSERVER_PASSWORD, from \
    ~/.netrc, or from the terminal; never from the URL.";

/// The arguments of `client ftp`.
#[derive(Debug, Args)]
#[command(after_help = PASSWORD_HELP, subcommand_required = true)]
pub struct FtpClient {
    #[command(subcommand)]
    command: FtpCommand,
    #[command(flatten)]
    connection: ConnectionOptions,
}

#[derive(Debug, Subcommand)]
enum FtpCommand {
    /// Receive a file
    Get(Get),
    /// Send a file
    Put(Put),
    /// List a folder, or one file
    Ls(Place),
    /// Make a folder the same as another: from the server to here, or with --reverse to the server
    Mirror(Mirror),
    /// Remove a file, or an empty folder whose URL ends with /
    Rm(Change),
    /// Make a folder
    Mkdir(Change),
}

impl FtpClient {
    /// Does what the command says; returns the exit code.
    ///
    /// # Errors
    /// Code 1 when it fails, 2 when the arguments cannot be used.
    pub fn run(self) -> Result<u8, Failure> {
        match self.command {
            FtpCommand::Get(get) => get.run(self.connection),
            FtpCommand::Put(put) => put.run(self.connection),
            FtpCommand::Ls(place) => place.list(self.connection),
            FtpCommand::Mirror(mirror) => mirror.run(self.connection),
            FtpCommand::Rm(change) => change.remove(self.connection),
            FtpCommand::Mkdir(change) => change.make_folder(self.connection),
        }
    }
}
