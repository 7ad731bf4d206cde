//! What a directory holds, as far as it is shown.
//!
//! Names come first and cheaply, with what the system tells beside them; sizes and dates cost a
//! call for each entry, and are asked for when the entry is shown.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::MetadataExt;
use rustix::fs::{AtFlags, FileType, RawMode, Stat, fstat, statat};
use rustix::io::Errno;

use crate::common::store::is_reserved;
use crate::files::access::Permit;
use crate::files::site::root::Root;
use socketserver_http::protocol::target;

/// An open directory, and where it stands.
#[derive(Debug)]
pub(crate) struct Folder {
    root: Arc<Root>,
    dir: OwnedFd,
    /// Below the root; empty for the root itself.
    path: Vec<u8>,
    /// The same path without symlinks; `None` if it contains none.
    real: Option<Vec<u8>>,
    permit: Permit,
    /// The folders that its client has mounted in it, by name. They hide entries of it.
    mounts: Vec<(Vec<u8>, PathBuf)>,
}

/// What an entry is, to a client.
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
    /// Permissions, as `chmod` takes them.
    pub(crate) mode: u32,
}

/// A name, with what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    start: usize,
    length: u16,
    pub(crate) kind: Kind,
    pub(crate) is_link: bool,
}

/// Many names, without an allocation for each.
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
        // No system has longer names than 65535 bytes: Linux's NAME_MAX is 255.
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

    /// Brings the names into an order, without moving their bytes.
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

    /// The same folder, whose path without symlinks is `real`.
    pub(crate) fn at(self, real: Option<&Path>) -> Folder {
        let real = real.map(|real| real.as_os_str().as_bytes().to_vec());
        Folder { real, ..self }
    }

    /// Its path below the root, without symlinks. Rights are checked for it.
    pub(crate) fn real_path(&self) -> &[u8] {
        self.real.as_ref().unwrap_or(&self.path)
    }

    /// The same folder, in which only that is seen which a client may see.
    pub(crate) fn seen_by(self, permit: &Permit) -> Folder {
        Folder {
            permit: permit.clone(),
            mounts: permit.mounts_in(&self.path),
            ..self
        }
    }

    /// The folder that is mounted under this name.
    fn mount(&self, name: &[u8]) -> Option<&Path> {
        let mount = self.mounts.iter().find(|(own, _)| own == name)?;
        Some(&mount.1)
    }

    pub(crate) fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Whether its client sees an entry of it.
    fn shows(&self, name: &[u8]) -> bool {
        self.permit.is_everything() || {
            let path = self.real_path();
            let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
            self.permit.sees(&[path, slash, name].concat())
        }
    }

    /// Whether its client may see the target of a symlink in it.
    fn shows_behind_link(&self, name: &[u8]) -> bool {
        self.permit.is_everything()
            || self
                .root
                .real_path(&self.path_of(name))
                .is_ok_and(|real| self.permit.sees(real.as_os_str().as_bytes()))
    }

    /// Where it stands below the root, without a slash at either end.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path that its client sees: below the root, also for a mounted folder.
    pub(crate) fn shown_path(&self) -> Vec<u8> {
        self.permit.path_below_root(&self.path)
    }

    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// The directory's own metadata.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub(crate) fn facts(&self) -> io::Result<Facts> {
        Facts::of(&self.dir)?.ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    /// Where an entry of it stands below the root.
    pub(crate) fn path_of(&self, name: &[u8]) -> PathBuf {
        let slash: &[u8] = if self.path.is_empty() { b"" } else { b"/" };
        PathBuf::from(OsStr::from_bytes(&[&self.path, slash, name].concat()))
    }

    /// Looks at an entry; through a symlink, as a click would go: `None` if that leads out of the
    /// root or nowhere, for what is neither file nor folder, and for what is gone.
    ///
    /// # Errors
    /// The system doesn't tell: the folder may be listed and not entered.
    pub(crate) fn look_at(&self, name: &[u8], is_link: bool) -> io::Result<Option<Facts>> {
        if let Some(folder) = self.mount(name) {
            let folder = std::fs::metadata(folder);
            return Ok(folder.ok().and_then(|metadata| Facts::of_folder(&metadata)));
        }
        if is_link {
            // Whatever keeps a link from being followed would keep a client from following it.
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

    /// Of what is open; `None` for what is neither file nor folder.
    ///
    /// # Errors
    /// Those of `fstat`.
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

/// The permission bits of a mode, whose type differs from system to system.
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

/// Reads a folder's names, some at a time.
#[derive(Debug)]
pub(crate) struct Reader {
    entries: rustix::fs::Dir,
    hidden: bool,
    /// What a name must contain, in lower case.
    filter: String,
    /// Whether the mounted folders are still to be added.
    with_mounts: bool,
}

impl Reader {
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
    /// The directory can't be read further.
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

    /// Adds the mounted folders, once.
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

    /// The same without mounted folders, which are not below the root.
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

/// What an entry is, and whether by a symlink; the system is asked only for what it didn't tell
/// with the name.
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
