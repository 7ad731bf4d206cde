//! Listings: LIST, NLST, MLSD, MLST, and STAT with a path.

mod long;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::fs::{Dir, Metadata, MetadataExt};
use rustix::fs::{AtFlags, FileType, readlinkat, statat};

use super::dates::{Date, seconds_since_1970};
use super::facts::{Fact, Facts};
use super::mount::Volume;
use super::path::VirtualPath;
use super::reply::{Refused, push_printable};
use super::storage::View;
use super::user;
use crate::accounts::Rights;

/// Number of entries that are formatted per turn, before other connections are served.
const ENTRIES_PER_TURN: usize = 256;

/// The format of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As `ls -l` does: LIST, and STAT with a path.
    Long,
    /// Names only: NLST.
    Names,
    /// Facts and a name: MLSD.
    Facts(Facts),
}

/// A listing. Its lines are made while the client receives them.
#[derive(Debug)]
pub struct Listing {
    /// The files that the user sees.
    view: Arc<View>,
    /// The path of the listed directory.
    folder: VirtualPath,
    /// The handle of the listed directory.
    dir: Dir,
    /// The names of the entries that are still to be listed.
    names: std::vec::IntoIter<Vec<u8>>,
    /// The folders that are mounted in this folder. They hide its own entries with the same names.
    mounts: Vec<Volume>,
    format: Format,
    /// For NLST: the path before each name, so that the client can use a line as the argument of
    /// RETR (RFC 1123 §4.1.2.7).
    prefix: Vec<u8>,
    /// When the listing began, in seconds since 1970.
    now: i64,
}

/// The metadata that a listing shows of an entry.
struct Entry {
    kind: FileType,
    mode: u32,
    /// Number of hard links.
    links: u64,
    /// The number of the owner.
    user: u32,
    /// The number of the group.
    group: u32,
    size: u64,
    /// The time of the last change, in seconds since 1970.
    modified: i64,
    device: u64,
    inode: u64,
}

impl Entry {
    fn of(metadata: &Metadata) -> Entry {
        let mode = metadata.mode();
        Entry {
            kind: FileType::from_raw_mode(mode),
            mode,
            links: metadata.nlink(),
            user: metadata.uid(),
            group: metadata.gid(),
            size: metadata.len(),
            modified: metadata.mtime(),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    fn read(dir: &Dir, name: &[u8]) -> io::Result<Entry> {
        let stat = statat(dir, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)?;
        #[allow(
            clippy::unnecessary_cast,
            clippy::useless_conversion,
            reason = "the types differ between systems"
        )]
        Ok(Entry {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: u32::from(stat.st_mode),
            links: stat.st_nlink as u64,
            user: stat.st_uid,
            group: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: stat.st_mtime as i64,
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        })
    }
}

impl Listing {
    /// Lists the entries of a directory, or a single file. `argument` is the path in the client's
    /// command.
    ///
    /// # Errors
    /// 550 if the path does not exist or cannot be opened.
    pub fn open(
        view: &Arc<View>,
        path: &VirtualPath,
        argument: &[u8],
        format: Format,
    ) -> Result<Listing, Refused> {
        let now = seconds_since_1970(SystemTime::now());
        let listing = |folder: VirtualPath, dir, names: Vec<Vec<u8>>, prefix| Listing {
            view: Arc::clone(view),
            mounts: view.mounts_in(&folder).cloned().collect(),
            folder,
            dir,
            names: names.into_iter(),
            format,
            prefix,
            now,
        };
        // If the target of a link does not exist, or is outside of the home directory, the listing
        // shows the link itself.
        let metadata = view
            .metadata(path)
            .or_else(|_| view.symlink_metadata(path))?;
        if metadata.is_dir() {
            let dir = view.open_dir(path)?;
            let names = names(view, path, &dir)?;
            let prefix = prefix(argument, true);
            return Ok(listing(path.clone(), dir, names, prefix));
        }
        let folder = path.parent();
        let dir = view.open_dir(&folder)?;
        let name = path.name().unwrap_or_default().to_vec();
        Ok(listing(folder, dir, vec![name], prefix(argument, false)))
    }

