//! Visits the files and folders below a folder, one after the other.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::ROOT;
use crate::accounts::Rights;
use crate::files::access::Permit;
use crate::files::site::listing::entries::{Facts, Folder, Kind, Names, Reader};
use crate::files::site::listing::sort;
use crate::files::site::root::{Opened, Root};

/// An entry of an archive. Names begin with the name of the requested folder.
pub(super) enum Found {
    Directory {
        name: Vec<u8>,
        facts: Facts,
    },
    File {
        name: Vec<u8>,
        facts: Facts,
        file: File,
    },
}

/// Visits folders depth first. It finds the same entries as a listing.
///
/// Symlinks to files count as files. Symlinks to folders are left out, because they could form a
/// cycle. No folder is open between two steps, so deep folders need no additional descriptors.
pub(super) struct Walk {
    root: Arc<Root>,
    permit: Permit,
    hidden: bool,
    /// The requested folder, until it was visited.
    first: Option<Folder>,
    /// The number of bytes that are removed from the beginning of a path below the root, and the
    /// text that replaces them in names of the archive.
    prefix: (usize, &'static [u8]),
    levels: Vec<Level>,
}

/// A folder on the path to the current entry, with its remaining entries. The next entry is the
/// last one.
struct Level {
    path: Vec<u8>,
    names: Names,
}

impl Walk {
    pub(super) fn new(folder: Folder, hidden: bool) -> Walk {
        let path = folder.path();
        let parent = path
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |slash| slash + 1);
        let prefix = if path.is_empty() {
            (0, ROOT)
        } else {
            (parent, &b""[..])
        };
        let (root, permit) = (Arc::clone(folder.root()), folder.permit().clone());
        Walk {
            root,
            permit,
            hidden,
            first: Some(folder),
            prefix,
            levels: Vec::new(),
        }
    }

    /// The next entry. Entries that were removed meanwhile or can't be read are left out.
    pub(super) fn next(&mut self) -> Option<Found> {
        if let Some(folder) = self.first.take() {
            let facts = folder.facts().ok()?;
            return Some(self.enter(folder, facts));
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.entries.pop() else {
                self.levels.pop();
                continue;
            };
            let slash: &[u8] = if level.path.is_empty() { b"" } else { b"/" };
            let path = [&level.path, slash, level.names.bytes_of(name)].concat();
            match self.open(path, name.is_link) {
                Ok(None) => {}
                Ok(found) => return found,
                Err(error) => log::debug!("an entry is left out of an archive: {error}"),
            }
        }
        None
    }

    fn open(&mut self, path: Vec<u8>, is_link: bool) -> io::Result<Option<Found>> {
        let Opened { file, real } = self
            .root
            .open_resolved(Path::new(OsStr::from_bytes(&path)))?;
        let Some(facts) = Facts::of(&file)? else {
            return Ok(None);
        };
        let judged = real
            .as_ref()
            .map_or(&*path, |real| real.as_os_str().as_bytes());
        Ok(match facts.kind {
            Kind::File if !self.permit.may(Rights::READ, judged) => None,
            Kind::File => Some(Found::File {
                name: self.name_of(&path),
                facts,
                file,
            }),
            Kind::Directory if is_link || !self.permit.may(Rights::LIST, judged) => None,
            Kind::Directory => {
                let folder = Folder::new(Arc::clone(&self.root), file.into(), &path)
                    .at(real.as_deref())
                    .seen_by(&self.permit);
                Some(self.enter(folder, facts))
            }
        })
    }

    fn enter(&mut self, folder: Folder, facts: Facts) -> Found {
        let mut names = Names::default();
        let read = Reader::open(&folder, self.hidden, "").and_then(|reader| {
            let mut reader = reader.without_mounts();
            while !reader.read(&folder, &mut names, usize::MAX)? {}
            Ok(())
        });
        if let Err(error) = read {
            log::debug!("a folder in an archive can't be read: {error}");
        }
        names.sort_by(|a, _, b, _| sort::natural(b, a));
        let found = Found::Directory {
            name: self.name_of(folder.path()),
            facts,
        };
        self.levels.push(Level {
            path: folder.path().to_vec(),
            names,
        });
        found
    }

    fn name_of(&self, path: &[u8]) -> Vec<u8> {
        let (cut, begin) = self.prefix;
        let slash: &[u8] = if begin.is_empty() || path.is_empty() {
            b""
        } else {
            b"/"
        };
        [begin, slash, &path[cut..]].concat()
    }
}
