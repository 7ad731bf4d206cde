//! Rights of users per path. This module does not access the file system.
//!
//! Paths are compared component by component, so a rule for `/a` does not apply to `/ab`. Paths are
//! relative to the served directory, which is `/`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{BitAnd, BitOr, Not};
use std::str::FromStr;

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

const LETTERS: [(char, Rights); 4] = [
    ('l', Rights::LIST),
    ('r', Rights::READ),
    ('w', Rights::WRITE),
    ('d', Rights::DELETE),
];

impl Rights {
    /// No rights, written `-`.
    pub const NONE: Rights = Rights(0);
    /// List the names in a directory.
    pub const LIST: Rights = Rights(1);
    /// Read files.
    pub const READ: Rights = Rights(2);
    /// Create files and directories. A directory with only this right is a drop box (upload-only
    /// folder).
    pub const WRITE: Rights = Rights(4);
    /// Remove, rename and replace existing files and directories.
    pub const DELETE: Rights = Rights(8);
    /// All rights.
    pub const ALL: Rights = Rights(15);

    /// Whether this set contains every right in `wanted`.
    pub fn contain(self, wanted: Rights) -> bool {
        self & wanted == wanted
    }
}

impl BitOr for Rights {
    type Output = Rights;
    fn bitor(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }
}

impl BitAnd for Rights {
    type Output = Rights;
    fn bitand(self, other: Rights) -> Rights {
        Rights(self.0 & other.0)
    }
}

impl Not for Rights {
    type Output = Rights;
    fn not(self) -> Rights {
        Rights(!self.0 & Rights::ALL.0)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Rights::NONE {
            return f.write_str("-");
        }
        LETTERS
            .iter()
            .filter(|(_, right)| self.contain(*right))
            .try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

impl FromStr for Rights {
    type Err = String;

    fn from_str(text: &str) -> Result<Rights, String> {
        let expected = || {
            format!(
                "`{text}` are no rights: expected letters of lrwd (list, read, write, delete), or -"
            )
        };
        match text {
            "" => Err(expected()),
            "-" => Ok(Rights::NONE),
            _ => text.chars().try_fold(Rights::NONE, |rights, letter| {
                let known = LETTERS
                    .iter()
                    .find(|(name, _)| *name == letter)
                    .ok_or_else(expected)?;
                Ok(rights | known.1)
            }),
        }
    }
}

/// A normalised path below the served directory: `/` or `/a/b`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// The served directory itself.
    pub fn root() -> Prefix {
        Prefix("/".to_owned())
    }

    /// The path as text: `/`, or the components with a `/` before each of them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` is this path or below it. False for a path with `..`.
    pub fn covers(&self, path: &[u8]) -> bool {
        components(path).is_some_and(|names| self.begins(&names))
    }

    /// The rest of a path that begins with this prefix; `None` for other paths.
    pub(super) fn below(&self, path: &[u8]) -> Option<Vec<u8>> {
        let names = components(path)?;
        let own = self.components().count();
        self.begins(&names)
            .then(|| names[own.min(names.len())..].join(&b'/'))
    }

    fn begins(&self, path: &[&[u8]]) -> bool {
        self.components()
            .enumerate()
            .all(|(at, name)| path.get(at) == Some(&name.as_bytes()))
    }

    fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// Removes empty components and `.`, so `a//b/.` becomes `/a/b`.
    fn from_str(text: &str) -> Result<Prefix, String> {
        if text.is_empty() || text.contains(char::is_control) {
            return Err(format!(
                "invalid path `{}`: use one like /docs",
                text.escape_debug()
            ));
        }
        let names = components(text.as_bytes())
            .ok_or_else(|| format!("`{text}`: a path here may not hold `..`"))?;
        // The text was split at ASCII slashes, so each part is still valid UTF-8.
        let names = names.iter().map(|name| String::from_utf8_lossy(name));
        let joined: String = names
            .flat_map(|name| ["/".to_owned(), name.into_owned()])
            .collect();
        Ok(if joined.is_empty() {
            Prefix::root()
        } else {
            Prefix(joined)
        })
    }
}

/// Returns the components of a path; `None` if one of them is `..`. The target of `..` depends on
/// symbolic links.
fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let names = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".");
    names.map(|name| (name != b"..").then_some(name)).collect()
}

/// Rights per path prefix. The longest prefix that covers a path determines its rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(BTreeMap<Prefix, Rights>);

impl Rules {
    /// Sets the rights at and below `prefix`, except below longer prefixes that have their own
    /// rule.
    pub fn set(&mut self, prefix: Prefix, rights: Rights) {
        self.0.insert(prefix, rights);
    }

    /// The rights at a path; no rights if no rule covers it.
    pub fn at(&self, path: &[u8]) -> Rights {
        let Some(names) = components(path) else {
            return Rights::NONE;
        };
        let covering = self.0.iter().filter(|(prefix, _)| prefix.begins(&names));
        covering
            .max_by_key(|(prefix, _)| prefix.as_str().len())
            .map_or(Rights::NONE, |(_, rights)| *rights)
    }

    /// The rights that hold at a path and everywhere below it. To remove or archive a whole
    /// directory, a user needs a right in all of it.
    pub fn throughout(&self, path: &[u8]) -> Rights {
        self.fold_below(path, |rights, own| rights & own)
    }

