//! Compares the two sides of a mirror, and plans the changes.

use std::collections::HashSet;

use super::listing::{Entry, Kind};
use super::partial::seconds;
use super::path::shown;
use super::tree::Tree;

/// How a mirror compares files, and what it may remove.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whether the mirror removes entries that the source does not have (`--delete`).
    pub(super) delete: bool,
    /// Whether a copy gets the time of the source. Otherwise a file that has the size of the
    /// source, and is not older, counts as its copy.
    pub(super) keeps_times: bool,
    /// Whether the destination is the server. A server that stores a file under the name of a
    /// symbolic link would write to the target of the link.
    pub(super) to_server: bool,
}

/// An entry that the mirror will remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) path: Vec<u8>,
    pub(super) is_folder: bool,
}

/// The changes, in the order in which the mirror makes them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Entries to remove first, because the source has an entry of another kind under the same
    /// name. The content of a folder comes before the folder.
    pub(super) in_the_way: Vec<Removal>,
    /// The folders to make.
    pub(super) folders: Vec<Vec<u8>>,
    /// The files to transfer.
    pub(super) files: Vec<Vec<u8>>,
    /// Entries to remove last, because the source does not have them.
    pub(super) removals: Vec<Removal>,
    /// Number of files that are the same on both sides.
    pub(super) up_to_date: u64,
    /// A message for each entry that cannot be mirrored.
    pub(super) failed: Vec<String>,
    /// A message for each entry that a mirror never transfers, such as a symbolic link.
    pub(super) passed_over: Vec<String>,
}

/// Compares the trees, and returns the changes.
pub(super) fn plan(source: &Tree, destination: &Tree, rules: Rules) -> Plan {
    let mut planner = Planner {
        destination,
        rules,
        protected: protected(destination),
        plan: Plan::default(),
        blocked: HashSet::new(),
    };
    for (path, entry) in &source.entries {
        planner.take(path, entry);
    }
    if rules.delete {
        planner.remove_the_rest(source);
    }
    planner.plan
}

/// The folders that contain an excluded entry at any depth. They must not be removed.
fn protected(tree: &Tree) -> HashSet<&[u8]> {
    tree.excluded
        .iter()
        .flat_map(|path| folders(path))
        .collect()
}

/// The parent folders of a path.
fn folders(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

struct Planner<'a> {
    destination: &'a Tree,
    rules: Rules,
    /// Folders of the destination that must not be removed.
    protected: HashSet<&'a [u8]>,
    plan: Plan,
    /// Folders that cannot be made. So their content cannot be transferred.
    blocked: HashSet<Vec<u8>>,
}

impl Planner<'_> {
    fn take(&mut self, path: &[u8], entry: &Entry) {
        if !self.blocked.is_empty() && folders(path).any(|folder| self.blocked.contains(folder)) {
            return;
        }
        let there = self.destination.entries.get(path);
        let kind = there.map(|there| there.kind);
        match (entry.kind, kind) {
            (Kind::Link, _) => self.pass_over(path, "a symbolic link"),
            (Kind::Other, _) => self.pass_over(path, "neither a file nor a folder"),
            (Kind::Folder, Some(Kind::Folder)) => {}
            (Kind::Folder, None) => self.plan.folders.push(path.to_vec()),
            (Kind::Folder, Some(_)) => {
                if self.clear(path) {
                    self.plan.folders.push(path.to_vec());
                } else {
                    self.blocked.insert(path.to_vec());
                }
            }
            (Kind::File, Some(Kind::File)) if there.is_some_and(|t| self.is_same(entry, t)) => {
                self.plan.up_to_date += 1;
            }
            (Kind::File, None | Some(Kind::File)) => self.plan.files.push(path.to_vec()),
            // A local file replaces the symlink itself, and the target of the symlink stays.
            (Kind::File, Some(Kind::Link)) if !self.rules.to_server => {
                self.plan.files.push(path.to_vec());
            }
            (Kind::File, Some(_)) => {
                if self.clear(path) {
                    self.plan.files.push(path.to_vec());
                }
            }
        }
    }

    fn pass_over(&mut self, path: &[u8], what: &str) {
        let line = format!("{}: {what} is passed over", shown(path));
        self.plan.passed_over.push(line);
    }

    /// Plans to remove an entry that has the name of an entry of another kind, with its content.
    /// Returns false if the entry must stay.
    fn clear(&mut self, path: &[u8]) -> bool {
        let name = shown(path);
        if !self.rules.delete {
            let line =
                format!("{name}: something of another kind has this name; --delete removes it");
            self.plan.failed.push(line);
            return false;
        }
        if self.protected.contains(path) {
            let line = format!("{name}: the folder of this name holds files that are left alone");
            self.plan.failed.push(line);
            return false;
        }
        let entries = self.destination.entries.range(path.to_vec()..);
        let below = entries
            .take_while(|(other, _)| other.starts_with(path))
            .filter(|(other, _)| matches!(other.get(path.len()), None | Some(b'/')))
            .map(|(path, entry)| removal(path, entry));
        let mut below: Vec<Removal> = below.collect();
        below.reverse();
        self.plan.in_the_way.append(&mut below);
        true
    }

    fn is_same(&self, source: &Entry, there: &Entry) -> bool {
        if source.size.is_none() || source.size != there.size {
            return false;
        }
        // If one of the times is not exact, files with the same size count as the same.
        match (source.modified, there.modified) {
            (Some(ours), Some(theirs)) if source.is_exact && there.is_exact => {
                if self.rules.keeps_times {
                    seconds(ours) == seconds(theirs)
                } else {
                    seconds(ours) <= seconds(theirs)
                }
            }
            _ => true,
        }
    }

    /// Plans to remove the entries that the source does not have. The content of a folder comes
    /// before the folder.
    fn remove_the_rest(&mut self, source: &Tree) {
        if !(source.failed.is_empty() && self.destination.failed.is_empty()) {
            // The source may have this entry, although the listing does not contain it.
            self.plan
                .failed
                .push("nothing is removed, because not everything could be listed".to_owned());
            self.plan.in_the_way.clear();
            return;
        }
        let gone: HashSet<Vec<u8>> = self
            .plan
            .in_the_way
            .iter()
            .map(|removal| removal.path.clone())
            .collect();
        let excluded: HashSet<&[u8]> = source.excluded.iter().map(Vec::as_slice).collect();
        let rest = self.destination.entries.iter().rev().filter(|(path, _)| {
            !source.entries.contains_key(*path)
                && !excluded.contains(path.as_slice())
                && !self.protected.contains(path.as_slice())
                && !gone.contains(*path)
        });
        self.plan.removals = rest.map(|(path, entry)| removal(path, entry)).collect();
    }
}

fn removal(path: &[u8], entry: &Entry) -> Removal {
    Removal {
        path: path.to_vec(),
        is_folder: entry.kind == Kind::Folder,
    }
}

#[cfg(test)]
mod tests;
