//! What a folder on the server holds: MLSD where the server has it, otherwise LIST.

pub(super) mod list;
pub(super) mod mlsd;

use std::time::SystemTime;

use super::path::check_name;

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A symbolic link. The client never follows one that the server names, and never makes one.
    Link,
    /// A device, a socket and the like.
    Other,
}

/// An entry of a folder, here or on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Its length in bytes, if it is a file and the listing has the length.
    pub(super) size: Option<u64>,
    /// When it was last changed, if the listing says so.
    pub(super) modified: Option<SystemTime>,
    /// Whether `modified` is exact to the second. LIST leaves out seconds or the time of day, and
    /// does not name its time zone.
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

/// Whether a name from a server may become a file in the local folder.
///
/// # Errors
/// Why not. A `/` or `..` would lead out of the folder.
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
