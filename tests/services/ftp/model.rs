//! A model of the files that a session of FTP sees: what each command must reply, and what the
//! folder holds after it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The names of a path from the root; none for the root.
pub(crate) type Names = Vec<Vec<u8>>;

/// Where the server keeps uploads that are under way. No client sees it.
pub(crate) const RESERVED: &[u8] = b".socketserver-partial";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Folder,
    File(Vec<u8>),
}

/// What a command that is refused must reply.
type Refused = u16;

const DENIED: Refused = 550;

/// A tree of files and folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<Names, Node>);

impl Tree {
    pub(crate) fn new() -> Tree {
        Tree(BTreeMap::from([(Names::new(), Node::Folder)]))
    }

    /// The tree of a real folder.
    pub(crate) fn read(folder: &Path) -> Tree {
        let mut tree = Tree::new();
        tree.read_below(folder, &Names::new());
        tree
    }

    fn read_below(&mut self, folder: &Path, names: &[Vec<u8>]) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().as_bytes().to_vec();
            if names.is_empty() && name == RESERVED {
                continue;
            }
            let path = [names, &[name]].concat();
            if entry.file_type().unwrap().is_dir() {
                self.0.insert(path.clone(), Node::Folder);
                self.read_below(&entry.path(), &path);
            } else {
                let content = fs::read(entry.path()).unwrap();
                self.0.insert(path, Node::File(content));
            }
        }
    }

    /// Removes everything from a real folder but what the server keeps there.
    pub(crate) fn clear(folder: &Path) {
        for (path, node) in Tree::read(folder).0.iter().rev() {
            let real = path.iter().fold(folder.to_owned(), |real, name| {
                real.join(OsStr::from_bytes(name))
            });
            match node {
                Node::File(_) => fs::remove_file(real).unwrap(),
                Node::Folder if path.is_empty() => {}
                Node::Folder => fs::remove_dir(real).unwrap(),
            }
        }
    }

    pub(crate) fn paths(&self) -> impl ExactSizeIterator<Item = &Names> {
        self.0.keys()
    }

    pub(crate) fn get(&self, path: &[Vec<u8>]) -> Option<&Node> {
        self.0.get(path)
    }

    pub(crate) fn is_folder(&self, path: &[Vec<u8>]) -> bool {
        self.get(path) == Some(&Node::Folder)
    }

    /// The names in a folder.
    pub(crate) fn entries(&self, folder: &[Vec<u8>]) -> Names {
        let below = |path: &&Names| path.len() == folder.len() + 1 && path.starts_with(folder);
        let paths = self.paths().filter(below);
        paths.filter_map(|path| path.last().cloned()).collect()
    }

    fn has_parent(&self, path: &[Vec<u8>]) -> bool {
        path.split_last()
            .is_some_and(|(_, parent)| self.is_folder(parent))
    }

    pub(crate) fn make_folder(&mut self, path: Names) -> Result<(), Refused> {
        if self.get(&path).is_some() || !self.has_parent(&path) {
            return Err(DENIED);
        }
        self.0.insert(path, Node::Folder);
        Ok(())
    }

    pub(crate) fn remove_folder(&mut self, path: &[Vec<u8>]) -> Result<(), Refused> {
        if path.is_empty() || !self.is_folder(path) || !self.entries(path).is_empty() {
            return Err(DENIED);
        }
        self.0.remove(path);
        Ok(())
    }

    pub(crate) fn remove_file(&mut self, path: &[Vec<u8>]) -> Result<(), Refused> {
        self.file(path)?;
        self.0.remove(path);
        Ok(())
    }

    pub(crate) fn file(&self, path: &[Vec<u8>]) -> Result<&[u8], Refused> {
        match self.get(path) {
            Some(Node::File(content)) => Ok(content),
            _ => Err(DENIED),
        }
    }

    /// The bytes of a file from an offset on.
    pub(crate) fn file_from(&self, path: &[Vec<u8>], offset: usize) -> Result<&[u8], Refused> {
        self.file(path)?.get(offset..).ok_or(554)
    }

    /// STOR, also at an offset that REST has given.
    pub(crate) fn store(
        &mut self,
        path: Names,
        offset: usize,
        content: &[u8],
    ) -> Result<(), Refused> {
        if self.is_folder(&path) || !self.has_parent(&path) {
            return Err(DENIED);
        }
        let begin = match offset {
            0 => Vec::new(),
            offset => self.file(&path)?.get(..offset).ok_or(554_u16)?.to_vec(),
        };
        self.0
            .insert(path, Node::File([&begin[..], content].concat()));
        Ok(())
    }

    pub(crate) fn append(&mut self, path: Names, content: &[u8]) -> Result<(), Refused> {
        let end = self.file(&path).map_or(0, <[u8]>::len);
        self.store(path, end, content)
    }

    /// RNTO, with the rules of `rename(2)`.
    pub(crate) fn rename(&mut self, from: &[Vec<u8>], to: &[Vec<u8>]) -> Result<(), Refused> {
        let moved = self.get(from).ok_or(DENIED)?;
        let fits = match (moved, self.get(to)) {
            (_, None) => self.has_parent(to),
            (Node::File(_), Some(Node::File(_))) => true,
            (Node::Folder, Some(Node::Folder)) => from == to || self.entries(to).is_empty(),
            _ => false,
        };
        let is_inside = to.len() > from.len() && to.starts_with(from);
        if to.is_empty() || is_inside || !fits {
            return Err(DENIED);
        }
        let all = std::mem::take(&mut self.0);
        let (below, mut rest): (BTreeMap<_, _>, BTreeMap<_, _>) = all
            .into_iter()
            .partition(|(path, _)| path.starts_with(from));
        for (path, node) in below {
            rest.insert([to, &path[from.len()..]].concat(), node);
        }
        self.0 = rest;
        Ok(())
    }
}

/// The path that an argument means in a working directory. `None` for one that no client may name.
pub(crate) fn resolve(working: &[Vec<u8>], argument: &[u8]) -> Option<Names> {
    let mut names = match argument.first() {
        Some(b'/') => Names::new(),
        _ => working.to_vec(),
    };
    for name in argument.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            RESERVED => return None,
            name => names.push(name.to_vec()),
        }
    }
    Some(names)
}
