//! Mounted folders: folders outside the served folder that users have at a path of the site (`users
//! set --mount`).
//!
//! Each mounted folder is a separate `Site` with its own directory handle, cache and store. Rights
//! are checked for the path that the user sees. Users without a mounted folder cause no cost.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use socketserver_http::engine::exchange::Exchange;
use socketserver_http::protocol::base_path::BasePath;

use super::access::Permit;
use super::service::ServedFolder;
use super::site::Site;
use super::site::listing::ListingOptions;
use super::site::options::SiteOptions;
use super::upload::{UploadOptions, Uploads};
use crate::accounts::Accounts;

/// Maximum number of mounted folders that are open at the same time.
const MAX_OPEN: usize = 256;
/// Maximum number of open mounted folders with `--after-upload`. Each such folder has a thread that
/// may still have commands to run, so the folder stays open until the server ends.
const MAX_WITH_COMMANDS: usize = 1024;

/// The options for mounted folders: those of the served folder, without the options that name files
/// in it.
#[derive(Debug)]
pub(super) struct MountOptions {
    pub(super) site: SiteOptions,
    pub(super) listing: ListingOptions,
    pub(super) upload: UploadOptions,
    /// Whether the server forks processes. It must not start threads then.
    pub(super) forks: bool,
}

/// The mounted folders. They are served in place of the paths of the served folder.
pub(super) struct Mounts {
    base_path: BasePath,
    options: MountOptions,
    accounts: Arc<Accounts>,
    /// The open folders. The keys are the path that the user sees and the path of the folder.
    open: Mutex<HashMap<(String, PathBuf), Mounted>>,
    /// The folders that could not be opened, so that each is logged only once.
    failed: Mutex<HashSet<PathBuf>>,
    /// The folders with a thread for `--after-upload`. The threads are ended with the server.
    with_commands: Mutex<Vec<Arc<Uploads>>>,
}

#[derive(Clone)]
struct Mounted {
    folder: ServedFolder,
    /// Device and inode of the folder when it was opened, to notice that it was replaced.
    device: u64,
    inode: u64,
}

/// The folder that a request belongs to.
pub(super) enum Found {
    /// The folder that the server was started for.
    Main,
    /// A mounted folder, with the permit for its paths.
    Mounted(ServedFolder, Permit),
    /// A mounted folder that cannot be opened.
    Missing,
}

impl Mounts {
    /// Creates the table of mounted folders. `options` are those of the served folder.
    pub(super) fn new(mut options: MountOptions, accounts: Arc<Accounts>) -> Mounts {
        options.site.spa = None;
        options.site.redirect = Vec::new();
        Mounts {
            base_path: options.site.base_path.clone().unwrap_or_default(),
            options,
            accounts,
            open: Mutex::default(),
            failed: Mutex::default(),
            with_commands: Mutex::default(),
        }
    }

    /// Ends the threads of `--after-upload`. They may run the remaining commands until `until`
    /// (`None`: without a limit). Returns whether a command was aborted or not run.
    pub(super) fn end(&self, until: Option<Instant>) -> bool {
        let uploads = std::mem::take(&mut *self.with_commands.lock());
        uploads.iter().filter(|uploads| uploads.end(until)).count() > 0
    }

    pub(super) fn find(&self, exchange: &Exchange<'_>, permit: &Permit) -> Found {
        if !permit.has_mounts() {
            return Found::Main;
        }
        let Ok(target) = exchange.target() else {
            return Found::Main;
        };
        let Some(path) = self.base_path.below(&target.path) else {
            return Found::Main;
        };
        let Some((at, folder)) = permit.mount_of(path) else {
            return Found::Main;
        };
        match self.mounted(&at, folder) {
            Some(folder) => Found::Mounted(folder, permit.within(at.as_bytes())),
            None => Found::Missing,
        }
    }

