//! The options of `client ftp`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::exclude::Exclusion;
use super::transfer::Manner;
use super::url::{FtpUrl, GivenUrl, Scheme};
use crate::common::progress::Progress;
use crate::common::values::patience;

/// How to reach the server.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionOptions {
    /// Use TLS for commands and data (AUTH TLS), as with ftpes://
    #[arg(long, global = true)]
    pub(super) tls: bool,
    /// Use TLS from the first byte, as with ftps://; the default port is then 990
    #[arg(long, global = true, conflicts_with = "tls")]
    pub(super) tls_implicit: bool,
    /// Trust only the certificates in this PEM file (implies --tls)
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) tls_ca: Option<PathBuf>,
    /// Trust any certificate (implies --tls)
    #[arg(long, global = true, conflicts_with = "tls_ca")]
    pub(super) tls_insecure: bool,
    /// Maximum time to wait for the server at each step (500ms, 30s, 2m; off)
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = patience)]
    pub(super) timeout: Duration,
    /// Show all traffic on standard error, except the password: time, direction, bytes
    #[arg(long, global = true)]
    pub(super) trace: bool,
    /// Connect to the address in the reply to PASV, even if it is not the server's address
    #[arg(long, global = true)]
    pub(super) trust_pasv_address: bool,
}

/// Whether connections are encrypted, and how TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ftp) enum TlsMode {
    Off,
    Explicit,
    Implicit,
}

impl ConnectionOptions {
    /// The TLS mode from the options and the URL's scheme.
    pub(super) fn tls_mode(&self, url: &FtpUrl) -> TlsMode {
        if self.tls_implicit || url.scheme == Scheme::Implicit {
            TlsMode::Implicit
        } else if self.tls
            || self.tls_insecure
            || self.tls_ca.is_some()
            || url.scheme == Scheme::Explicit
        {
            TlsMode::Explicit
        } else {
            TlsMode::Off
        }
    }
}

/// How files are transferred.
#[derive(Clone, Debug, Args)]
pub(super) struct TransferOptions {
    /// Continue transfers that were cut
    #[arg(long)]
    pub(super) resume: bool,
    /// Maximum number of sessions at the same time, 1 to 64; one file needs one
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub(super) jobs: u16,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Verify only the length, without asking the server for digests
    #[arg(long)]
    pub(super) no_digest: bool,
    /// Do not wait until received files are on the disk before they get their names
    #[arg(long)]
    pub(super) no_fsync: bool,
}

impl TransferOptions {
    /// The settings for all transfers of a run.
    pub(super) fn manner<'a>(&self, progress: &'a Progress) -> Manner<'a> {
        Manner {
            resume: self.resume,
            digest: !self.no_digest,
            sync: !self.no_fsync,
            progress,
        }
    }
}

/// `get`.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// URL of the file: ftp://[USER@]HOST[:PORT]/PATH
    #[arg(value_name = "URL")]
    pub(super) url: GivenUrl,
    /// Where to store it: a file name, or a folder that exists; by default the working folder
    #[arg(value_name = "LOCAL")]
    pub(super) local: Option<PathBuf>,
    #[command(flatten)]
    pub(super) transfer: TransferOptions,
}

/// `put`.
#[derive(Debug, Args)]
pub(super) struct Put {
    /// URL of the file to write; if it ends with /, LOCAL keeps its name there
    #[arg(value_name = "URL")]
    pub(super) url: GivenUrl,
    /// The file to send
    #[arg(value_name = "LOCAL")]
    pub(super) local: PathBuf,
    #[command(flatten)]
    pub(super) transfer: TransferOptions,
}

/// `ls`.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// URL: ftp://[USER@]HOST[:PORT]/PATH
    #[arg(value_name = "URL")]
    pub(super) url: GivenUrl,
}

/// `rm` and `mkdir`.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// URL: ftp://[USER@]HOST[:PORT]/PATH; one that ends with / is a folder
    #[arg(value_name = "URL")]
    pub(super) url: GivenUrl,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// `mirror`.
#[derive(Debug, Args)]
pub(super) struct Mirror {
    /// URL of the folder on the server: ftp://[USER@]HOST[:PORT]/PATH
    #[arg(value_name = "URL")]
    pub(super) url: GivenUrl,
    /// The folder here; by default one with the name of the server's, in the working folder
    #[arg(value_name = "LOCAL")]
    pub(super) local: Option<PathBuf>,
    /// Mirror the folder here to the server; otherwise from the server to here
    #[arg(long)]
    pub(super) reverse: bool,
    /// Remove what the source does not have
    #[arg(long)]
    pub(super) delete: bool,
    /// Leave out what matches: a name such as *.tmp, or a path below the folder such as a/*/b; one
    /// that ends with / matches only folders; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(super) exclude: Vec<Exclusion>,
    #[command(flatten)]
    pub(super) transfer: TransferOptions,
}
