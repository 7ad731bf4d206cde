//! Publishes an upload: it becomes a file.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, fsync, linkat, renameat, unlinkat};
use rustix::io::Errno;

use super::change::{Pin, replaced_bytes};
use super::resolve::{open_child, open_folder};
use super::{Name, OnDuplicate, Partial, StoreError};
use crate::accounts::{Permits, Placed};
use crate::common::digest::Digests;
use crate::common::rename::rename_new;

/// Maximum number in a numbered name (`a (1).txt`). If all of them exist, the upload fails.
const MAX_NUMBERS: u32 = 10_000;

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The name of the file, which may differ from the requested one.
    pub name: Name,
    /// The size of the file in bytes.
    pub size: u64,
    /// The digests of the kinds that were announced.
    pub digests: Digests,
}

impl Partial {
    /// Checks the length and the digests, syncs the file to the disk, and gives it its name.
    ///
    /// # Errors
    /// After `Truncated` and `Unavailable`, the upload can be resumed. After `ChecksumMismatch`,
    /// `Exists`, `NoUser` and errors of the system, nothing of it is left.
    pub fn publish(self, on_duplicate: OnDuplicate) -> Result<Published, StoreError> {
        self.check_and_put(on_duplicate, None)
    }

    /// Publishes the upload if `permits` accepts the current account of its user. Without accounts,
    /// `permits` is not called.
    ///
    /// # Errors
    /// As for [`publish`](Partial::publish); `NoUser` if it is not permitted.
    pub(crate) fn publish_if(
        self,
        on_duplicate: OnDuplicate,
        permits: Permits<'_>,
    ) -> Result<Published, StoreError> {
        self.check_and_put(on_duplicate, Some(permits))
    }

    fn check_and_put(
        mut self,
        on_duplicate: OnDuplicate,
        permits: Option<Permits<'_>>,
    ) -> Result<Published, StoreError> {
        if let Some(announced) = self.intent.size.filter(|size| *size != self.offset) {
            return Err(StoreError::Truncated {
                came: self.offset,
                announced,
            });
        }
        self.catch_up_at_once()?;
        let digests = std::mem::take(&mut self.hasher).finish();
        let published = match self.intent.digests.difference(&digests) {
            Some(digest) => Err(StoreError::ChecksumMismatch(digest)),
            None => self.put(on_duplicate, permits),
        };
        let size = self.offset;
        match published {
            Ok(name) => {
                // The ledger has replaced the reservation by the file.
                self.reservation = None;
                self.forget_or_remember(&name);
                Ok(Published {
                    name,
                    size,
                    digests,
                })
            }
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            Err(error) => {
                self.discard()?;
                Err(error)
            }
        }
    }

    /// Removes or updates the record of a stored upload. The file is stored already, so an error
    /// here does not fail the upload.
    fn forget_or_remember(&self, name: &Name) {
        if self.intent.memo.is_some() {
            self.remember(name);
        } else if self.recorded
            && let Err(error) = self.staging.remove_record(&self.id)
        {
            log::debug!("cannot remove the record of a stored upload: {error}");
        }
    }

    /// Writes the bytes to the disk. No more bytes may be added after it. This is the part of
    /// [`publish`](Partial::publish) that can take long.
    ///
    /// # Errors
    /// Those of the system.
    pub fn sync_bytes(&mut self) -> io::Result<()> {
        if self.is_synced {
            return Ok(());
        }
        if let Some(modified) = self.intent.modified {
            self.file.set_modified(modified)?;
        }
        if self.store.sync() {
            self.file.sync_all()?;
        }
        self.is_synced = true;
        Ok(())
    }

    fn put(
        &mut self,
        on_duplicate: OnDuplicate,
        permits: Option<Permits<'_>>,
    ) -> Result<Name, StoreError> {
        self.sync_bytes()?;
        let (folders, _) = self.intent.name.split();
        // Opened before the rename: after it, a lack of descriptors must not keep the folder from
        // being synced.
        let below = folders.map(|path| self.make_folders(path)).transpose()?;
        let folder = below.as_ref().unwrap_or(self.store.root());
        if on_duplicate != OnDuplicate::Overwrite {
            self.store.set_new_mode(&self.file)?;
        }
        // Only a ledger counts the old file, and has a transaction that could wait until its blocks
        // are freed.
        let is_counted =
            on_duplicate == OnDuplicate::Overwrite && self.store.space().ledger.is_some();
        let file = self.intent.name.split().1;
        let replaced = is_counted.then(|| replaced_bytes(folder, file)).flatten();
        let _pin = replaced.map(|bytes| Pin::of_name(folder, file, bytes));
        let Some(mut reservation) = self.reservation.take() else {
            return Err(StoreError::NoUser);
        };
        let put = || match on_duplicate {
            OnDuplicate::Overwrite => self.put_over(folder),
            OnDuplicate::Error => self
                .put_beside(folder, self.intent.name.clone())?
                .map(|name| placed(name, 0))
                .ok_or(StoreError::Exists),
            OnDuplicate::Rename => self.put_numbered(folder).map(|name| placed(name, 0)),
        };
        let published = reservation.publish(
            &self.store,
            &self.staging,
            (self.offset, replaced),
            permits,
            put,
        );
        self.reservation = Some(reservation);
        let name = published?;
        if self.store.sync() {
            sync_folder(folder)?;
        }
        Ok(name)
    }

