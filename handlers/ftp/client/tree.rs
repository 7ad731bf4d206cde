//! The files and folders below a folder on this machine or on the server.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;

use cap_std::fs::{Dir, Metadata};

use super::exclude::{Exclusion, is_excluded};
use super::fault::Fault;
use super::listing::{Entry, Kind};
use super::partial::is_partial;
use super::path::{RemotePath, os, shown};
use super::session::Session;
use crate::common::store::is_reserved;

/// Maximum depth of folders. It is limited because a server could list an unlimited number of
/// nested folders.
const MAX_DEPTH: usize = 100;
/// Maximum number of entries of a tree.
const MAX_ENTRIES: usize = 2_000_000;

/// The entries below a folder.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The entries by path. A folder comes before its content, because its path is a prefix of the
    /// other paths.
    pub(super) entries: BTreeMap<Vec<u8>, Entry>,
    /// The paths that `--exclude` matches, and the files of this program's own transfers. A mirror
    /// neither transfers nor removes them.
    pub(super) excluded: Vec<Vec<u8>>,
    /// A message for each entry that could not be read. If there is one, other entries may be
    /// missing too.
    pub(super) failed: Vec<String>,
}

impl Tree {
    /// Adds an entry, unless it is excluded or the tree is full. Returns whether the entry was
    /// added.
    fn add(&mut self, path: &[u8], entry: Entry, exclusions: &[Exclusion]) -> bool {
        if is_excluded(exclusions, path, entry.kind == Kind::Folder) {
            self.excluded.push(path.to_vec());
            return false;
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.fail(path, "the tree has more than two million entries");
            return false;
        }
        self.entries.insert(path.to_vec(), entry);
        true
    }

    fn fail(&mut self, path: &[u8], why: impl std::fmt::Display) {
        let path = if path.is_empty() {
            ".".to_owned()
        } else {
            shown(path)
        };
        self.failed.push(format!("{path}: {why}"));
    }

    /// Reads the tree below a folder on the server.
    ///
    /// # Errors
    /// The folder itself cannot be listed, or the session is broken.
    pub(super) fn remote(
        session: &mut Session<'_>,
        root: &RemotePath,
        exclusions: &[Exclusion],
    ) -> Result<Tree, Fault> {
        let mut tree = Tree::default();
        let mut waiting: Vec<(Vec<u8>, usize)> = vec![(Vec::new(), 0)];
        while let Some((folder, depth)) = waiting.pop() {
            session
                .refresh()
                .map_err(|failure| Fault::Broken(failure.message))?;
            let listing = match session.list(&root.join(&folder)) {
                Ok(listing) => listing,
                Err(fault) if folder.is_empty() || !session.is_alive() => return Err(fault),
                Err(fault) => {
                    tree.fail(&folder, fault);
                    continue;
                }
            };
            for why in listing.refused {
                tree.fail(&folder, why);
            }
            for (name, entry) in listing.entries {
                let path = joined(&folder, &name);
                let is_folder = entry.kind == Kind::Folder;
                if let Err(why) = root.join(&path).check() {
                    tree.fail(&path, why);
                } else if is_reserved(&name) {
                    tree.excluded.push(path);
                } else if tree.add(&path, entry, exclusions) && is_folder {
                    if depth < MAX_DEPTH {
                        waiting.push((path, depth + 1));
                    } else {
                        tree.fail(&path, "there are more than 100 folders within folders");
                    }
                }
            }
        }
        Ok(tree)
    }

    /// Reads the tree below a local folder. Files of this program's own transfers are excluded.
    /// With `follow`, a symlink counts as its target if the target is a file inside the folder.
    pub(super) fn local(root: &Dir, exclusions: &[Exclusion], follow: bool) -> Tree {
        let mut tree = Tree::default();
        let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(folder) = waiting.pop() {
            let names = match names(root, &folder) {
                Ok(names) => names,
                Err(error) => {
                    tree.fail(&folder, error);
                    continue;
                }
            };
            for name in names {
                let path = joined(&folder, &name);
                if is_partial(&name) || is_reserved(&name) {
                    tree.excluded.push(path);
                    continue;
                }
                let entry = match root.symlink_metadata(os(&path)) {
                    Ok(metadata) if metadata.is_symlink() && follow => follow_link(root, &path),
                    Ok(metadata) => Ok(entry_of(&metadata)),
                    Err(error) => Err(error.to_string()),
                };
                match entry {
                    Ok(entry) => {
                        let is_folder = entry.kind == Kind::Folder;
                        if tree.add(&path, entry, exclusions) && is_folder {
                            waiting.push(path);
                        }
                    }
                    Err(_) if is_excluded(exclusions, &path, false) => tree.excluded.push(path),
                    Err(why) => tree.fail(&path, why),
                }
            }
        }
        tree
    }
}

/// Joins the path of a folder and a name.
pub(super) fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}

/// Opens a folder of the tree. The empty path is the root. The path cannot lead out of the root
/// through a symlink.
pub(super) fn open_folder(root: &Dir, folder: &[u8]) -> io::Result<Dir> {
    if folder.is_empty() {
        root.try_clone()
    } else {
        root.open_dir(os(folder))
    }
}

fn names(root: &Dir, folder: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    open_folder(root, folder)?
        .entries()?
        .map(|entry| entry.map(|entry| entry.file_name().as_bytes().to_vec()))
        .collect()
}

/// The entry of a symlink's target. A link to a folder stays a link, because the folder may contain
/// the link, so that the tree would have no end.
fn follow_link(root: &Dir, path: &[u8]) -> Result<Entry, String> {
    match root.metadata(os(path)) {
        Ok(metadata) if metadata.is_dir() => Ok(Entry {
            kind: Kind::Link,
            ..entry_of(&metadata)
        }),
        Ok(metadata) => Ok(entry_of(&metadata)),
        Err(error) => Err(format!(
            "a symlink that leads nowhere, or out of the folder: {error}"
        )),
    }
}

fn entry_of(metadata: &Metadata) -> Entry {
    let kind = if metadata.is_file() {
        Kind::File
    } else if metadata.is_dir() {
        Kind::Folder
    } else if metadata.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    };
    Entry {
        kind,
        size: (kind == Kind::File).then_some(metadata.len()),
        modified: metadata
            .modified()
            .ok()
            .map(cap_std::time::SystemTime::into_std),
        is_exact: true,
    }
}
