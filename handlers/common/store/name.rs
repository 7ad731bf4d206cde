//! Names that a client chose, and what is left of them.

use std::fmt;

use super::{PARTIALS, StoreError};

/// The longest file name that Linux's file systems take, in bytes.
const LONGEST: usize = 255;
/// The longest path, in bytes.
const LONGEST_PATH: usize = 4000;

/// Where a file is to stand below the store's folder: checked, relative, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    /// The last component of what the client said.
    ///
    /// # Errors
    /// [`StoreError::ForbiddenName`] if it is none that a file can have.
    pub fn last_component(text: &str) -> Result<Name, StoreError> {
        let last = text.rsplit('/').next().unwrap_or(text);
        check(last)?;
        Ok(Name(last.to_owned()))
    }

    /// The relative path that the client said; of an absolute one, the last component.
    ///
    /// # Errors
    /// [`StoreError::ForbiddenName`] for `..`, and if a component is none that a file can have.
    pub fn path(text: &str) -> Result<Name, StoreError> {
        if text.starts_with('/') {
            return Name::last_component(text);
        }
        let (folders, file) = text.rsplit_once('/').unwrap_or(("", text));
        let folders = folders
            .split('/')
            .filter(|folder| !matches!(*folder, "" | "."));
        let components: Vec<&str> = folders.chain([file]).collect();
        components
            .iter()
            .try_for_each(|component| check(component))?;
        let path = components.join("/");
        if path.len() > LONGEST_PATH {
            Err(StoreError::ForbiddenName("the path is too long"))
        } else {
            Ok(Name(path))
        }
    }

    /// The whole name: folders and file, with `/` between them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders, if any, and the file.
    pub fn split(&self) -> (Option<&str>, &str) {
        self.0
            .rsplit_once('/')
            .map_or((None, self.0.as_str()), |(folders, file)| {
                (Some(folders), file)
            })
    }

    /// The same name with ` (number)` before its extension, cut so that it is not too long.
    pub fn numbered(&self, number: u32) -> Name {
        let (folders, file) = self.split();
        let (stem, extension) = match file.rfind('.') {
            Some(dot) if dot > 0 && file.len() - dot <= LONGEST / 4 => file.split_at(dot),
            _ => (file, ""),
        };
        let suffix = format!(" ({number}){extension}");
        let mut end = stem.len().min(LONGEST - suffix.len());
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        let folders = folders
            .map(|folders| format!("{folders}/"))
            .unwrap_or_default();
        Name(format!("{folders}{}{suffix}", &stem[..end]))
    }
}

/// Whether a file name is the one of the hidden folder [`PARTIALS`]. On a file system that doesn't
/// tell the cases apart, another spelling is the same folder.
pub fn is_reserved(component: &[u8]) -> bool {
    component.eq_ignore_ascii_case(PARTIALS.as_bytes())
}

fn check(component: &str) -> Result<(), StoreError> {
    let reason = match component {
        "" => "it is empty",
        "." | ".." => "`.` and `..` are no files",
        name if name.len() > LONGEST => "it has more than 255 bytes",
        name if name.contains('\0') => "it holds a NUL",
        name if is_reserved(name.as_bytes()) => "the server keeps partial uploads under it",
        _ => return Ok(()),
    };
    Err(StoreError::ForbiddenName(reason))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str) -> Option<String> {
        Name::last_component(text).ok().map(|name| name.0)
    }

    fn path(text: &str) -> Option<String> {
        Name::path(text).ok().map(|name| name.0)
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
        assert_eq!(Name::path("a/b/c").unwrap().split(), (Some("a/b"), "c"));
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
            assert_eq!(Name(name.to_owned()).numbered(2).0, numbered);
        }
        let long = Name(format!("{}.txt", "\u{e9}".repeat(125))).numbered(10);
        assert!(
            long.0.len() <= 255 && long.0.ends_with("\u{e9} (10).txt"),
            "{long}"
        );
        let dotted = Name(format!("a.{}", "b".repeat(253))).numbered(1);
        assert!(
            dotted.0.len() <= 255 && dotted.0.ends_with("b (1)"),
            "{dotted}"
        );
    }
}
