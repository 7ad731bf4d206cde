//! The lines of `ls -l`: LIST, and STAT with a path.
//!
//! A folder may have many thousand entries, and LIST formats each of them. So the lines are made
//! without `format!`, which took a third of the time of a listing.

use rustix::fs::FileType;

use super::Entry;
use crate::ftp::dates::Date;
use crate::ftp::decimal::{push_left, push_right};

/// Appends the columns before the name: type and permissions, number of links, owner, group, size
/// and date.
pub(super) fn push_attributes(entry: &Entry, now: i64, to: &mut Vec<u8>) {
    to.extend_from_slice(&mode_text(entry.kind, entry.mode));
    to.push(b' ');
    push_right(entry.links, 3, b' ', to);
    to.push(b' ');
    push_left(u64::from(entry.user), 8, to);
    to.push(b' ');
    push_left(u64::from(entry.group), 8, to);
    to.push(b' ');
    push_right(entry.size, 8, b' ', to);
    to.push(b' ');
    Date::push_for_list(entry.modified, now, to);
    to.push(b' ');
}

/// The type and the permissions of an entry as `ls -l` shows them: `drwxr-xr-x`.
fn mode_text(kind: FileType, mode: u32) -> [u8; 10] {
    let kind = match kind {
        FileType::Directory => b'd',
        FileType::Symlink => b'l',
        FileType::Fifo => b'p',
        FileType::Socket => b's',
        FileType::CharacterDevice => b'c',
        FileType::BlockDevice => b'b',
        _ => b'-',
    };
    let mut text = [kind; 10];
    let classes = [(6, 0o4000, b's'), (3, 0o2000, b's'), (0, 0o1000, b't')];
    for ((shift, special, letter), text) in classes.into_iter().zip(text[1..].chunks_mut(3)) {
        let bits = mode >> shift;
        text[0] = if bits & 4 != 0 { b'r' } else { b'-' };
        text[1] = if bits & 2 != 0 { b'w' } else { b'-' };
        text[2] = match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => b'x',
            (false, false) => b'-',
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_ls() {
        for (mode, text) in [
            (0o755, b"-rwxr-xr-x"),
            (0o4755, b"-rwsr-xr-x"),
            (0o2745, b"-rwxr-Sr-x"),
            (0o1777, b"-rwxrwxrwt"),
            (0, b"----------"),
        ] {
            assert_eq!(&mode_text(FileType::RegularFile, mode), text);
        }
        assert!(mode_text(FileType::Directory, 0o700).starts_with(b"drwx------"));
    }

    #[test]
    fn columns_are_those_of_ls_and_grow_with_long_numbers() {
        let mut entry = Entry {
            kind: FileType::RegularFile,
            mode: 0o644,
            links: 1,
            user: 0,
            group: 1000,
            size: 4096,
            modified: 1_000_000_000,
            device: 1,
            inode: 1,
        };
        let line = |entry: &Entry| {
            let mut line = Vec::new();
            push_attributes(entry, 1_000_000_000, &mut line);
            String::from_utf8(line).unwrap()
        };
        let short = "-rw-r--r--   1 0        1000         4096 Sep 09 01:46 ";
        assert_eq!(line(&entry), short);
        (entry.links, entry.user, entry.group) = (12_345, u32::MAX, 123_456_789);
        entry.size = u64::MAX;
        let long = "-rw-r--r-- 12345 4294967295 123456789 18446744073709551615 Sep 09 01:46 ";
        assert_eq!(line(&entry), long);
    }
}
