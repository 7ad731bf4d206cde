//! The mode and the owner of stored files and folders.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, fchmod, fchown, fstat, mkdirat, statat};
use rustix::io::Errno;

use super::Store;
use super::resolve::open_child;

/// The permission bits of a mode. A new file does not get the set-user-ID bit of the file that it
/// replaces, because that bit was set for other content.
const ACCESS: u32 = 0o777;

impl Store {
    /// Sets the mode of a new file if there is `--umask`. Without the option, the system has
    /// already applied the umask of the process.
    pub(super) fn set_new_mode(&self, file: &File) -> io::Result<()> {
        match self.0.umask {
            Some(umask) => Ok(fchmod(file, Mode::from_raw_mode(0o666 & !umask))?),
            None => Ok(()),
        }
    }

    /// Gives a new file the mode of the file that it is about to replace and, if the server runs as
    /// root, its owner. Returns the size of the file that is replaced; 0 if there is none.
    pub(super) fn copy_mode_and_owner(
        &self,
        file: &File,
        folder: &Dir,
        name: &OsStr,
    ) -> io::Result<u64> {
        let old = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(old) => old,
            Err(Errno::NOENT) => return self.set_new_mode(file).map(|()| 0),
            Err(error) => return Err(error.into()),
        };
        let bytes = old.st_size.unsigned_abs();
        if FileType::from_raw_mode(old.st_mode) != FileType::RegularFile {
            return self.set_new_mode(file).map(|()| bytes);
        }
        let own = fstat(file)?;
        if rustix::process::geteuid().is_root()
            && (own.st_uid, own.st_gid) != (old.st_uid, old.st_gid)
        {
            let (user, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
            fchown(file, Some(user), Some(group))?;
        }
        let mode = old.st_mode & ACCESS;
        if own.st_mode & ACCESS != mode {
            fchmod(file, Mode::from_raw_mode(mode))?;
        }
        Ok(bytes)
    }

    /// Creates a folder, with its mode by `--umask`.
    pub(super) fn make_folder_in(&self, parent: &Dir, name: &OsStr) -> io::Result<()> {
        mkdirat(parent, name, Mode::from_raw_mode(0o777))?;
        if let Some(umask) = self.0.umask {
            let folder = open_child(parent, name)?;
            fchmod(&folder, Mode::from_raw_mode(0o777 & !umask))?;
        }
        Ok(())
    }
}
