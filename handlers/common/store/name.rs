//! Checks file names from clients.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{PARTIALS, StoreError};

/// Maximum length in bytes of a file name in Linux file systems.
const MAX_NAME_LENGTH: usize = 255;
/// Maximum length in bytes of a path.
const MAX_PATH_LENGTH: usize = 4000;

/// The path of a file below the store's folder: checked, relative, without `.` and `..`. It may
/// have any bytes that a file system accepts, UTF-8 or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// Takes the last component of a path from a client.
    ///
    /// # Errors
    /// [`StoreError::ForbiddenName`] if the component is not a valid file name.
    pub fn last_component(text: &str) -> Result<Name, StoreError> {
        let last = text.rsplit('/').next().unwrap_or(text).as_bytes();
        check(last)?;
        Ok(Name(last.to_owned()))
    }

    /// Takes a relative path from a client. Of an absolute path, only the last component is used.
    ///
    /// # Errors
    /// [`StoreError::ForbiddenName`] for `..`, and if a component is not a valid file name.
    pub fn path(text: &str) -> Result<Name, StoreError> {
        if text.starts_with('/') {
            return Name::last_component(text);
        }
        Name::of_bytes(text.as_bytes())
    }

    /// Takes a relative path in any encoding.
    ///
    /// # Errors
    /// As for [`path`](Name::path), and for an absolute path.
    pub fn of_bytes(path: &[u8]) -> Result<Name, StoreError> {
        let (folders, file) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(0) => return Err(StoreError::ForbiddenName("it is an absolute path")),
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let folders = folders
            .split(|&byte| byte == b'/')
            .filter(|folder| !matches!(*folder, b"" | b"."));
        let components: Vec<&[u8]> = folders.chain([file]).collect();
        components
            .iter()
            .try_for_each(|component| check(component))?;
        let path = components.join(&b'/');
        if path.len() > MAX_PATH_LENGTH {
            Err(StoreError::ForbiddenName("the path is too long"))
        } else {
            Ok(Name(path))
        }
    }

    /// The whole name: folders and file, with `/` between them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as a path.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The name as text, with U+FFFD in place of bytes that are not UTF-8.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Splits the name into its folders, if any, and the file name.
    pub fn split(&self) -> (Option<&Path>, &OsStr) {
        let path = self.as_path();
        let folders = path
            .parent()
            .filter(|folders| !folders.as_os_str().is_empty());
        (folders, path.file_name().unwrap_or_default())
    }

    /// The same name with ` (number)` before its extension, cut so that it is not too long.
    pub fn numbered(&self, number: u32) -> Name {
        let begin = self
            .0
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |slash| slash + 1);
        let (folders, file) = self.0.split_at(begin);
        let (stem, extension) = match file.iter().rposition(|&byte| byte == b'.') {
            Some(dot) if dot > 0 && file.len() - dot <= MAX_NAME_LENGTH / 4 => file.split_at(dot),
            _ => (file, &b""[..]),
        };
        let number = format!(" ({number})").into_bytes();
        let mut end = stem
            .len()
            .min(MAX_NAME_LENGTH - number.len() - extension.len());
        // Cut between two characters of UTF-8, not within one.
        while end < stem.len() && end > 0 && stem[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        Name([folders, &stem[..end], &number, extension].concat())
    }
}

/// Whether a file name is the name of the hidden folder [`PARTIALS`]. Case is ignored, because some
/// file systems do not distinguish upper and lower case.
pub fn is_reserved(component: &[u8]) -> bool {
    component.eq_ignore_ascii_case(PARTIALS.as_bytes())
}

fn check(component: &[u8]) -> Result<(), StoreError> {
    let reason = match component {
        b"" => "it is empty",
        b"." | b".." => "`.` and `..` are not file names",
        name if name.len() > MAX_NAME_LENGTH => "it has more than 255 bytes",
        name if name.contains(&0) => "it holds a NUL",
        name if is_reserved(name) => "the server keeps partial uploads under it",
        _ => return Ok(()),
    };
    Err(StoreError::ForbiddenName(reason))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str) -> Option<String> {
        Name::last_component(text)
            .ok()
            .map(|name| name.text().into_owned())
    }

    fn path(text: &str) -> Option<String> {
        Name::path(text).ok().map(|name| name.text().into_owned())
    }

    #[test]
    fn of_a_path_the_last_component_is_left() {
        let long = "x".repeat(255);
        for (text, name) in [
            ("a.txt", "a.txt"),
            ("/etc/passwd", "passwd"),
            ("../../a", "a"),
            ("a/../b", "b"),
            ("a\\b", "a\\b"),
            ("...", "..."),
            ("-rf", "-rf"),
            (" ", " "),
            (&long, &long),
        ] {
            assert_eq!(last(text).as_deref(), Some(name), "{text}");
        }
        for text in [
            "",
            ".",
            "..",
            "/",
            "a/",
            "a/..",
            "a\0b",
            ".socketserver-partial",
            ".SocketServer-Partial",
        ] {
            assert_eq!(last(text), None, "{text}");
        }
        assert_eq!(last(&"x".repeat(256)), None);
        assert_eq!(last(&"\u{e9}".repeat(128)), None);
    }

    #[test]
    fn a_relative_path_is_kept_if_it_stays_below() {
        for (text, name) in [
            ("a", "a"),
            ("a/b/c.txt", "a/b/c.txt"),
            ("./a//b", "a/b"),
            ("/a/b", "b"),
            ("/../b", "b"),
        ] {
            assert_eq!(path(text).as_deref(), Some(name), "{text}");
        }
        for text in [
            "",
            "..",
            "../a",
            "a/../b",
            "a/",
            "a/.",
            "a\0/b",
            ".socketserver-partial/x",
            "a/.SOCKETSERVER-PARTIAL/x",
        ] {
            assert_eq!(path(text), None, "{text}");
        }
        assert_eq!(path(&format!("{}a", "abc/".repeat(2000))), None);
        let name = Name::path("a/b/c").unwrap();
        assert_eq!(name.split(), (Some(Path::new("a/b")), OsStr::new("c")));
        let name = Name::of_bytes(b"a/\xff\n").unwrap();
        assert_eq!(
            (name.as_bytes(), &*name.text()),
            (&b"a/\xff\n"[..], "a/\u{fffd}\n")
        );
        for path in [&b"/a"[..], b"a/../\xff", b"", b"\xff\0"] {
            assert!(Name::of_bytes(path).is_err(), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn a_numbered_name_keeps_its_extension_and_fits() {
        for (name, numbered) in [
            ("a.txt", "a (2).txt"),
            ("a", "a (2)"),
            (".hidden", ".hidden (2)"),
            ("a.tar.gz", "a.tar (2).gz"),
            ("d.d/a", "d.d/a (2)"),
        ] {
            assert_eq!(Name(name.into()).numbered(2).text(), numbered);
        }
        let long = Name(format!("{}.txt", "\u{e9}".repeat(125)).into()).numbered(10);
        assert!(
            long.0.len() <= 255 && long.text().ends_with("\u{e9} (10).txt"),
            "{long}"
        );
        let dotted = Name(format!("a.{}", "b".repeat(253)).into()).numbered(1);
        assert!(
            dotted.0.len() <= 255 && dotted.text().ends_with("b (1)"),
            "{dotted}"
        );
    }
}
