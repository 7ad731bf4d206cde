//! The visible entries of a directory.
//!
//! The names are read first, together with the types that the system returns with them. Sizes and
//! dates need a system call for each entry, so they are read only when an entry is shown.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::MetadataExt;
use rustix::fs::{AtFlags, FileType, RawMode, Stat, fstat, statat};
use rustix::io::Errno;
use socketserver_http::protocol::target;

use crate::common::store::is_reserved;
use crate::files::access::Permit;
use crate::files::site::root::Root;

/// An open directory with its path.
#[derive(Debug)]
pub(crate) struct Folder {
    root: Arc<Root>,
    dir: OwnedFd,
    /// The path below the root. It is empty for the root itself.
    path: Vec<u8>,
    /// The same path without symlinks. `None` if it contains no symlink.
    real: Option<Vec<u8>>,
    /// The permit of the client.
    permit: Permit,
    /// The folders that are mounted in this folder for the client, by name. They hide entries with
    /// the same names.
    mounts: Vec<(Vec<u8>, PathBuf)>,
}

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// An entry's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    /// In bytes.
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    /// Permission bits, as for `chmod`.
    pub(crate) mode: u32,
}

/// A name in [`Names`], with the type of its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    start: usize,
    length: u16,
    pub(crate) kind: Kind,
    pub(crate) is_link: bool,
}

/// A list of names that needs no allocation per name.
#[derive(Debug, Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    pub(crate) entries: Vec<Name>,
}

impl Names {
    pub(crate) fn bytes_of(&self, name: Name) -> &[u8] {
        &self.bytes[name.start..name.start + usize::from(name.length)]
    }

    fn push(&mut self, bytes: &[u8], kind: Kind, is_link: bool) {
        // No system has names longer than 65535 bytes: Linux's NAME_MAX is 255.
        let Ok(length) = u16::try_from(bytes.len()) else {
            return;
        };
        self.entries.push(Name {
            start: self.bytes.len(),
            length,
            kind,
            is_link,
        });
        self.bytes.extend_from_slice(bytes);
    }

    /// Sorts the names without moving their bytes.
    pub(crate) fn sort_by(
        &mut self,
        mut compare: impl FnMut(&[u8], Kind, &[u8], Kind) -> std::cmp::Ordering,
    ) {
        let mut entries = std::mem::take(&mut self.entries);
        entries
            .sort_unstable_by(|&a, &b| compare(self.bytes_of(a), a.kind, self.bytes_of(b), b.kind));
        self.entries = entries;
    }
}

impl Folder {
    pub(crate) fn new(root: Arc<Root>, dir: OwnedFd, path: &[u8]) -> Folder {
        Folder {
            root,
            dir,
            path: path.to_vec(),
            real: None,
            permit: Permit::default(),
            mounts: Vec::new(),
        }
    }

    /// Sets the path without symlinks.
    pub(crate) fn at(self, real: Option<&Path>) -> Folder {
        let real = real.map(|real| real.as_os_str().as_bytes().to_vec());
        Folder { real, ..self }
    }

    /// The path below the root without symlinks. Rights are checked for it.
    pub(crate) fn real_path(&self) -> &[u8] {
        self.real.as_ref().unwrap_or(&self.path)
    }

    /// Limits the visible entries to those that a client may see.
    pub(crate) fn seen_by(self, permit: &Permit) -> Folder {
        Folder {
            permit: permit.clone(),
            mounts: permit.mounts_in(&self.path),
            ..self
        }
    }

    /// The folder that is mounted in this folder under this name.
    fn mount(&self, name: &[u8]) -> Option<&Path> {
        let mount = self.mounts.iter().find(|(own, _)| own == name)?;
        Some(&mount.1)
    }

    pub(crate) fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Whether the client may see an entry.
    fn shows(&self, name: &[u8]) -> bool {
        self.permit.is_everything() || {
            let path = self.real_path();
            let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
            self.permit.sees(&[path, slash, name].concat())
        }
    }

    /// Whether the client may see the target of a symlink in this folder.
    fn shows_behind_link(&self, name: &[u8]) -> bool {
        self.permit.is_everything()
            || self
                .root
                .real_path(&self.path_of(name))
                .is_ok_and(|real| self.permit.sees(real.as_os_str().as_bytes()))
    }

