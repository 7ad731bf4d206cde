//! Renaming without replacing, which not every system can do.

use std::os::fd::AsFd;

use rustix::io::Result;
use rustix::path::Arg;

/// Gives a file another name unless that name is taken (`EXIST`). `NOSYS` where the system has no
/// such call; `INVAL` where the file system does not support it.
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

/// FreeBSD has no such call.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn rename_new(_: impl AsFd, _: impl Arg, _: impl AsFd, _: impl Arg) -> Result<()> {
    Err(rustix::io::Errno::NOSYS)
}
