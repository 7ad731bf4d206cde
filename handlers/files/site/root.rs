//! The root directory, below which all files are opened.
//!
//! The root is an open directory handle. The system itself opens each path below it (`openat2` with
//! `RESOLVE_BENEATH` on Linux). So a path can't be exchanged between
//! its check and its opening, and a symlink that leads out of the root can't be opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::common::store::resolve;

/// Flags to open a folder on the way to a file. On Linux such a folder need not be readable.
#[cfg(target_os = "linux")]
const PASS_THROUGH: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PASS_THROUGH: OFlags = OFlags::RDONLY;

/// A file or a folder that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    /// The path below the root without symlinks. `None` if the opened path contains no symlink.
    pub(crate) real: Option<PathBuf>,
}

/// The root of a site.
#[derive(Debug)]
pub(crate) struct Root {
    dir: Dir,
    follow_symlinks: bool,
}

impl Root {
    /// Opens a directory as root. The path to the root itself may always contain symlinks.
    pub(crate) fn open(path: &Path, follow_symlinks: bool) -> io::Result<Root> {
        Ok(Root {
            dir: Dir::open_ambient_dir(path, ambient_authority())?,
            follow_symlinks,
        })
    }

    /// Opens a file or a folder for reading. It does not block, even if the path names a FIFO
    /// without a writer.
    ///
    /// # Errors
    /// Errors of the system. The error has no errno if the path leads out of the root.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        self.open_resolved(path).map(|opened| opened.file)
    }

    /// Like [`open_file`](Root::open_file), and also returns the path without symlinks, for which
    /// rights are checked. Exactly this path is opened, so a link that changes meanwhile has no
    /// effect.
    ///
    /// # Errors
    /// As for [`open_file`](Root::open_file).
    pub(crate) fn open_resolved(&self, path: &Path) -> io::Result<Opened> {
        if !self.follow_symlinks {
            let file = self.open_without_symlinks(path)?;
            return Ok(Opened { file, real: None });
        }
        match self.open_at_once(path) {
            Ok(file) => return Ok(Opened { file, real: None }),
            Err(Errno::LOOP | Errno::NOSYS | Errno::AGAIN | Errno::XDEV | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        let real = self.real_path(path)?;
        let opened = if real.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &real
        };
        let file = self.open_without_symlinks(opened)?;
        Ok(Opened {
            file,
            real: (real != path).then_some(real),
        })
    }

    /// Opens a path without symlinks in one system call. The error is `LOOP` if it contains one.
    #[cfg(target_os = "linux")]
    fn open_at_once(&self, path: &Path) -> rustix::io::Result<File> {
        use rustix::fs::{ResolveFlags, openat2};
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&self.dir, path, flags, Mode::empty(), resolve).map(File::from)
    }

    #[cfg(not(target_os = "linux"))]
    fn open_at_once(&self, _: &Path) -> rustix::io::Result<File> {
        Err(Errno::NOSYS)
    }

    /// Resolves the symlinks in a path.
    ///
    /// # Errors
    /// Errors of the system. The error has no errno if the path leads out of the root.
    pub(crate) fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        if self.follow_symlinks {
            resolve::real_path(&self.dir, path)
        } else {
            Ok(path.to_owned())
        }
    }

    /// Resolves the symlinks in a path, except for a symlink at its end.
    ///
    /// # Errors
    /// As for [`real_path`](Root::real_path).
    pub(crate) fn real_parent(&self, path: &Path) -> io::Result<PathBuf> {
        if self.follow_symlinks {
            resolve::real_parent(&self.dir, path)
        } else {
            Ok(path.to_owned())
        }
    }

    /// The directory, for changes below it.
    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Whether a path contains a symlink that must not be followed.
    pub(crate) fn crosses_symlink(&self, path: &Path) -> bool {
        let is_link = |folder: &Path| {
            self.dir
                .symlink_metadata(folder)
                .is_ok_and(|metadata| metadata.is_symlink())
        };
        !self.follow_symlinks
            && path
                .ancestors()
                .skip(1)
                .any(|folder| !folder.as_os_str().is_empty() && is_link(folder))
    }

    /// The metadata of a symlink's target.
    ///
    /// # Errors
    /// The target does not exist or is outside the root, or symlinks are not followed.
    pub(crate) fn metadata_behind_link(&self, path: &Path) -> io::Result<Metadata> {
        if self.follow_symlinks {
            self.dir.metadata(path)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// Opens a path name by name, each in the folder that was opened before it. The paths of
    /// requests contain no `..`.
    fn open_without_symlinks(&self, path: &Path) -> io::Result<File> {
        let mut folder: Option<OwnedFd> = None;
        let mut names = path.iter().peekable();
        while let Some(name) = names.next() {
            let how = match names.peek() {
                Some(_) => PASS_THROUGH | OFlags::DIRECTORY,
                None => OFlags::RDONLY | OFlags::NONBLOCK,
            };
            let from = folder.as_ref().map_or(self.dir.as_fd(), AsFd::as_fd);
            let opened = rustix::fs::openat(
                from,
                name,
                how | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            folder = Some(opened);
        }
        folder
            .map(File::from)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