    /// Lists the entries of a directory. Their names must match a pattern with `*`, `?` and
    /// `[...]`.
    ///
    /// # Errors
    /// 550 if the directory cannot be opened, or no name matches.
    pub fn matching(
        view: &Arc<View>,
        folder: &VirtualPath,
        (pattern, argument): (&[u8], &[u8]),
        format: Format,
    ) -> Result<Listing, Refused> {
        let mut listing = Listing::open(view, folder, b"", format)?;
        let fitting = listing
            .names
            .filter(|name| super::glob::is_match(pattern, name));
        let fitting: Vec<_> = fitting.collect();
        if fitting.is_empty() {
            return Err(Refused::new(550, "No such file or directory."));
        }
        listing.names = fitting.into_iter();
        listing.prefix = prefix(argument, false);
        Ok(listing)
    }

    /// Appends the next lines to `to`. Returns false if there are no further lines.
    pub fn next_lines(&mut self, to: &mut Vec<u8>) -> bool {
        for _ in 0..ENTRIES_PER_TURN {
            let Some(name) = self.names.next() else {
                return false;
            };
            match self.format {
                Format::Names => {
                    push_printable(&self.prefix, to);
                    push_printable(&name, to);
                    to.extend_from_slice(b"\r\n");
                }
                Format::Long => self.push_long(&name, to),
                Format::Facts(facts) => self.push_facts(facts, &name, to),
            }
        }
        true
    }

    fn entry(&self, name: &[u8]) -> io::Result<Entry> {
        let mount = self
            .mounts
            .iter()
            .find(|mount| mount.at.name() == Some(name));
        match mount {
            Some(mount) => Ok(Entry::of(&mount.folder()?.dir.dir_metadata()?)),
            None => Entry::read(&self.dir, name),
        }
    }

    fn push_long(&self, name: &[u8], to: &mut Vec<u8>) {
        // An entry that was removed since the listing began is not shown.
        let Ok(entry) = self.entry(name) else {
            return;
        };
        long::push_attributes(&entry, self.now, to);
        push_printable(name, to);
        if entry.kind == FileType::Symlink
            && let Ok(target) = readlinkat(&self.dir, OsStr::from_bytes(name), Vec::new())
        {
            to.extend_from_slice(b" -> ");
            push_printable(target.as_bytes(), to);
        }
        to.extend_from_slice(b"\r\n");
    }

    fn push_facts(&self, facts: Facts, name: &[u8], to: &mut Vec<u8>) {
        let Ok(mut entry) = self.entry(name) else {
            return;
        };
        let path = self.folder.child(name);
        if entry.kind == FileType::Symlink {
            // The listing shows the facts of the target. It leaves out the link if the user cannot
            // reach the target, or must not see it.
            let is_seen = self.view.check(&path, Rights::LIST).is_ok();
            let Some(target) = self.view.metadata(&path).ok().filter(|_| is_seen) else {
                return;
            };
            entry = Entry::of(&target);
        }
        push_facts(&self.view, facts, &path, &entry, to);
        push_printable(name, to);
        to.extend_from_slice(b"\r\n");
    }
}

/// The line of MLST: the facts and the whole path.
///
/// # Errors
/// 550 if the path does not exist.
pub fn describe(view: &View, path: &VirtualPath, facts: Facts) -> Result<Vec<u8>, Refused> {
    let metadata = view.metadata(path)?;
    let mut line = b" ".to_vec();
    push_facts(view, facts, path, &Entry::of(&metadata), &mut line);
    push_printable(path.as_bytes(), &mut line);
    Ok(line)
}

/// Appends the facts, each followed by `;`, and the space before the name.
fn push_facts(view: &View, facts: Facts, path: &VirtualPath, entry: &Entry, to: &mut Vec<u8>) {
    let is_directory = entry.kind == FileType::Directory;
    let mut push = |fact: Fact, text: &dyn Fn() -> String| {
        if facts.has(fact) {
            to.extend_from_slice(text().as_bytes());
        }
    };
    let kind = match entry.kind {
        FileType::Directory => "dir",
        FileType::RegularFile => "file",
        FileType::Symlink => "OS.unix=symlink",
        _ => "OS.unix=special",
    };
    push(Fact::Type, &|| format!("type={kind};"));
    push(Fact::Perm, &|| {
        format!("perm={};", user::perm(view.rights(path), is_directory))
    });
    push(Fact::Size, &|| format!("size={};", entry.size));
    push(Fact::Modify, &|| {
        format!("modify={};", Date::of_seconds(entry.modified))
    });
    push(Fact::Unique, &|| {
        format!("unique={:x}g{:x};", entry.device, entry.inode)
    });
    push(Fact::UnixMode, &|| {
        format!("unix.mode=0{:o};", entry.mode & 0o7777)
    });
    push(Fact::UnixUid, &|| format!("unix.uid={};", entry.user));
    push(Fact::UnixGid, &|| format!("unix.gid={};", entry.group));
    to.push(b' ');
}

