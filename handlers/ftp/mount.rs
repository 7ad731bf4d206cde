//! The folders that a user sees: the home directory, and mounted folders of the system.
//!
//! Each is a directory handle of its own, so that neither `..` nor a symbolic link leads from one
//! to another. A mounted folder has a store of its own, unless it lies below the served directory:
//! then it is stored and counted there.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use parking_lot::Mutex;

use super::path::VirtualPath;
use crate::common::accounts::Accounts;
use crate::common::store::{Store, StoreOptions};

/// Number of mounted folders from which on those that no session uses are closed.
const MAX_UNUSED: usize = 256;

/// A folder that can be served to a user.
#[derive(Debug)]
pub struct Folder {
    /// The folder itself.
    pub dir: Dir,
    /// Where its files are stored.
    pub store: Store,
    /// The path of the folder below that of the store, without slashes at its ends.
    pub below: Vec<u8>,
}

impl Folder {
    /// The path in the store of a path below this folder.
    pub(super) fn path_in_store(&self, path: &Path) -> Vec<u8> {
        let path = match path.as_os_str().as_bytes() {
            b"." => b"",
            path => path,
        };
        let separator: &[u8] = match self.below.is_empty() || path.is_empty() {
            true => b"",
            false => b"/",
        };
        [&self.below, separator, path].concat()
    }
}

/// A folder at a path of the user's view.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The path at which the user sees the folder.
    pub at: VirtualPath,
    /// `None` while a mounted folder cannot be opened. Its path stays taken, so that nothing is
    /// stored beside the mounted folder by mistake.
    folder: Option<Arc<Folder>>,
}

impl Volume {
    /// A folder at a path.
    pub fn new(at: VirtualPath, folder: Option<Arc<Folder>>) -> Volume {
        Volume { at, folder }
    }

    /// The folder.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn folder(&self) -> io::Result<&Folder> {
        let missing = || io::Error::other("The mounted folder is not available");
        self.folder.as_deref().ok_or_else(missing)
    }
}

/// The mounted folders of all users that have logged in.
#[derive(Debug)]
pub struct MountedFolders {
    /// The served directory, resolved, and its store.
    root: PathBuf,
    store: Store,
    options: StoreOptions,
    accounts: Option<Arc<Accounts>>,
    /// Whether the server forks, so that it must not have threads.
    forks: bool,
    opened: Mutex<HashMap<PathBuf, Opened>>,
}

/// A folder that was opened, or an attempt that has failed.
#[derive(Debug)]
struct Opened {
    device: u64,
    inode: u64,
    folder: Option<Arc<Folder>>,
}

impl Opened {
    fn is_in_use(&self) -> bool {
        let folder = self.folder.as_ref();
        folder.is_some_and(|folder| Arc::strong_count(folder) > 1)
    }
}

impl MountedFolders {
    /// `store` is that of the served directory `root`; other stores have the same options. `forks`:
    /// the server must not have threads.
    ///
    /// # Errors
    /// The served directory is not there.
    pub fn new(
        root: &Path,
        store: Store,
        options: StoreOptions,
        accounts: Option<Arc<Accounts>>,
        forks: bool,
    ) -> io::Result<MountedFolders> {
        Ok(MountedFolders {
            root: root.canonicalize()?,
            store,
            options,
            accounts,
            forks,
            opened: Mutex::default(),
        })
    }

    /// The folder at a path of the system; `None`, and a warning in the log, if it cannot be
    /// opened. All users share its store.
    pub fn open(&self, path: &Path) -> Option<Arc<Folder>> {
        let found = std::fs::metadata(path);
        let (device, inode) = found
            .as_ref()
            .map_or((0, 0), |found| (found.dev(), found.ino()));
        let mut opened = self.opened.lock();
        let known = opened.get(path);
        if let Some(folder) = known.and_then(|known| known.folder.as_ref())
            && known.is_some_and(|known| (known.device, known.inode) == (device, inode))
        {
            return Some(Arc::clone(folder));
        }
        let folder = match found.and_then(|_| self.open_folder(path)) {
            Ok(folder) => Some(Arc::new(folder)),
            Err(error) => {
                // Sessions try again each second.
                if known.is_none_or(|known| known.folder.is_some()) {
                    log::warn!("the mounted folder {}: {error}", path.display());
                }
                None
            }
        };
        let entry = Opened {
            device,
            inode,
            folder: folder.clone(),
        };
        if opened.len() >= MAX_UNUSED {
            opened.retain(|_, entry| entry.is_in_use());
        }
        opened.insert(path.to_owned(), entry);
        folder
    }

    fn open_folder(&self, path: &Path) -> io::Result<Folder> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        let real = path.canonicalize()?;
        if let Some(accounts) = &self.accounts
            && accounts.store().lies_in(&real)?
        {
            return Err(io::Error::other("the accounts would be served"));
        }
        if let Ok(below) = real.strip_prefix(&self.root) {
            return Ok(Folder {
                dir,
                store: self.store.clone(),
                below: below.as_os_str().as_bytes().to_vec(),
            });
        }
        let store = Store::with_accounts(&real, self.options.clone(), self.accounts.clone())?;
        if !self.forks {
            store.expire_in_background();
        }
        Ok(Folder {
            dir,
            store,
            below: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folders_that_no_session_uses_do_not_stay_open_without_limit() {
        let name = format!("socketserver-ftp-mounts-{}", std::process::id());
        let base = std::env::temp_dir().join(name);
        let root = base.join("root");
        fs::create_dir_all(&root).unwrap();
        let options = StoreOptions::default();
        let store = Store::with_accounts(&root, options.clone(), None).unwrap();
        let mounted = MountedFolders::new(&root, store, options, None, true).unwrap();
        let open = |number: usize| {
            let path = base.join(number.to_string());
            fs::create_dir_all(&path).unwrap();
            mounted.open(&path).unwrap()
        };
        let used = open(0);
        (1..2 * MAX_UNUSED).for_each(|number| drop(open(number)));
        assert!(mounted.opened.lock().len() <= MAX_UNUSED + 1);
        assert!(Arc::ptr_eq(&used, &open(0)), "a session uses it");
        fs::remove_dir_all(&base).unwrap();
    }
}
