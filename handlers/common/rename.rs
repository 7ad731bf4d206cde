//! Renames a file without replacing another one. Some systems do not support this.

use std::os::fd::AsFd;

use rustix::io::Result;
use rustix::path::Arg;

/// Renames a file; `EXIST` if the new name exists. `NOSYS` if the system has no such call; `INVAL`
/// if the file system does not support it.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(crate) fn rename_new(
    old_folder: impl AsFd,
    old: impl Arg,
    new_folder: impl AsFd,
    new: impl Arg,
) -> Result<()> {
    use rustix::fs::{RenameFlags, renameat_with};
    renameat_with(old_folder, old, new_folder, new, RenameFlags::NOREPLACE)
}

/// Other systems, such as FreeBSD, have no such call.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn rename_new(_: impl AsFd, _: impl Arg, _: impl AsFd, _: impl Arg) -> Result<()> {
    Err(rustix::io::Errno::NOSYS)
}