    /// The rights that hold at a path or somewhere below it.
    pub fn anywhere(&self, path: &[u8]) -> Rights {
        self.fold_below(path, |rights, own| rights | own)
    }

    fn fold_below(&self, path: &[u8], join: impl Fn(Rights, Rights) -> Rights) -> Rights {
        let Some(names) = components(path) else {
            return Rights::NONE;
        };
        let below = |prefix: &Prefix| {
            let mut inner = prefix.components();
            names
                .iter()
                .all(|name| inner.next().is_some_and(|own| own.as_bytes() == *name))
        };
        let inner = self.0.iter().filter(|(prefix, _)| below(prefix));
        inner.fold(self.at(path), |rights, (_, own)| join(rights, *own))
    }

    /// Iterates over the rules, sorted by prefix.
    pub fn iter(&self) -> impl Iterator<Item = (&Prefix, Rights)> {
        self.0.iter().map(|(prefix, rights)| (prefix, *rights))
    }
}

impl FromIterator<(Prefix, Rights)> for Rules {
    fn from_iter<T: IntoIterator<Item = (Prefix, Rights)>>(rules: T) -> Rules {
        Rules(rules.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(text: &str) -> Rights {
        text.parse().unwrap()
    }

    fn rules(rules: &[(&str, &str)]) -> Rules {
        rules
            .iter()
            .map(|(prefix, own)| (prefix.parse().unwrap(), rights(own)))
            .collect()
    }

    #[test]
    fn rights_are_written_as_letters() {
        for (text, back) in [
            ("lrwd", "lrwd"),
            ("dwrl", "lrwd"),
            ("rr", "r"),
            ("w", "w"),
            ("-", "-"),
        ] {
            assert_eq!(rights(text).to_string(), back);
        }
        for text in ["", "x", "lrx", "R", "l r", "l-", "--"] {
            assert!(text.parse::<Rights>().is_err(), "{text}");
        }
        assert!(rights("lr").contain(rights("r")) && !rights("lr").contain(rights("rw")));
        assert!(rights("-").contain(Rights::NONE));
        assert_eq!(!rights("lr"), rights("wd"));
    }

    #[test]
    fn prefixes_are_normalised() {
        for (text, normal) in [
            ("/", "/"),
            (".", "/"),
            ("a", "/a"),
            ("/a//b/./", "/a/b"),
            ("/ü ö", "/ü ö"),
            ("/...", "/..."),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().as_str(), normal);
        }
        for text in ["", "..", "/a/../b", "/a\0", "/a\n", "/\u{1b}[2J"] {
            assert!(text.parse::<Prefix>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_prefix_covers_whole_components_only() {
        for (prefix, path, covered) in [
            ("/", "", true),
            ("/", "/a/b", true),
            ("/a", "a", true),
            ("/a", "/a/", true),
            ("/a", "a/b", true),
            ("/a", "//a//b", true),
            ("/a", "./a", true),
            ("/a", "ab", false),
            ("/a", "/", false),
            ("/a", "b/a", false),
            ("/a", "A", false),
            ("/a", "a/../b", false),
            ("/", "..", false),
            ("/a/b", "a", false),
            ("/a/b", "a/b", true),
            ("/a/b", "a/bc", false),
        ] {
            assert_eq!(
                prefix.parse::<Prefix>().unwrap().covers(path.as_bytes()),
                covered,
                "{prefix} {path}"
            );
        }
        assert!("/a".parse::<Prefix>().unwrap().covers(b"a/\xff"));
    }

    #[test]
    fn the_longest_prefix_decides() {
        let rules = rules(&[
            ("/", "lr"),
            ("/a", "lrw"),
            ("/a/b", "-"),
            ("/a/b/c", "d"),
            ("/abc", "w"),
        ]);
        for (path, expected) in [
            ("", "lr"),
            ("x", "lr"),
            ("a", "lrw"),
            ("a/x/y", "lrw"),
            ("a/b", "-"),
            ("a/b/x", "-"),
            ("a/b/c/x", "d"),
            ("ab", "lr"),
            ("abc", "w"),
            ("x/../a", "-"),
        ] {
            assert_eq!(rules.at(path.as_bytes()), rights(expected), "{path}");
        }
        assert_eq!(Rules::default().at(b"x"), Rights::NONE);
    }

    #[test]
    fn rights_throughout_a_directory_are_those_of_its_poorest_part() {
        let rules = rules(&[("/", "lrd"), ("/a", "lrwd"), ("/a/b", "lr"), ("/ab", "-")]);
        for (path, expected) in [
            ("", "-"),
            ("a", "lr"),
            ("a/x", "lrwd"),
            ("a/b", "lr"),
            ("c", "lrd"),
            ("..", "-"),
        ] {
            assert_eq!(
                rules.throughout(path.as_bytes()),
                rights(expected),
                "{path}"
            );
        }
        for (path, expected) in [
            ("", "lrwd"),
            ("a", "lrwd"),
            ("a/b", "lr"),
            ("ab", "-"),
            ("c", "lrd"),
            ("..", "-"),
        ] {
            assert_eq!(rules.anywhere(path.as_bytes()), rights(expected), "{path}");
        }
    }
}