    fn mounted(&self, at: &str, folder: &Path) -> Option<ServedFolder> {
        let found = std::fs::metadata(folder);
        let key = (at.to_owned(), folder.to_owned());
        let mut open = self.open.lock();
        if let Some(known) = open.get(&key)
            && let Ok(found) = &found
            && (known.device, known.inode) == (found.dev(), found.ino())
        {
            return Some(known.folder.clone());
        }
        open.remove(&key);
        let opened = found.and_then(|found| Ok((self.open_folder(at, folder)?, found)));
        match opened {
            Ok((served, found)) => {
                self.failed.lock().remove(folder);
                let runs_commands = self.options.upload.after_upload.is_some();
                if open.len() >= MAX_OPEN && !runs_commands {
                    open.clear();
                }
                let (device, inode) = (found.dev(), found.ino());
                open.insert(
                    key,
                    Mounted {
                        folder: served.clone(),
                        device,
                        inode,
                    },
                );
                Some(served)
            }
            Err(error) => {
                let mut failed = self.failed.lock();
                if failed.len() < MAX_OPEN && failed.insert(folder.to_owned()) {
                    log::warn!("the mounted folder {}: {error}", folder.display());
                }
                None
            }
        }
    }

    fn open_folder(&self, at: &str, folder: &Path) -> io::Result<ServedFolder> {
        if self.accounts.store().lies_in(folder)? {
            return Err(io::Error::other("the accounts would be served"));
        }
        if self.with_commands.lock().len() >= MAX_WITH_COMMANDS {
            return Err(io::Error::other(
                "too many mounted folders: restart the server",
            ));
        }
        let base = self.base_path.path_in_base(at.as_bytes());
        let options = SiteOptions {
            base_path: Some(BasePath::of(base)),
            ..self.options.site.clone()
        };
        let site = Arc::new(Site::open(folder, options, self.options.listing)?);
        if !self.options.upload.upload {
            return Ok(ServedFolder {
                site,
                uploads: None,
            });
        }
        let accounts = Some(Arc::clone(&self.accounts));
        let uploads = Uploads::new(Arc::clone(&site), folder, &self.options.upload, accounts)?;
        let uploads = Arc::new(uploads);
        if !self.options.forks {
            uploads.expire_in_background();
        }
        if self.options.upload.after_upload.is_some() {
            self.with_commands.lock().push(Arc::clone(&uploads));
        }
        Ok(ServedFolder {
            site,
            uploads: Some(uploads),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;
    use crate::accounts::Cost;
    use crate::accounts::testing::TestFile;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        site: SiteOptions,
        #[command(flatten)]
        listing: ListingOptions,
        #[command(flatten)]
        upload: UploadOptions,
    }

    fn mounts(file: &TestFile, arguments: &[&str]) -> Mounts {
        let command = <Options as clap::CommandFactory>::command();
        let command = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
        let matches = command.get_matches_from([&["test"], arguments].concat());
        let options = Options::from_arg_matches(&matches).unwrap();
        let accounts = Accounts::open(&file.path(), Cost::CHEAP).unwrap();
        let options = MountOptions {
            site: options.site,
            listing: options.listing,
            upload: options.upload,
            forks: true,
        };
        Mounts::new(options, Arc::new(accounts))
    }

    #[test]
    fn many_mounted_folders_in_turn_do_not_use_up_the_threads_for_commands() {
        let (file, _) = TestFile::new("http-mounts");
        let folder = file.path().with_file_name("served");
        std::fs::create_dir(&folder).unwrap();
        for (arguments, threads) in [
            (&["--upload", "--after-upload", "true"][..], MAX_OPEN + 1),
            (&[], 0),
        ] {
            let mounts = mounts(&file, arguments);
            for number in (0..=MAX_OPEN).chain(0..3) {
                let application = mounts.mounted(&number.to_string(), &folder);
                assert!(application.is_some(), "{number}");
            }
            assert_eq!(mounts.with_commands.lock().len(), threads);
            assert!(mounts.open.lock().len() <= threads.max(MAX_OPEN));
            assert!(!mounts.end(None), "no command was left");
        }
    }
}
