//! Compares the two sides of a mirror, and plans what is to be done.

use std::collections::HashSet;

use super::listing::{Entry, Kind};
use super::partial::seconds;
use super::path::shown;
use super::tree::Tree;

/// How a mirror compares and what it may remove.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whether what the source does not have is removed.
    pub(super) delete: bool,
    /// Whether the destination keeps the time of the source. Otherwise a file that is not older
    /// than the source is taken for its copy.
    pub(super) keeps_times: bool,
    /// Whether the destination is a server, which would write through a symbolic link.
    pub(super) to_server: bool,
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) path: Vec<u8>,
    pub(super) is_folder: bool,
}

/// What is to be done, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Entries of another kind than the source has under their names. The content of a folder comes
    /// before the folder.
    pub(super) in_the_way: Vec<Removal>,
    pub(super) folders: Vec<Vec<u8>>,
    pub(super) files: Vec<Vec<u8>>,
    pub(super) removals: Vec<Removal>,
    pub(super) up_to_date: u64,
    /// A line for each thing that cannot be done.
    pub(super) failed: Vec<String>,
    /// A line for each thing that is passed over on purpose.
    pub(super) passed_over: Vec<String>,
}

/// Compares the trees.
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

/// The folders that hold something that is left alone, at any depth.
fn protected(tree: &Tree) -> HashSet<&[u8]> {
    tree.excluded
        .iter()
        .flat_map(|path| folders(path))
        .collect()
}

/// The folders that hold a path.
fn folders(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

struct Planner<'a> {
    destination: &'a Tree,
    rules: Rules,
    protected: HashSet<&'a [u8]>,
    plan: Plan,
    /// Folders that cannot be made; what is in them cannot be transferred.
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
            // A local symlink is replaced, never followed.
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

    /// Removes what is in the way, if that is allowed.
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
        // A time that is not exact proves no difference.
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

    /// Removes what the source does not have, the content of a folder before the folder.
    fn remove_the_rest(&mut self, source: &Tree) {
        if !(source.failed.is_empty() && self.destination.failed.is_empty()) {
            // The source may have an entry that could not be listed.
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
