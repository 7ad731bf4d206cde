//! Saves a file that gets its name only when it is complete.

use std::fs::File;
use std::io;

use cap_std::fs::{Dir, OpenOptions};
#[cfg(target_os = "linux")]
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::common::rename::rename_new;

/// A file that is being written, without its final name. If it is dropped before it is published,
/// nothing of it is left.
#[derive(Debug)]
pub(super) struct Unpublished<'a> {
    dir: &'a Dir,
    file: File,
    /// The hidden name; `None` if the file has no name (see [`Unpublished::new`]).
    hidden: Option<String>,
}

impl Unpublished<'_> {
    /// Creates an empty file in `dir`. On Linux it has no name (`O_TMPFILE`) if the file system
    /// supports that, so that nothing is left even if the process is killed.
    pub(super) fn new(dir: &Dir) -> io::Result<Unpublished<'_>> {
        #[cfg(target_os = "linux")]
        if let Ok(unpublished) = Unpublished::nameless(dir) {
            return Ok(unpublished);
        }
        Unpublished::hidden(dir)
    }

    #[cfg(target_os = "linux")]
    fn nameless(dir: &Dir) -> io::Result<Unpublished<'_>> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, ".", flags, Mode::from(0o666))?;
        Ok(Unpublished {
            dir,
            file: File::from(file),
            hidden: None,
        })
    }

    fn hidden(dir: &Dir) -> io::Result<Unpublished<'_>> {
        let name = hidden_name();
        let file = dir.open_with(&name, OpenOptions::new().write(true).create_new(true))?;
        Ok(Unpublished {
            dir,
            file: file.into_std(),
            hidden: Some(name),
        })
    }

    /// Returns the file, to write its content.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Syncs the file to the disk, and then gives it its name. With `force`, an existing file with
    /// the name is replaced. Otherwise it is an error (`AlreadyExists`).
    pub(super) fn publish(mut self, name: &str, force: bool) -> io::Result<()> {
        self.file.sync_all()?;
        // Opened before the file gets its name: after that, a lack of descriptors must not keep the
        // folder from being synced.
        let folder = self.dir.open(".")?;
        match (&self.hidden, force) {
            (None, false) => self.link(name)?,
            (None, true) => {
                // A link cannot replace a file, so the file gets a hidden name first.
                let hidden = hidden_name();
                self.link(&hidden)?;
                rustix::fs::renameat(self.dir, &*self.hidden.insert(hidden), self.dir, name)?;
            }
            (Some(hidden), true) => rustix::fs::renameat(self.dir, hidden, self.dir, name)?,
            (Some(hidden), false) => rename_to_new(self.dir, hidden, name)?,
        }
        self.hidden = None; // the file has left it
        folder.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn link(&self, name: &str) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(
            CWD,
            path,
            self.dir,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    /// On these systems each file has a hidden name from the beginning, so this is not called.
    #[cfg(not(target_os = "linux"))]
    fn link(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Drop for Unpublished<'_> {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            // An error is ignored: the user needs the error of the operation that failed before.
            let _ = self.dir.remove_file(hidden);
        }
    }
}

/// Renames a file, unless the new name exists.
fn rename_to_new(dir: &Dir, old: &str, new: &str) -> io::Result<()> {
    match rename_new(dir, old, dir, new) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        result => return Ok(result?),
    }
    dir.hard_link(old, dir, new)?;
    dir.remove_file(old)
}

/// Returns a hidden name that no other client in the folder uses.
fn hidden_name() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        ".transfer-{}-{}.part",
        std::process::id(),
        now.subsec_nanos()
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use cap_std::ambient_authority;

    use super::*;

    type Make = fn(&Dir) -> io::Result<Unpublished<'_>>;

    /// Runs the check on an empty folder, with each kind of file.
    fn for_each_kind(test: &str, check: impl Fn(&Dir, Make)) {
        for (kind, make) in [
            ("new", Unpublished::new as Make),
            ("hidden", Unpublished::hidden),
        ] {
            let name = format!("socketserver-save-{test}-{kind}-{}", std::process::id());
            let path: PathBuf = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            check(
                &Dir::open_ambient_dir(&path, ambient_authority()).unwrap(),
                make,
            );
            std::fs::remove_dir_all(&path).unwrap();
        }
    }

    fn saved(dir: &Dir, make: Make, force: bool) -> io::Result<()> {
        let mut unpublished = make(dir)?;
        unpublished.file().write_all(b"new")?;
        unpublished.publish("name", force)
    }

    fn names(dir: &Dir) -> Vec<String> {
        dir.entries()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_has_its_name_once_it_is_published() {
        for_each_kind("published", |dir, make| {
            saved(dir, make, false).unwrap();
            assert_eq!(
                (names(dir), dir.read("name").unwrap()),
                (vec!["name".to_owned()], b"new".to_vec())
            );
        });
    }

    #[test]
    fn what_is_there_is_replaced_only_by_force() {
        for_each_kind("force", |dir, make| {
            dir.write("name", "old").unwrap();
            assert_eq!(
                saved(dir, make, false).unwrap_err().kind(),
                io::ErrorKind::AlreadyExists
            );
            assert_eq!(
                (names(dir), dir.read("name").unwrap()),
                (vec!["name".to_owned()], b"old".to_vec())
            );
            saved(dir, make, true).unwrap();
            assert_eq!(
                (names(dir), dir.read("name").unwrap()),
                (vec!["name".to_owned()], b"new".to_vec())
            );
        });
    }

    #[test]
    fn a_file_that_is_not_published_leaves_nothing() {
        for_each_kind("dropped", |dir, make| {
            drop(make(dir).unwrap());
            assert_eq!(names(dir), [""; 0]);
            dir.create_dir("name").unwrap();
            saved(dir, make, true).unwrap_err();
            assert_eq!(names(dir), ["name"]);
        });
    }
}
