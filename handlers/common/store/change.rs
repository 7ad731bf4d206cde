//! Removes, moves and creates files and folders, and keeps the ledger up to date. No link is
//! followed.
//!
//! The paths were resolved by [`Store::resolve_parent`], and rights were checked for the result.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Stat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::publish::sync_folder;
use super::reservation::{failed, log_failure};
use super::resolve::{open_child, open_folder, path_of, real_parent, real_path};
use super::{Store, StoreError};
use crate::accounts::{AccountsError, Change};
use crate::common::rename::rename_new;

/// Freeing the blocks of a file of at least this many bytes takes noticeable time.
const MIN_PINNED: u64 = 16 << 20;

/// A name in an open folder.
struct Place<'a> {
    folder: Dir,
    name: &'a OsStr,
}

impl Store {
    /// The path of the same file or folder without any link. Rights are checked for it. From the
    /// first component that does not exist, the path stays as it is.
    ///
    /// # Errors
    /// The path leads out of the folder, or its links form a loop; or those of the system.
    pub fn resolve(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let real = real_path(self.root(), path_of(path))?;
        Ok(real.into_os_string().as_bytes().to_vec())
    }

    /// Resolves all links of a path except one at its end, for a removal or a move, which change
    /// the link itself.
    ///
    /// # Errors
    /// As for [`resolve`](Store::resolve).
    pub fn resolve_parent(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let real = real_parent(self.root(), path_of(path))?;
        Ok(real.into_os_string().as_bytes().to_vec())
    }

    /// Removes a file or a link.
    ///
    /// # Errors
    /// Those of the system; `IsADirectory` for a folder.
    pub fn remove_file(&self, path: &[u8]) -> Result<(), StoreError> {
        self.remove(path, AtFlags::empty())
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// Those of the system.
    pub fn remove_folder(&self, path: &[u8]) -> Result<(), StoreError> {
        self.remove(path, AtFlags::REMOVEDIR)
    }

    fn remove(&self, path: &[u8], flags: AtFlags) -> Result<(), StoreError> {
        let place = self.place(path)?;
        let Some(ledger) = &self.space().ledger else {
            return Ok(unlinkat(&place.folder, place.name, flags)?);
        };
        let _pin = Pin::of(&place);
        let (source, target) = (path, None);
        let mut outcome = None;
        let act = || {
            let freed = place.stat().map_or(0, |found| bytes_of(&found));
            let removed = unlinkat(&place.folder, place.name, flags);
            let freed = removed.is_ok().then_some(freed);
            outcome = Some(removed);
            freed
        };
        let entered = ledger.change(Change { source, target }, || place.inode(), act);
        Ok(outcome_of(outcome, entered)??)
    }

    /// Creates a folder in an existing folder.
    ///
    /// # Errors
    /// Those of the system.
    pub fn make_folder(&self, path: &[u8]) -> Result<(), StoreError> {
        let place = self.place(path)?;
        self.make_folder_in(&place.folder, place.name)?;
        self.sync_if_wanted(&[&place])
    }

    /// Moves a file, a link or a folder to another path. Returns whether it replaced something.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the path is taken and `replace` is false; those of the system,
    /// such as `DirectoryNotEmpty`.
    pub fn rename(&self, from: &[u8], to: &[u8], replace: bool) -> Result<bool, StoreError> {
        let (source, target) = (self.place(from)?, self.place(to)?);
        let Some(ledger) = &self.space().ledger else {
            let replaced = source.rename(&target, replace)?;
            self.sync_if_wanted(&[&source, &target])?;
            return Ok(replaced);
        };
        let _pin = Pin::of(&target);
        let change = Change {
            source: from,
            target: Some(to),
        };
        let mut outcome = None;
        let act = || {
            let bytes = target.stat().map_or(0, |found| bytes_of(&found));
            let renamed = source.rename(&target, replace);
            let freed = renamed.as_ref().ok();
            let freed = freed.map(|&replaced| if replaced { bytes } else { 0 });
            outcome = Some(renamed);
            freed
        };
        let entered = ledger.change(change, || source.inode(), act);
        let replaced = outcome_of(outcome, entered)??;
        self.sync_if_wanted(&[&source, &target])?;
        Ok(replaced)
    }

    /// Opens the folder of a path's last component, and returns it with that component.
    fn place<'a>(&self, path: &'a [u8]) -> Result<Place<'a>, StoreError> {
        let path = path_of(path);
        let name = path.file_name();
        let name = name.ok_or(StoreError::ForbiddenName(
            "the folder itself cannot be changed",
        ))?;
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => open_folder(self.root(), folder)?,
            _ => open_child(self.root(), OsStr::new("."))?,
        };
        Ok(Place { folder, name })
    }

    fn sync_if_wanted(&self, places: &[&Place<'_>]) -> Result<(), StoreError> {
        if self.sync() {
            for place in places {
                sync_folder(&place.folder)?;
            }
        }
        Ok(())
    }
}

