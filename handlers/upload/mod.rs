//! `serve upload`: receives files, complete and verified.
//!
//! The client sends a frame with a [`header`] in JSON, and then the bytes of the file. The server
//! answers with a frame. The [`handler`](UploadHandler) writes the file with the shared
//! [`store`](crate::common::store), in which a file gets its name only when it is complete. A
//! sender that pauses occupies no thread.

mod answer;
pub mod client;
mod handler;
pub mod header;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::common::store::{MAX_PARTIALS, OnDuplicate, Store, StoreOptions};
use crate::common::values::{size, time_limit, umask};
use crate::service::{Context, Failure, Served, Service};
pub use handler::UploadHandler;

/// The options of `serve upload`.
#[derive(Debug, Args)]
pub struct Upload {
    /// Folder for the files; created if it does not exist
    #[arg(value_name = "DIR", default_value = "uploads")]
    dir: PathBuf,
    /// What to do with a file whose name already exists
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "POLICY",
        env = "SOCKETSERVER_ON_DUPLICATE"
    )]
    on_duplicate: OnDuplicate,
    /// Maximum size of a file [default: no limit]
    #[arg(long, value_name = "SIZE", env = "SOCKETSERVER_MAX_SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Maximum size of all files in the folder [default: no limit]
    #[arg(long, value_name = "SIZE", env = "SOCKETSERVER_QUOTA", value_parser = size)]
    quota: Option<u64>,
    /// Keep the folders of a file's name, below DIR
    #[arg(long, env = "SOCKETSERVER_KEEP_PATHS")]
    keep_paths: bool,
    /// Time for which an interrupted upload can be resumed; then it is removed (with --model
    /// processes, when the next upload begins)
    #[arg(
        long,
        value_name = "TIME",
        default_value = "24h",
        env = "SOCKETSERVER_PARTIAL_EXPIRY",
        value_parser = time_limit
    )]
    partial_expiry: Duration,
    /// Answer before a file is on the disk: faster, but a power failure may lose it
    #[arg(long, env = "SOCKETSERVER_NO_FSYNC")]
    no_fsync: bool,
    /// Maximum number of interrupted uploads that are kept
    #[arg(
        long,
        value_name = "N",
        default_value_t = MAX_PARTIALS,
        env = "SOCKETSERVER_MAX_PARTIALS"
    )]
    max_partials: usize,
    /// Permission bits that new files and folders do not get, in octal; a file that replaces
    /// another one gets the permissions of the old one [default: those of the process]
    #[arg(long, value_name = "MASK", env = "SOCKETSERVER_UMASK", value_parser = umask)]
    umask: Option<u32>,
}

/// The settings of all connections.
#[derive(Debug)]
pub struct Settings {
    /// The store for the files.
    pub store: Store,
    /// What to do with a file whose name exists already.
    pub on_duplicate: OnDuplicate,
    /// Whether the folders in a file's name are kept.
    pub keep_paths: bool,
}

impl Service for Upload {
    const NAME: &'static str = "upload";
    const PORT: u16 = 9000;

    fn open(self, context: &Context) -> Result<Served, Failure> {
        let options = StoreOptions {
            max_size: self.max_size,
            quota: self.quota,
            partial_expiry: self.partial_expiry,
            sync: !self.no_fsync,
            max_partials: self.max_partials,
            umask: self.umask,
        };
        let store = fs::create_dir_all(&self.dir)
            .and_then(|()| Store::open(&self.dir, options))
            .map_err(|error| {
                Failure::usage(format!("the folder {}: {error}", self.dir.display()))
            })?;
        if !context.forks {
            store.expire_in_background();
        }
        let settings = Arc::new(Settings {
            store,
            on_duplicate: self.on_duplicate,
            keep_paths: self.keep_paths,
        });
        Ok(Served::Stream {
            class: Box::new(move |_| Box::new(UploadHandler::new(Arc::clone(&settings)))),
            refusal: answer::to_refused,
        })
    }
}
