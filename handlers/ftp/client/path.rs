//! Paths on the server. They are bytes, because the names on a server may be in any encoding.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// Maximum length of a path in bytes. Servers often limit the line of a command to 4 KiB.
const MAX_PATH: usize = 4000;

/// A path on the server. It is absolute, or relative to the working directory after the login. The
/// empty path is this directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RemotePath(Vec<u8>);

impl RemotePath {
    /// Checks a path from the command line. Removes empty components and `.`.
    ///
    /// # Errors
    /// A command cannot contain the path, or the path contains `..`, which servers treat in
    /// different ways.
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

    /// Checks that a command can contain the path. A line break or a NUL would end the command, and
    /// the rest of the path would be another command.
    ///
    /// # Errors
    /// A message that says why the bytes are refused.
    pub(super) fn check(&self) -> Result<(), String> {
        check_name(&self.0)?;
        match self.0.len() {
            0..=MAX_PATH => Ok(()),
            length => Err(format!(
                "the path has {length} bytes; the maximum is {MAX_PATH}"
            )),
        }
    }

    /// The path `below` this path.
    pub(super) fn join(&self, below: &[u8]) -> RemotePath {
        let mut path = self.0.clone();
        if !(path.is_empty() || path.ends_with(b"/") || below.is_empty()) {
            path.push(b'/');
        }
        path.extend_from_slice(below);
        RemotePath(path)
    }

    /// Whether this is the working directory after the login.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as the argument of a command. Servers take a leading `-` for options and a leading
    /// `~` for a home directory, and some servers remove leading spaces. So such a path gets `./`
    /// in front.
    pub(super) fn argument(&self) -> Cow<'_, [u8]> {
        match self.0.first() {
            None => Cow::Borrowed(b"."),
            Some(b'-' | b'~' | b' ' | b'\t') => Cow::Owned([b"./", &self.0[..]].concat()),
            Some(_) => Cow::Borrowed(&self.0),
        }
    }

    /// The last component. It is empty for the root and for the empty path.
    pub(super) fn name(&self) -> &[u8] {
        self.0
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    /// The parent folders, beginning with the outermost.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = RemotePath> {
        let slashes = self.0.iter().enumerate().skip(1);
        slashes
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| RemotePath(self.0[..at].to_vec()))
    }

    /// The bytes of the path.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Checks that a command can contain this name.
///
/// # Errors
/// A message that says why the bytes are refused.
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

/// Converts bytes from a server to text for a terminal. Replaces control characters, because a
/// terminal could execute them as commands.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(char::is_control, "\u{FFFD}")
}

/// Converts bytes to a file name or path of this machine.
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
