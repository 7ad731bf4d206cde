//! A file that appears under its name only when it is whole.

use std::fs::File;
use std::io;

use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// A file that is being written, without its final name. Dropped before it is published, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Unpublished<'a> {
    dir: &'a Dir,
    file: File,
    /// The hidden name, on systems where a file must have one.
    hidden: Option<String>,
}

impl<'a> Unpublished<'a> {
    /// Makes an empty file in `dir`. On Linux it has no name at all (`O_TMPFILE`), so that even a kill leaves nothing, if the file system can do that.
    pub(super) fn new(dir: &'a Dir) -> io::Result<Unpublished<'a>> {
        #[cfg(target_os = "linux")]
        if let Ok(file) =
            rustix::fs::openat(dir, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from(0o666))
        {
            return Ok(Unpublished { dir, file: File::from(file), hidden: None });
        }
        let name = hidden_name();
        let file = dir.open_with(&name, OpenOptions::new().write(true).create_new(true))?;
        Ok(Unpublished { dir, file: file.into_std(), hidden: Some(name) })
    }

    /// Where the content goes.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name, once it is on the disk. What had that name is replaced with `force`, else it is an error (`AlreadyExists`).
    pub(super) fn publish(mut self, name: &str, force: bool) -> io::Result<()> {
        self.file.sync_all()?;
        match (&self.hidden, force) {
            (None, false) => self.link(name)?,
            (None, true) => {
                // A link can't replace a file: it takes a name of its own first.
                let hidden = hidden_name();
                self.link(&hidden)?;
                rustix::fs::renameat(self.dir, &*self.hidden.insert(hidden), self.dir, name)?;
            }
            (Some(hidden), true) => rustix::fs::renameat(self.dir, hidden, self.dir, name)?,
            (Some(hidden), false) => rename_to_new(self.dir, hidden, name)?,
        }
        self.hidden = None; // the file has left it
        self.dir.open(".")?.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn link(&self, name: &str) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, path, self.dir, name, AtFlags::SYMLINK_FOLLOW)?)
    }
}

impl Drop for Unpublished<'_> {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            // The failure that brought us here is what the user must know.
            let _ = self.dir.remove_file(hidden);
        }
    }
}

/// Renames, unless there is something with the new name.
fn rename_to_new(dir: &Dir, old: &str, new: &str) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::renameat_with(dir, old, dir, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        result => return Ok(result?),
    }
    dir.hard_link(old, dir, new)?;
    dir.remove_file(old)
}

/// A name that two clients in one folder don't share.
fn hidden_name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!(".transfer-{}-{}.part", std::process::id(), now.subsec_nanos())
}