    fn put_over(&self, folder: &Dir) -> Result<(Name, Placed), StoreError> {
        let (_, file) = self.intent.name.split();
        let replaced = self.store.copy_mode_and_owner(&self.file, folder, file)?;
        match renameat(self.staging.folder(), self.staged_name(), folder, file) {
            Ok(()) => Ok(placed(self.intent.name.clone(), replaced)),
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => Err(StoreError::Exists),
            Err(error) => Err(error.into()),
        }
    }

    fn put_numbered(&self, folder: &Dir) -> Result<Name, StoreError> {
        let numbered = (1..=MAX_NUMBERS).map(|number| self.intent.name.numbered(number));
        for name in [self.intent.name.clone()].into_iter().chain(numbered) {
            if let Some(name) = self.put_beside(folder, name)? {
                return Ok(name);
            }
        }
        Err(StoreError::Exists)
    }

    /// Gives the file the name if the name is free. Check and rename are one system call.
    fn put_beside(&self, folder: &Dir, name: Name) -> Result<Option<Name>, StoreError> {
        let (staging, part) = (self.staging.folder(), self.staged_name());
        let file = name.split().1;
        let moved = match rename_new(staging, &part, folder, file) {
            // Some file systems do not support the flag. A hard link also fails if the name exists.
            Err(Errno::INVAL | Errno::NOSYS) => {
                linkat(staging, &part, folder, file, AtFlags::empty())
                    .and_then(|()| unlinkat(staging, &part, AtFlags::empty()))
            }
            moved => moved,
        };
        match moved {
            Ok(()) => Ok(Some(name)),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a folder below the root. Missing folders are created. No link is followed: the name
    /// contained none when the upload began.
    fn make_folders(&self, path: &Path) -> io::Result<Dir> {
        if let Ok(folder) = open_folder(self.store.root(), path) {
            return Ok(folder);
        }
        let mut folder = open_child(self.store.root(), OsStr::new("."))?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            let next = match open_child(&folder, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match self.store.make_folder_in(&folder, name) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(error);
                        }
                        _ => {}
                    }
                    if self.store.sync() {
                        sync_folder(&folder)?;
                    }
                    open_child(&folder, name)
                }
                opened => opened,
            };
            folder = next?;
        }
        Ok(folder)
    }
}

fn placed(name: Name, replaced: u64) -> (Name, Placed) {
    let path = name.as_bytes().to_vec();
    (name, Placed { path, replaced })
}

/// Syncs a folder's entries to the disk.
pub(super) fn sync_folder(folder: &Dir) -> io::Result<()> {
    match fsync(folder) {
        // Some file systems have nothing to sync for a folder.
        Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use cap_std::fs::Dir;
    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;
    use crate::common::store::tests::{Folder, code, intent};
    use crate::common::store::{Store, StoreError};

    /// A folder opened with `O_PATH`: names in it can be opened and moved, but fsync fails.
    fn unsyncable(folder: &Folder) -> Dir {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, folder.path(), flags, Mode::empty()).unwrap();
        Dir::from_std_file(File::from(opened))
    }

    fn put(store: &Store, name: &str, content: &[u8]) -> Result<Published, StoreError> {
        let intent = intent(name, content.len() as u64);
        let mut partial = store.begin(intent, OnDuplicate::Overwrite)?;
        partial.write(content)?;
        partial.publish(OnDuplicate::Overwrite)
    }

    #[test]
    fn a_folder_that_cannot_be_synced_is_an_error_and_its_file_stays_and_counts() {
        let folder = Folder::new();
        let mut store = folder.store_with(|options| options.quota = Some(100));
        assert_eq!(code(put(&store, "a", b"old")), "ok");
        let root = unsyncable(&folder);
        let root = std::mem::replace(&mut Arc::get_mut(&mut store.0).unwrap().root, root);
        let failed = put(&store, "a", b"new content");
        assert!(matches!(failed, Err(StoreError::Io(_))), "{failed:?}");
        assert_eq!(folder.read("a").unwrap(), b"new content");
        assert_eq!(folder.names(), ["a"], "nothing else is left");
        Arc::get_mut(&mut store.0).unwrap().root = root;
        let ledger = store.space().ledger.as_ref().unwrap();
        assert_eq!(ledger.folder_bytes().unwrap().0, Some(11));
        assert_eq!(code(put(&store, "b", &[0; 89])), "ok");
        assert_eq!(code(put(&store, "c", &[0; 1])), "no_space");
    }
}
