//! Resolves symbolic links. Rights and quotas are checked for the path without links, and this path
//! is then opened without following any link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::accounts::Account;

/// Returns the account with the path of its home without links. A home that does not exist, or
/// whose links lead out of the root, stays as it is.
pub(crate) fn resolve_home(root: &Dir, account: Account) -> Account {
    let home = path_of(account.home.as_str().trim_start_matches('/').as_bytes());
    let real = real_path(root, home).ok();
    let real = real.and_then(|real| format!("/{}", real.to_str()?).parse().ok());
    match real {
        Some(real) => account.with_real_home(real),
        None => account,
    }
}

/// The path of the same file or folder without any link. From the first component that does not
/// exist, the path stays as it is. Empty for the root.
///
/// # Errors
/// The path leads out of the root, or its links form a loop; or those of the system.
pub(crate) fn real_path(root: &Dir, path: &Path) -> io::Result<PathBuf> {
    if path.as_os_str().is_empty() || (is_plain(path) && crosses_no_link(root, path)) {
        return Ok(path.to_owned());
    }
    let mut existing = path;
    loop {
        match root.canonicalize(existing) {
            Ok(real) => {
                let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
                let real = if real == Path::new(".") {
                    PathBuf::new()
                } else {
                    real
                };
                return Ok(if rest.as_os_str().is_empty() {
                    real
                } else {
                    real.join(rest)
                });
            }
            Err(error) if !is_missing(&error) => return Err(error),
            Err(error) => match existing.parent() {
                // The link has no target, so the path without links is unknown.
                _ if root.symlink_metadata(existing).is_ok() => return Err(error),
                Some(parent) if !parent.as_os_str().is_empty() => existing = parent,
                _ => return Ok(path.to_owned()),
            },
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Resolves the links in the folder of the last component. A link at the end is not followed.
///
/// # Errors
/// As for [`real_path`].
pub(crate) fn real_parent(root: &Dir, path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => {
            if is_plain(parent) && is_folder_without_link(root, parent) {
                return Ok(parent.join(name));
            }
            Ok(real_path(root, parent)?.join(name))
        }
        _ => Ok(path.to_owned()),
    }
}

/// Resolves the links of a path like [`real_parent`], but its folder must exist.
///
/// # Errors
/// As for [`real_path`]; `NotFound` or `NotADirectory` if the folder does not exist.
pub(crate) fn real_existing_parent(root: &Dir, path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
    if let (Some(parent), Some(name)) = (parent, path.file_name()) {
        if is_plain(parent) && is_folder_without_link(root, parent) {
            return Ok(parent.join(name));
        }
        if !root.metadata(parent)?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
    }
    real_parent(root, path)
}

/// Whether a path has no `..`. Only the system can resolve `..` after a link.
fn is_plain(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a path exists and contains no link. Linux checks this with one call, `openat2`.
#[cfg(target_os = "linux")]
fn crosses_no_link(root: &Dir, path: &Path) -> bool {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), resolve).is_ok_and(|file| {
        let is_link = |found: rustix::fs::Stat| {
            rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Symlink
        };
        rustix::fs::fstat(&file).is_ok_and(|found| !is_link(found))
    })
}

/// Whether a path is a folder and contains no link. A link at the end is not a folder here.
#[cfg(target_os = "linux")]
fn is_folder_without_link(root: &Dir, path: &Path) -> bool {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), resolve).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn crosses_no_link(_: &Dir, _: &Path) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn is_folder_without_link(_: &Dir, _: &Path) -> bool {
    false
}

/// Opens a folder below the root, to read or sync its entries. No link is followed.
///
/// # Errors
/// Those of the system; `NotADirectory` or `FilesystemLoop` for a link.
pub(super) fn open_folder(root: &Dir, path: &Path) -> io::Result<Dir> {
    let mut folder: Option<Dir> = None;
    for name in path.components() {
        if let Component::Normal(name) = name {
            folder = Some(open_child(folder.as_ref().unwrap_or(root), name)?);
        }
    }
    folder.map_or_else(|| open_child(root, OsStr::new(".")), Ok)
}

/// Opens a folder within another one. A link is not followed.
pub(super) fn open_child(folder: &Dir, name: &OsStr) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(folder, name, flags, Mode::empty())?;
    Ok(Dir::from_std_file(File::from(opened)))
}

/// The bytes of a path as a path.
pub(crate) fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