/// Combines the result of a change with the result of its entry in the ledger.
fn outcome_of<T>(outcome: Option<T>, entered: Result<(), AccountsError>) -> Result<T, StoreError> {
    match (outcome, entered) {
        (Some(outcome), entered) => {
            log_failure(entered.map_err(failed));
            Ok(outcome)
        }
        (None, Err(error)) => Err(failed(error)),
        (None, Ok(())) => Err(StoreError::Busy),
    }
}

impl Place<'_> {
    /// The inode of the file or folder with this name; 0 if there is none.
    fn inode(&self) -> u64 {
        self.stat().map_or(0, |found| found.st_ino)
    }

    fn stat(&self) -> rustix::io::Result<Stat> {
        statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Renames, and returns whether something was replaced.
    fn rename(&self, to: &Place<'_>, replace: bool) -> Result<bool, StoreError> {
        // Not every file system supports the flag. Then another process may take the name between
        // the check and the move.
        let moved = match rename_new(&self.folder, self.name, &to.folder, to.name) {
            Err(Errno::INVAL | Errno::NOSYS) if to.stat().is_ok() => Err(Errno::EXIST),
            Err(Errno::INVAL | Errno::NOSYS) => {
                renameat(&self.folder, self.name, &to.folder, to.name)
            }
            moved => moved,
        };
        match moved {
            Ok(()) => Ok(false),
            Err(Errno::EXIST) if !replace => Err(StoreError::Exists),
            Err(Errno::EXIST) => {
                match renameat(&self.folder, self.name, &to.folder, to.name) {
                    Ok(()) => Ok(true),
                    // A folder that is not empty is never replaced.
                    Err(Errno::EXIST) => Err(Errno::NOTEMPTY.into()),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Holds a large file open before its name is removed or replaced. The system frees the blocks of
/// the file only when this value is dropped. That can take long, and a transaction of the ledger
/// must not wait for it.
pub(super) struct Pin {
    _file: Option<OwnedFd>,
}

impl Pin {
    fn of(place: &Place<'_>) -> Pin {
        let bytes = place.stat().map_or(0, |found| bytes_of(&found));
        Pin::of_name(&place.folder, place.name, bytes)
    }

    /// Opens the file with this name and size, if it is large.
    #[cfg(target_os = "linux")]
    pub(super) fn of_name(folder: &Dir, name: &OsStr, bytes: u64) -> Pin {
        use rustix::fs::{Mode, OFlags, openat};
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(folder, name, flags, Mode::empty()).ok();
        Pin {
            _file: (bytes >= MIN_PINNED).then(open).flatten(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn of_name(_: &Dir, _: &OsStr, _: u64) -> Pin {
        Pin { _file: None }
    }
}

/// The size in bytes of the file that a new file is about to replace; `None` if there is none.
pub(super) fn replaced_bytes(folder: &Dir, name: &OsStr) -> Option<u64> {
    let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (FileType::from_raw_mode(found.st_mode) != FileType::Directory).then(|| bytes_of(&found))
}

/// The number of bytes that a file counts for in a quota. A folder counts for 0.
fn bytes_of(found: &Stat) -> u64 {
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        0
    } else {
        found.st_size.unsigned_abs()
    }
}
