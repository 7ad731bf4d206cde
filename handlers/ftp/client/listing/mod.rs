//! The entries of a folder on the server. The client uses MLSD if the server has it, otherwise
//! LIST.

pub(super) mod list;
pub(super) mod mlsd;

use std::time::SystemTime;

use super::path::check_name;

/// The kind of an entry of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A symbolic link. The client never follows a link in a listing of the server, and never makes
    /// a link.
    Link,
    /// A device, a socket or another special file.
    Other,
}

/// An entry of a folder on this machine or on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// The length of a file in bytes; `None` for other entries, or if the listing has no length.
    pub(super) size: Option<u64>,
    /// When the entry was last changed; `None` if the listing has no time.
    pub(super) modified: Option<SystemTime>,
    /// Whether `modified` is exact to the second. A time of LIST is not, because LIST leaves out
    /// the seconds or the time of day, and does not name its time zone.
    pub(super) is_exact: bool,
}

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Entry(Vec<u8>, Entry),
    /// The folder itself, its parent, or a line without an entry.
    Nothing,
    /// A line that cannot be understood.
    Unknown,
}

/// Checks that a name from a server can be the name of a file in the local folder.
///
/// # Errors
/// A message that says why the name is refused. A `/` or `..` would lead out of the folder.
pub(super) fn check_entry(name: &[u8]) -> Result<(), String> {
    match name {
        b"" => Err("its name is empty".to_owned()),
        b"." | b".." => Err("`.` and `..` are not names of files".to_owned()),
        name if name.contains(&b'/') => Err("its name holds a `/`".to_owned()),
        name => check_name(name),
    }
}

/// A line without its LF or CRLF.
pub(super) fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in [
            "",
            ".",
            "..",
            "/",
            "a/b",
            "../a",
            "/etc/passwd",
            "a\r",
            "a\nb",
            "a\0",
        ] {
            assert!(check_entry(name.as_bytes()).is_err(), "{name:?}");
        }
        for name in ["a", "...", " ", "-rf", "a\\b", "a;b", "\u{e9}"] {
            assert_eq!(check_entry(name.as_bytes()), Ok(()), "{name:?}");
        }
    }
}
