//! How an upload becomes a file.

use std::io;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, OFlags, fsync, linkat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::aside::part;
use super::{Name, OnDuplicate, Partial, StoreError};
use crate::common::digest::Digests;
use crate::common::rename::rename_new;

/// Numbers that are tried before a name counts as taken for good.
const NUMBERS: u32 = 10_000;

/// A file that stands under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The name, which may be another than was asked for.
    pub name: Name,
    /// Its length in bytes.
    pub size: u64,
    /// Those digests that were announced.
    pub digests: Digests,
}

impl Partial {
    /// Checks length and digests, and puts the file under its name, when it is on the disk.
    ///
    /// # Errors
    /// `Truncated` leaves the upload to be gone on with. After `ChecksumMismatch`, `Exists` and
    /// what the system refuses, nothing of it is left.
    pub fn publish(mut self, on_duplicate: OnDuplicate) -> Result<Published, StoreError> {
        if let Some(announced) = self.intent.size.filter(|size| *size != self.offset) {
            return Err(StoreError::Truncated {
                came: self.offset,
                announced,
            });
        }
        let digests = std::mem::take(&mut self.hasher).finish();
        let published = match self.intent.digests.difference(&digests) {
            Some(digest) => Err(StoreError::ChecksumMismatch(digest)),
            None => self.put(on_duplicate),
        };
        let size = self.offset;
        match published {
            Ok(name) => {
                if let Some(room) = self.room.take() {
                    room.used(size);
                }
                if self.intent.memo.is_some() {
                    self.remember(&name);
                } else if self.recorded {
                    self.aside.remove_record(&self.id)?;
                }
                Ok(Published {
                    name,
                    size,
                    digests,
                })
            }
            Err(error) => {
                self.discard()?;
                Err(error)
            }
        }
    }

    /// What of [`publish`](Partial::publish) can take long: the bytes, to which nothing is added
    /// any more, get to the disk.
    ///
    /// # Errors
    /// Those of the system.
    pub fn settle(&mut self) -> io::Result<()> {
        if self.settled {
            return Ok(());
        }
        if let Some(modified) = self.intent.modified {
            self.file.set_modified(modified)?;
        }
        if self.store.sync() {
            self.file.sync_all()?;
        }
        self.settled = true;
        Ok(())
    }

    fn put(&mut self, on_duplicate: OnDuplicate) -> Result<Name, StoreError> {
        self.settle()?;
        let (folders, _) = self.intent.name.split();
        let folder = match folders {
            Some(path) => &self.make_folders(path)?,
            None => self.store.root(),
        };
        let put = || match on_duplicate {
            OnDuplicate::Overwrite => self.put_over(folder),
            OnDuplicate::Error => self
                .put_beside(folder, self.intent.name.clone())?
                .ok_or(StoreError::Exists),
            OnDuplicate::Rename => self.put_numbered(folder),
        };
        let name = match &self.room {
            Some(room) => room.publish(self.store.root(), self.offset, on_duplicate, put)?,
            None => put()?,
        };
        if self.store.sync() {
            sync_folder(folder)?;
        }
        Ok(name)
    }

    fn put_over(&self, folder: &Dir) -> Result<Name, StoreError> {
        let (_, file) = self.intent.name.split();
        match renameat(self.aside.folder(), part(&self.id), folder, file) {
            Ok(()) => Ok(self.intent.name.clone()),
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => Err(StoreError::Exists),
            Err(error) => Err(error.into()),
        }
    }

    fn put_numbered(&self, folder: &Dir) -> Result<Name, StoreError> {
        let numbered = (1..=NUMBERS).map(|number| self.intent.name.numbered(number));
        for name in [self.intent.name.clone()].into_iter().chain(numbered) {
            if let Some(name) = self.put_beside(folder, name)? {
                return Ok(name);
            }
        }
        Err(StoreError::Exists)
    }

    /// Takes the name if it is free, and not otherwise; both in one step of the system.
    fn put_beside(&self, folder: &Dir, name: Name) -> Result<Option<Name>, StoreError> {
        let (aside, part) = (self.aside.folder(), part(&self.id));
        let file = name.split().1;
        let moved = match rename_new(aside, &part, folder, file) {
            // Not every file system knows the flag; a link is refused in the same way.
            Err(Errno::INVAL | Errno::NOSYS) => {
                linkat(aside, &part, folder, file, AtFlags::empty())
                    .and_then(|()| unlinkat(aside, &part, AtFlags::empty()))
            }
            moved => moved,
        };
        match moved {
            Ok(()) => Ok(Some(name)),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The folder below the root, made as far as it isn't there. No symlink leads out of the root.
    fn make_folders(&self, path: &str) -> io::Result<Dir> {
        if let Ok(folder) = self.store.root().open_dir(path) {
            return Ok(folder);
        }
        let mut folder = self.store.root().try_clone()?;
        for component in path.split('/') {
            let next = match folder.open_dir(component) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match folder.create_dir(component) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(error);
                        }
                        _ => {}
                    }
                    if self.store.sync() {
                        sync_folder(&folder)?;
                    }
                    folder.open_dir(component)
                }
                opened => opened,
            };
            folder = next?;
        }
        Ok(folder)
    }
}

/// Sees to it that a folder's entries are on the disk.
fn sync_folder(folder: &Dir) -> io::Result<()> {
    // A `Dir` may be a mere reference (`O_PATH`), which can't be synced.
    let readable = openat(
        folder,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    Ok(fsync(readable)?)
}
