//! Paths on the server: bytes, because a server's names may be in any encoding.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// Maximum bytes of a path. Servers often limit the line of a command to 4 KiB.
const MAX_PATH: usize = 4000;

/// A path on the server, relative to the folder in which a login begins, or absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RemotePath(Vec<u8>);

impl RemotePath {
    /// A path that a user gave. Empty components and `.` are left out.
    ///
    /// # Errors
    /// It cannot be sent in a command, or holds `..`, which servers treat differently.
    pub(super) fn checked(text: &[u8]) -> Result<RemotePath, String> {
        let is_absolute = text.starts_with(b"/");
        let parts: Vec<&[u8]> = text
            .split(|byte| *byte == b'/')
            .filter(|part| !matches!(*part, b"" | b"."))
            .collect();
        if parts.contains(&&b".."[..]) {
            return Err("invalid path: it holds `..`; name the folder itself".to_owned());
        }
        let mut path = if is_absolute {
            b"/".to_vec()
        } else {
            Vec::new()
        };
        path.extend(parts.join(&b'/'));
        let path = RemotePath(path);
        path.check().map(|()| path)
    }

    /// Whether a command can carry the path. A line break or a NUL in it would end the command, and
    /// the rest would be another command.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self) -> Result<(), String> {
        check_name(&self.0)?;
        match self.0.len() {
            0..=MAX_PATH => Ok(()),
            length => Err(format!(
                "the path has {length} bytes; the maximum is {MAX_PATH}"
            )),
        }
    }

    /// A path below this one.
    pub(super) fn join(&self, below: &[u8]) -> RemotePath {
        let mut path = self.0.clone();
        if !(path.is_empty() || path.ends_with(b"/") || below.is_empty()) {
            path.push(b'/');
        }
        path.extend_from_slice(below);
        RemotePath(path)
    }

    /// Whether it is the folder in which a login begins.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as the argument of a command. Servers take a first `-` for options and a first `~`
    /// for a home directory, and some strip spaces, so such a path gets `./` in front.
    pub(super) fn argument(&self) -> Cow<'_, [u8]> {
        match self.0.first() {
            None => Cow::Borrowed(b"."),
            Some(b'-' | b'~' | b' ' | b'\t') => Cow::Owned([b"./", &self.0[..]].concat()),
            Some(_) => Cow::Borrowed(&self.0),
        }
    }

    /// The last component; empty for the root and for the folder in which a login begins.
    pub(super) fn name(&self) -> &[u8] {
        self.0
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    /// The folders that hold it, from the outermost on.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = RemotePath> {
        let slashes = self.0.iter().enumerate().skip(1);
        slashes
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| RemotePath(self.0[..at].to_vec()))
    }

    /// The bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether a command can carry these bytes.
///
/// # Errors
/// Why not.
pub(super) fn check_name(name: &[u8]) -> Result<(), String> {
    if name.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err("the name holds a line break, which FTP cannot carry".to_owned());
    }
    if name.contains(&0) {
        return Err("the name holds a NUL, which FTP cannot carry".to_owned());
    }
    Ok(())
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

/// Bytes from a server as text for a terminal. Control characters are replaced, because a terminal
/// obeys them.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(char::is_control, "\u{FFFD}")
}

/// Bytes as a file name of this machine.
pub(super) fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_server_could_misread_gets_a_prefix() {
        for (path, argument) in [
            ("a", "a"),
            ("-la", "./-la"),
            ("~root", "./~root"),
            (" a", "./ a"),
            ("a/-b", "a/-b"),
            ("/-a", "/-a"),
            ("", "."),
        ] {
            let path = RemotePath::checked(path.as_bytes()).unwrap();
            assert_eq!(path.argument(), argument.as_bytes());
        }
    }

    #[test]
    fn paths_are_joined_and_split() {
        let root = RemotePath::checked(b"/").unwrap();
        assert_eq!(root.join(b"a").as_bytes(), b"/a");
        let login = RemotePath::default();
        assert_eq!(login.join(b"a/b").as_bytes(), b"a/b");
        assert_eq!(login.join(b"a/b").name(), b"b");
        let folders: Vec<_> = root
            .join(b"a/b/c")
            .ancestors()
            .map(|f| f.to_string())
            .collect();
        assert_eq!(folders, ["/a", "/a/b"]);
        assert_eq!((root.name(), login.name()), (&b""[..], &b""[..]));
        assert_eq!(login.join(b"a").join(b"").as_bytes(), b"a");
        assert!(RemotePath::checked(&vec![b'a'; MAX_PATH + 1]).is_err());
    }
}
