//! Paths in the commands of clients. A path is absolute, or relative to the working directory, and
//! may contain any bytes.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::common::store::is_reserved;

/// Maximum length of a path in bytes.
const MAX_PATH: usize = 4000;

/// An absolute path. Its root is the user's home directory. Examples are `/` and `/a/b`. The path
/// has no `.`, no `..` and no empty component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualPath(Vec<u8>);

/// Why no file can have a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The path contains a NUL byte.
    Nul,
    /// The path, or one of its names, is too long.
    TooLong,
    /// The path is in a folder that the server uses for partial uploads.
    Reserved,
}

impl Default for VirtualPath {
    fn default() -> VirtualPath {
        VirtualPath(b"/".to_vec())
    }
}

impl VirtualPath {
    /// The path of a client's `argument` if this path is the working directory. At the root, `..`
    /// means the root.
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

    /// The parent directory. The parent of the root is the root.
    pub fn parent(&self) -> VirtualPath {
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        VirtualPath(self.0[..end.max(1)].to_vec())
    }

    /// The last name; `None` for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.names().last()
    }

    /// Whether the path is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == b"/"
    }

    /// Whether the path is `other`, or is below `other`.
    pub fn is_below(&self, other: &VirtualPath) -> bool {
        other.is_root()
            || self
                .0
                .strip_prefix(&other.0[..])
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// The path for a log, with control characters escaped.
    pub fn escaped(&self) -> String {
        self.to_string().escape_debug().to_string()
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
    }

    /// The bytes of the path, which begin with `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path relative to the root, for a directory handle; `.` for the root itself.
    pub fn relative(&self) -> &Path {
        self.relative_to(&VirtualPath::default())
    }

    /// The path relative to the directory `at`, for a directory handle; `.` for `at` itself. The
    /// path must be `at`, or below `at`.
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
            PathError::Nul => "A path must not contain a NUL byte",
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
