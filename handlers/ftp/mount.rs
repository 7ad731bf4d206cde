//! The folders that a user sees: the home directory, and mounted folders of the system.
//!
//! Each folder has its own directory handle, so that neither `..` nor a symbolic link leads from
//! one folder to another. A mounted folder has its own store. A mounted folder below the served
//! directory uses the store of the served directory instead.

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
use crate::accounts::Accounts;
use crate::common::store::{Store, StoreOptions};

/// Number of mounted folders from which the server closes the folders that no session uses.
const MAX_UNUSED: usize = 256;

/// A folder that can be served to a user.
#[derive(Debug)]
pub struct Folder {
    /// The handle of the directory.
    pub dir: Dir,
    /// The store that receives uploads to the folder.
    pub store: Store,
    /// The path of the folder relative to the directory of the store, without slashes at its ends;
    /// empty if both are the same directory.
    pub below: Vec<u8>,
}

impl Folder {
    /// Converts a path below this folder to a path in the store.
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

/// A folder, and the path at which a user sees it.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The path at which the user sees the folder.
    pub at: VirtualPath,
    /// The folder; `None` while a mounted folder cannot be opened. Then the path cannot be used.
    /// Otherwise a file for the mounted folder would be stored in the home directory by mistake.
    folder: Option<Arc<Folder>>,
}

impl Volume {
    /// Makes a volume of a folder at a path. `folder` is `None` for a mounted folder that cannot be
    /// opened.
    pub fn new(at: VirtualPath, folder: Option<Arc<Folder>>) -> Volume {
        Volume { at, folder }
    }

    /// The folder.
    ///
    /// # Errors
    /// The folder is a mounted folder that could not be opened.
    pub fn folder(&self) -> io::Result<&Folder> {
        let missing = || io::Error::other("The mounted folder is not available");
        self.folder.as_deref().ok_or_else(missing)
    }
}

/// The mounted folders of all users that have logged in.
#[derive(Debug)]
pub struct MountedFolders {
    /// The served directory, without symbolic links.
    root: PathBuf,
    /// The store of the served directory.
    store: Store,
    /// The options of the stores of mounted folders.
    options: StoreOptions,
    /// The accounts; `None` if the server has none. A folder that contains the accounts file is not
    /// opened.
    accounts: Option<Arc<Accounts>>,
    /// Whether the server forks, so that it must not have threads.
    forks: bool,
    /// The last attempt to open each folder, by its path on the system.
    opened: Mutex<HashMap<PathBuf, Opened>>,
}

/// The result of the last attempt to open a folder. The numbers of its device and inode show
/// whether another directory has replaced the folder since then.
#[derive(Debug)]
struct Opened {
    device: u64,
    inode: u64,
    /// The opened folder; `None` if the attempt has failed.
    folder: Option<Arc<Folder>>,
}

impl Opened {
    fn is_in_use(&self) -> bool {
        let folder = self.folder.as_ref();
        folder.is_some_and(|folder| Arc::strong_count(folder) > 1)
    }
}

impl MountedFolders {
    /// Makes the value, without opening a folder. `store` is the store of the served directory
    /// `root`. `options` are for the stores of mounted folders. `forks` means that the server
    /// forks, so that it must not have threads.
    ///
    /// # Errors
    /// The served directory does not exist.
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

    /// Opens the folder at a path of the system. If the folder is already open, returns the open
    /// folder, which all users share. If the folder cannot be opened, returns `None`, and logs a
    /// warning once.
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
                // Sessions try again each second, but the log has the warning only once.
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
            return Err(io::Error::other("it contains the accounts file"));
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
