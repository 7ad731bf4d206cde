//! Paths as clients write them: absolute or relative to the working directory, of any bytes.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::common::store::is_reserved;

/// Maximum length of a path in bytes.
const MAX_PATH: usize = 4000;

/// A path from the root that the client sees. It has no `.`, no `..` and no empty component: `/`,
/// or `/a/b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualPath(Vec<u8>);

/// A path that no file can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It has a NUL byte.
    Nul,
    /// It, or one of its names, is too long.
    TooLong,
    /// The server keeps partial uploads there.
    Reserved,
}

impl Default for VirtualPath {
    fn default() -> VirtualPath {
        VirtualPath(b"/".to_vec())
    }
}

impl VirtualPath {
    /// What `argument` means while this is the working directory. `..` above the root is the root.
    ///
    /// # Errors
    /// No file can have the path.
    pub fn join(&self, argument: &[u8]) -> Result<VirtualPath, PathError> {
        if argument.contains(&0) {
            return Err(PathError::Nul);
        }
        let mut names: Vec<&[u8]> = match argument.first() {
            Some(b'/') => Vec::new(),
            _ => self.names().collect(),
        };
        for name in argument.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => drop(names.pop()),
                name if name.len() > 255 => return Err(PathError::TooLong),
                name if is_reserved(name) => return Err(PathError::Reserved),
                name => names.push(name),
            }
        }
        let path = names.iter().flat_map(|name| [&b"/"[..], name]);
        let path: Vec<u8> = path.flatten().copied().collect();
        match path.len() {
            0 => Ok(VirtualPath::default()),
            length if length > MAX_PATH => Err(PathError::TooLong),
            _ => Ok(VirtualPath(path)),
        }
    }

    /// The path of an entry of this directory.
    pub fn child(&self, name: &[u8]) -> VirtualPath {
        let separator: &[u8] = if self.is_root() { b"" } else { b"/" };
        VirtualPath([&self.0, separator, name].concat())
    }

    /// The directory above; that of the root is the root.
    pub fn parent(&self) -> VirtualPath {
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        VirtualPath(self.0[..end.max(1)].to_vec())
    }

    /// The last name; `None` for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.names().last()
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == b"/"
    }

    /// Whether it is `other`, or lies below it.
    pub fn is_below(&self, other: &VirtualPath) -> bool {
        other.is_root()
            || self
                .0
                .strip_prefix(&other.0[..])
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// For logs.
    pub fn escaped(&self) -> String {
        self.to_string().escape_debug().to_string()
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
    }

    /// As the client sees it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same below a directory handle; `.` for the root.
    pub fn relative(&self) -> &Path {
        self.relative_to(&VirtualPath::default())
    }

    /// The same below the handle of the directory `at`, which this path must be or lie below; `.`
    /// for `at` itself.
    pub fn relative_to(&self, at: &VirtualPath) -> &Path {
        let rest = self.0.get(at.0.len()..).unwrap_or_default();
        match rest.strip_prefix(b"/").unwrap_or(rest) {
            b"" => Path::new("."),
            path => Path::new(OsStr::from_bytes(path)),
        }
    }
}

impl fmt::Display for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Nul => "A path has no NUL byte",
            PathError::TooLong => "The path is too long",
            PathError::Reserved => "No such file or directory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(from: &str, argument: &[u8]) -> Result<Vec<u8>, PathError> {
        let from = VirtualPath::default().join(from.as_bytes()).unwrap();
        from.join(argument).map(|path| path.0)
    }

    #[test]
    fn a_path_is_absolute_and_never_leaves_the_root() {
        for (from, argument, path) in [
            ("/", &b""[..], &b"/"[..]),
            ("/a", b"", b"/a"),
            ("/a", b"b", b"/a/b"),
            ("/a", b"/b", b"/b"),
            ("/a/b", b"..", b"/a"),
            ("/a", b"../../../b", b"/b"),
            ("/", b"a//b/./c/", b"/a/b/c"),
            ("/", b" a\xe9\n ", b"/ a\xe9\n "),
            ("/", b"...", b"/..."),
        ] {
            assert_eq!(join(from, argument).unwrap(), path, "{from} {argument:?}");
        }
        assert_eq!(join("/", b"a\0b"), Err(PathError::Nul));
        assert_eq!(join("/", &b"x".repeat(256)), Err(PathError::TooLong));
        assert_eq!(join("/", &b"x/".repeat(2001)), Err(PathError::TooLong));
        assert_eq!(
            join("/", b".socketserver-partial/x"),
            Err(PathError::Reserved)
        );
    }

    #[test]
    fn a_path_has_a_parent_and_a_name() {
        let path = VirtualPath::default().join(b"/a/b").unwrap();
        assert_eq!(path.parent().as_bytes(), b"/a");
        assert_eq!(path.parent().parent().as_bytes(), b"/");
        assert_eq!(path.name(), Some(&b"b"[..]));
        assert_eq!(VirtualPath::default().name(), None);
        assert_eq!(path.relative(), Path::new("a/b"));
        assert_eq!(path.parent().child(b"b"), path);
        assert!(path.is_below(&path.parent()) && !path.parent().is_below(&path));
        assert!(
            !VirtualPath::default()
                .join(b"/ab")
                .unwrap()
                .is_below(&path.parent())
        );
    }
}
