//! The hidden folder: each upload has its bytes in `ID.part`, and a record in `ID.json`.
//!
//! Whoever writes a partial upload holds a lock of the system on its bytes. It ends with the
//! process, even one that is killed, and holds between processes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, Metadata};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::record::Record;
use super::{Intent, PARTIALS, StoreError};

/// Times that somebody may remove a file between its opening and its locking before that looks like
/// an attack.
const ATTEMPTS: u32 = 16;
/// More than any record has.
const LONGEST_RECORD: u64 = 64 * 1024;

/// The folder of a store's partial uploads.
#[derive(Debug)]
pub(super) struct Aside(Dir);

impl Aside {
    /// The folder, made if it isn't there.
    pub(super) fn open(root: &Dir) -> io::Result<Aside> {
        if let Some(aside) = Aside::existing(root)? {
            return Ok(aside);
        }
        match mkdirat(root, PARTIALS, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => root.open_dir(PARTIALS).map(Aside),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn existing(root: &Dir) -> io::Result<Option<Aside>> {
        match root.open_dir(PARTIALS) {
            Ok(folder) => Ok(Some(Aside(folder))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn folder(&self) -> &Dir {
        &self.0
    }

    /// The bytes of an upload, locked, and what the system tells of them; `Busy` if somebody else
    /// writes them.
    pub(super) fn lock(&self, id: &str) -> Result<(File, fs::Metadata), StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        self.lock_with(id, flags)?
            .ok_or_else(|| StoreError::Io(io::ErrorKind::NotFound.into()))
    }

    /// As [`lock`](Aside::lock), but `None` if there are no such bytes.
    pub(super) fn lock_existing(
        &self,
        id: &str,
    ) -> Result<Option<(File, fs::Metadata)>, StoreError> {
        self.lock_with(id, OFlags::RDWR)
    }

    fn lock_with(
        &self,
        id: &str,
        flags: OFlags,
    ) -> Result<Option<(File, fs::Metadata)>, StoreError> {
        let name = part(id);
        for _ in 0..ATTEMPTS {
            let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = match openat(&self.0, &name, flags, Mode::from_raw_mode(0o666)) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) if !flags.contains(OFlags::CREATE) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(StoreError::Busy),
                Err(error) => return Err(error.into()),
            }
            // Before it was locked, the file may have been published or removed; then the name
            // means another one.
            let ours = rustix::fs::fstat(&file)?;
            match statat(&self.0, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(now) if now.st_ino == ours.st_ino && now.st_dev == ours.st_dev => {
                    let metadata = file.metadata()?;
                    return Ok(Some((file, metadata)));
                }
                _ => {}
            }
        }
        Err(StoreError::Busy)
    }

    /// How many bytes of an upload there are, and when the last one came; `None` if there are none.
    pub(super) fn part_metadata(&self, id: &str) -> io::Result<Option<(u64, SystemTime)>> {
        match self.0.metadata(part(id)) {
            Ok(metadata) => Ok(Some((metadata.len(), metadata.modified()?.into_std()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the record of an upload, as a whole or not at all.
    pub(super) fn write_record(&self, id: &str, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        let (new, name) = (format!("{id}.new"), json(id));
        self.0.create(&new)?.write_all(&text)?;
        self.0.rename(&new, &self.0, &name)
    }

    pub(super) fn read_record(&self, id: &str) -> Option<Record> {
        let mut text = Vec::new();
        self.0
            .open(json(id))
            .ok()?
            .take(LONGEST_RECORD)
            .read_to_end(&mut text)
            .ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Removes the record, then the bytes: one without bytes tells that they have become a file.
    /// What isn't there is removed already.
    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        let removed = self.remove_record(id);
        unlink(&self.0, &part(id))?;
        removed
    }

    pub(super) fn remove_record(&self, id: &str) -> io::Result<()> {
        unlink(&self.0, &json(id))
    }

    /// The uploads that can be resumed, and the number of bytes of each. `is_expired` is told when
    /// the last byte came.
    pub(super) fn list(
        &self,
        is_expired: impl Fn(SystemTime) -> bool,
    ) -> io::Result<Vec<(Intent, u64)>> {
        let mut found = Vec::new();
        for (id, metadata) in self.parts()? {
            if is_expired(metadata.modified()?.into_std()) {
                continue;
            }
            let intent = self.read_record(&id).and_then(|record| record.intent());
            found.extend(intent.map(|intent| (intent, metadata.len())));
        }
        Ok(found)
    }

    /// Removes what is older than `expiry` and nobody writes; `removed` is told of each upload.
    pub(super) fn sweep(&self, expiry: Duration, removed: impl Fn(&str)) -> io::Result<()> {
        let now = SystemTime::now();
        let is_old = |metadata: &Metadata| {
            let changed = metadata
                .modified()
                .map_or(now, cap_std::time::SystemTime::into_std);
            now.duration_since(changed).unwrap_or_default() >= expiry
        };
        for (id, _) in self
            .parts()?
            .into_iter()
            .filter(|(_, metadata)| is_old(metadata))
        {
            match self.lock_existing(&id) {
                Ok(Some(_locked)) => {
                    log::info!(
                        "a partial upload is removed, as nothing came for {}",
                        humantime::format_duration(expiry)
                    );
                    self.remove(&id)?;
                    removed(&id);
                }
                Ok(None) | Err(StoreError::Busy) => {}
                Err(error) => log::debug!("the partial upload {id} can't be removed: {error}"),
            }
        }
        for entry in self.0.entries()?.flatten() {
            let name = entry.file_name();
            let orphan = name
                .to_str()
                .and_then(|name| name.split_once('.'))
                .is_some_and(|(id, extension)| {
                    extension != "part"
                        && !self.0.exists(part(id))
                        && entry.metadata().is_ok_and(|metadata| is_old(&metadata))
                });
            if orphan {
                self.0.remove_file(name)?;
            }
        }
        Ok(())
    }

    /// Each upload's id, and its bytes' metadata.
    pub(super) fn parts(&self) -> io::Result<Vec<(String, Metadata)>> {
        let mut parts = Vec::new();
        for entry in self.0.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".part"))
                && let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                parts.push((id.to_owned(), metadata));
            }
        }
        Ok(parts)
    }
}

pub(super) fn part(id: &str) -> String {
    format!("{id}.part")
}

fn json(id: &str) -> String {
    format!("{id}.json")
}

fn unlink(folder: &Dir, name: &str) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