/// The names in a directory that the user may see, sorted.
fn names(view: &View, path: &VirtualPath, dir: &Dir) -> io::Result<Vec<Vec<u8>>> {
    let real = match view.user.is_uniform() {
        true => None,
        false => view.resolve(path),
    };
    let real = real.as_ref().unwrap_or(path);
    let mut names = Vec::new();
    for entry in dir.entries()? {
        let name = entry?.file_name().as_bytes().to_vec();
        if view.shows(path, real, &name) {
            names.push(name);
        }
    }
    for mount in view.mounts_in(path) {
        let name = mount.at.name().unwrap_or_default();
        // A mounted folder that cannot be opened is not listed.
        if mount.folder().is_ok() && view.shows(path, path, name) {
            names.push(name.to_vec());
        } else {
            names.retain(|own| own != name);
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Makes the prefix of each name of NLST: the directory in the client's command. So the client can
/// use the lines as arguments of RETR.
fn prefix(argument: &[u8], is_directory: bool) -> Vec<u8> {
    let end = match argument {
        b"" | b"." | b"./" => return Vec::new(),
        _ if is_directory && argument.ends_with(b"/") => return argument.to_vec(),
        _ if is_directory => return [argument, b"/"].concat(),
        _ => argument.iter().rposition(|byte| *byte == b'/'),
    };
    end.map_or_else(Vec::new, |end| argument[..=end].to_vec())
}

/// The argument of LIST without the options of `ls`, which clients send before the path.
pub fn without_options(argument: &[u8]) -> &[u8] {
    let mut rest = argument;
    while let Some(word) = rest.strip_prefix(b"-") {
        let end = word.iter().position(|byte| *byte == b' ');
        let (options, after) = match end {
            Some(end) => (&word[..end], &word[end + 1..]),
            None => (word, &b""[..]),
        };
        if options == b"-" {
            return after;
        }
        if options.is_empty() || !options.iter().all(u8::is_ascii_alphanumeric) {
            break;
        }
        rest = after;
    }
    rest
}

/// The check of the fuzzer: the path is the end of the argument, and any pattern can be matched
/// with any name.
#[doc(hidden)]
pub fn check(argument: &[u8]) {
    let rest = without_options(argument);
    assert!(argument.ends_with(rest));
    let (pattern, name) = argument.split_at(argument.len() / 2);
    assert!(super::glob::is_match(b"*", name) || name.starts_with(b"."));
    let _ = super::glob::is_match(pattern, name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_before_the_path_are_dropped() {
        for (argument, path) in [
            ("", ""),
            ("-a", ""),
            ("-la", ""),
            ("-a -l x y", "x y"),
            ("-la /tmp", "/tmp"),
            ("-- -x", "-x"),
            ("x -a", "x -a"),
            ("-", "-"),
            ("- x", "- x"),
            ("-a/b", "-a/b"),
            ("-1", ""),
        ] {
            assert_eq!(
                without_options(argument.as_bytes()),
                path.as_bytes(),
                "{argument}"
            );
        }
    }

    #[test]
    fn names_of_nlst_can_be_used_as_they_are() {
        for (argument, is_directory, expected) in [
            ("", true, ""),
            (".", true, ""),
            ("d", true, "d/"),
            ("d/", true, "d/"),
            ("/", true, "/"),
            ("d/f", false, "d/"),
            ("f", false, ""),
            ("/f", false, "/"),
        ] {
            let prefix = prefix(argument.as_bytes(), is_directory);
            assert_eq!(prefix, expected.as_bytes(), "{argument}");
        }
    }
}