    /// The path below the root, without a slash at either end.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path that the client sees. For a mounted folder too, this is a path below the root.
    pub(crate) fn shown_path(&self) -> Vec<u8> {
        self.permit.path_below_root(&self.path)
    }

    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// The metadata of the directory itself.
    ///
    /// # Errors
    /// Errors of `fstat`.
    pub(crate) fn facts(&self) -> io::Result<Facts> {
        Facts::of(&self.dir)?.ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    /// The path of an entry below the root.
    pub(crate) fn path_of(&self, name: &[u8]) -> PathBuf {
        let slash: &[u8] = if self.path.is_empty() { b"" } else { b"/" };
        PathBuf::from(OsStr::from_bytes(&[&self.path, slash, name].concat()))
    }

    /// Reads an entry's metadata. A symlink is followed, as a request would follow it. `None` if
    /// the symlink leads out of the root, if the entry is neither a file nor a folder, or if it no
    /// longer exists.
    ///
    /// # Errors
    /// The system refuses the metadata, as in a folder that may be listed but not entered.
    pub(crate) fn look_at(&self, name: &[u8], is_link: bool) -> io::Result<Option<Facts>> {
        if let Some(folder) = self.mount(name) {
            let folder = std::fs::metadata(folder);
            return Ok(folder.ok().and_then(|metadata| Facts::of_folder(&metadata)));
        }
        if is_link {
            // If the link can't be followed here, a client can't follow it either.
            let Ok(metadata) = self.root.metadata_behind_link(&self.path_of(name)) else {
                return Ok(None);
            };
            if !self.shows_behind_link(name) {
                return Ok(None);
            }
            let kind = kind_of(FileType::from_raw_mode(metadata.mode() as RawMode));
            return Ok(kind.map(|kind| Facts {
                kind,
                size: metadata.len(),
                modified: metadata.mtime(),
                mode: metadata.mode() & 0o7777,
            }));
        }
        match statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Facts::from_stat(&stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Facts {
    fn of_folder(metadata: &std::fs::Metadata) -> Option<Facts> {
        use std::os::unix::fs::MetadataExt;
        metadata.is_dir().then(|| Facts {
            kind: Kind::Directory,
            size: metadata.len(),
            modified: metadata.mtime(),
            mode: metadata.mode() & 0o7777,
        })
    }

    /// The metadata of an open file or folder. `None` if it is neither.
    ///
    /// # Errors
    /// Errors of `fstat`.
    pub(crate) fn of(open: impl AsFd) -> io::Result<Option<Facts>> {
        Ok(Facts::from_stat(&fstat(open)?))
    }

    fn from_stat(stat: &Stat) -> Option<Facts> {
        Some(Facts {
            kind: kind_of(FileType::from_raw_mode(stat.st_mode))?,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: stat.st_mtime,
            mode: permissions(stat.st_mode),
        })
    }
}

/// The permission bits of a mode. The integer type of modes depends on the system.
#[allow(clippy::useless_conversion)]
fn permissions(mode: RawMode) -> u32 {
    u32::from(mode) & 0o7777
}

fn kind_of(file_type: FileType) -> Option<Kind> {
    match file_type {
        FileType::Directory => Some(Kind::Directory),
        FileType::RegularFile => Some(Kind::File),
        _ => None,
    }
}

/// Reads a folder's names in batches.
#[derive(Debug)]
pub(crate) struct Reader {
    entries: rustix::fs::Dir,
    hidden: bool,
    /// The text that a name must contain, in lower case.
    filter: String,
    /// Whether the mounted folders are still to be added.
    with_mounts: bool,
}

impl Reader {
    /// Begins to read a folder.
    ///
    /// # Errors
    /// The directory can't be read.
    pub(crate) fn open(folder: &Folder, hidden: bool, filter: &str) -> io::Result<Reader> {
        Ok(Reader {
            entries: rustix::fs::Dir::read_from(&folder.dir)?,
            hidden,
            filter: filter.to_lowercase(),
            with_mounts: true,
        })
    }

    /// Adds at most `most` names. Returns whether these were the last.
    ///
    /// # Errors
    /// The rest of the directory can't be read.
    pub(crate) fn read(
        &mut self,
        folder: &Folder,
        names: &mut Names,
        most: usize,
    ) -> io::Result<bool> {
        for _ in 0..most {
            let Some(entry) = self.entries.read() else {
                self.read_mounts(folder, names);
                return Ok(true);
            };
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if self.is_shown(name)
                && folder.shows(name)
                && folder.mount(name).is_none()
                && let Some((kind, is_link)) = tell(folder, name, entry.file_type())
            {
                names.push(name, kind, is_link);
            }
        }
        Ok(false)
    }

    /// Adds the mounted folders, if they were not added before.
    fn read_mounts(&mut self, folder: &Folder, names: &mut Names) {
        if !std::mem::take(&mut self.with_mounts) {
            return;
        }
        for (name, _) in &folder.mounts {
            if self.is_shown(name) && folder.shows(name) {
                names.push(name, Kind::Directory, false);
            }
        }
    }

    /// Leaves out mounted folders, which are not below the root.
    pub(crate) fn without_mounts(self) -> Reader {
        Reader {
            with_mounts: false,
            ..self
        }
    }

    fn is_shown(&self, name: &[u8]) -> bool {
        !matches!(name, b"." | b"..")
            && (self.hidden || !name.starts_with(b"."))
            && target::is_reachable(name)
            && !is_reserved(name)
            && (self.filter.is_empty()
                || String::from_utf8_lossy(name)
                    .to_lowercase()
                    .contains(&self.filter))
    }
}

/// The type of an entry, and whether the entry is a symlink. A system call is made only if the type
/// was not returned with the name.
fn tell(folder: &Folder, name: &[u8], file_type: FileType) -> Option<(Kind, bool)> {
    let follow = || {
        folder
            .look_at(name, true)
            .ok()
            .flatten()
            .map(|facts| (facts.kind, true))
    };
    match file_type {
        FileType::Symlink => follow(),
        FileType::Unknown => match statat(&folder.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => follow(),
            Ok(stat) => kind_of(FileType::from_raw_mode(stat.st_mode)).map(|kind| (kind, false)),
            Err(_) => None,
        },
        known => kind_of(known).map(|kind| (kind, false)),
    }
}
