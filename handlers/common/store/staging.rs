//! The hidden folder. An upload that can be resumed has its bytes in `ID.part` and a record in
//! `ID.json`. Any other upload has its bytes in `ID.tmp`. `ID.note` is a [`note`](super::note).
//!
//! The writer of an upload holds a lock of the system on its bytes. The lock also holds against
//! other processes, and ends with the process, even if it is killed. So a file `ID.tmp` without a
//! lock is left over from a killed server.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, Metadata};
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, Stat, flock, fstat, mkdirat, openat, statat, unlinkat,
};
use rustix::io::Errno;

use super::record::Record;
use super::{Intent, PARTIALS, StoreError};
use crate::common::duration;

/// Maximum number of attempts to lock a file. An attempt fails if the file is removed after it was
/// opened. Only an attack causes this many failures.
const MAX_ATTEMPTS: u32 = 16;
/// Maximum size of a record.
const MAX_RECORD: u64 = 64 * 1024;

/// The folder of a store's partial uploads.
#[derive(Debug)]
pub(super) struct Staging {
    folder: Dir,
    identity: Identity,
}

/// Device and inode.
type Identity = (u64, u64);

#[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
fn identity(found: &Stat) -> Identity {
    (found.st_dev as u64, found.st_ino as u64)
}

impl Staging {
    /// Opens the hidden folder, and creates it if it is missing.
    pub(super) fn open(root: &Dir) -> io::Result<Staging> {
        if let Some(staging) = Staging::existing(root)? {
            return Ok(staging);
        }
        match mkdirat(root, PARTIALS, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Staging::of(root.open_dir(PARTIALS)?),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn existing(root: &Dir) -> io::Result<Option<Staging>> {
        match root.open_dir(PARTIALS) {
            Ok(folder) => Staging::of(folder).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn of(folder: Dir) -> io::Result<Staging> {
        let identity = identity(&fstat(&folder)?);
        Ok(Staging { folder, identity })
    }

    /// Whether this folder is still the hidden folder of the root.
    pub(super) fn is_in(&self, root: &Dir) -> bool {
        let there = statat(root, PARTIALS, AtFlags::empty());
        there.is_ok_and(|there| identity(&there) == self.identity)
    }

    pub(super) fn folder(&self) -> &Dir {
        &self.folder
    }

    /// Opens and locks a file, which is created if it is missing. Returns it with its metadata;
    /// `Busy` if another writer has locked it.
    pub(super) fn lock(&self, name: &str) -> Result<(File, fs::Metadata), StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        self.lock_with(name, flags)?
            .ok_or_else(|| StoreError::Io(io::ErrorKind::NotFound.into()))
    }

    /// As [`lock`](Staging::lock), but `None` if there is no such file.
    pub(super) fn lock_existing(
        &self,
        name: &str,
    ) -> Result<Option<(File, fs::Metadata)>, StoreError> {
        self.lock_with(name, OFlags::RDWR)
    }

    fn lock_with(
        &self,
        name: &str,
        flags: OFlags,
    ) -> Result<Option<(File, fs::Metadata)>, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = match openat(&self.folder, name, flags, Mode::from_raw_mode(0o666)) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) if !flags.contains(OFlags::CREATE) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(StoreError::Busy),
                Err(error) => return Err(error.into()),
            }
            // The file may have been published or removed before it was locked. Then the name
            // refers to another file.
            let metadata = file.metadata()?;
            let ours = (metadata.dev(), metadata.ino());
            let now = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW);
            if now.is_ok_and(|now| identity(&now) == ours) {
                return Ok(Some((file, metadata)));
            }
        }
        Err(StoreError::Busy)
    }

    /// The number of bytes of an upload, and the time when the last one was written. `None` if the
    /// upload has no file.
    pub(super) fn part_metadata(&self, id: &str) -> io::Result<Option<(u64, SystemTime)>> {
        match self.folder.metadata(part(id)) {
            Ok(metadata) => Ok(Some((metadata.len(), metadata.modified()?.into_std()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the record of an upload atomically.
    pub(super) fn write_record(&self, id: &str, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        let (new, name) = (format!("{id}.new"), json(id));
        let written = self
            .folder
            .create(&new)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| self.folder.rename(&new, &self.folder, &name));
        if written.is_err() {
            // If the disk is full, the incomplete record is removed. The caller gets the first
            // error, and an error of the removal is ignored.
            let _ = unlink(&self.folder, &new);
        }
        written
    }

    pub(super) fn read_record(&self, id: &str) -> Option<Record> {
        let mut text = Vec::new();
        self.folder
            .open(json(id))
            .ok()?
            .take(MAX_RECORD)
            .read_to_end(&mut text)
            .ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Removes the record of an upload first, and then its bytes, because a record without bytes
    /// means that the upload has become a file. A missing file is not an error.
    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        let removed = self.remove_record(id);
        unlink(&self.folder, &part(id))?;
        removed
    }

    /// Removes a file, such as that of an upload without a record.
    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        unlink(&self.folder, name)
    }

    pub(super) fn remove_record(&self, id: &str) -> io::Result<()> {
        unlink(&self.folder, &json(id))
    }

    /// Lists the uploads that can be resumed, with their number of bytes. `is_expired` gets the
    /// time of the last byte.
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

    /// Removes the uploads whose last byte is older than `expiry` and that no connection writes,
    /// and the files that killed servers left. `removed` is called with the id of each resumable
    /// upload that was removed.
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
            match self.lock_existing(&part(&id)) {
                Ok(Some(_locked)) => {
                    log::info!(
                        "a partial upload is removed, as nothing came for {}",
                        duration::Shown(expiry)
                    );
                    self.remove(&id)?;
                    removed(&id);
                }
                Ok(None) | Err(StoreError::Busy) => {}
                Err(error) => log::debug!("the partial upload {id} can't be removed: {error}"),
            }
        }
        for entry in self.folder.entries()?.flatten() {
            let name = entry.file_name();
            let Some((id, extension)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            match extension {
                "tmp" => self.remove_left_over(&tmp(id)),
                "json" | "new"
                    if !self.folder.exists(part(id))
                        && entry.metadata().is_ok_and(|metadata| is_old(&metadata)) =>
                {
                    unlink(&self.folder, &format!("{id}.{extension}"))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes a file without a lock: its upload cannot be resumed.
    pub(super) fn remove_left_over(&self, name: &str) {
        if let Ok(Some(_locked)) = self.lock_existing(name)
            && let Err(error) = unlink(&self.folder, name)
        {
            log::debug!("cannot remove {name}, which a killed server left: {error}");
        }
    }

    /// Counts the uploads that can be resumed, up to `most`.
    pub(super) fn count_parts(&self, most: usize) -> io::Result<usize> {
        let is_part = |entry: &io::Result<cap_std::fs::DirEntry>| {
            entry
                .as_ref()
                .is_ok_and(|entry| entry.file_name().as_encoded_bytes().ends_with(b".part"))
        };
        Ok(self.folder.entries()?.filter(is_part).take(most).count())
    }

    /// Removes the oldest records of uploads that have become files, so that at most `most` remain.
    pub(super) fn trim_records(&self, most: usize) -> io::Result<()> {
        let mut records = Vec::new();
        for entry in self.folder.entries()?.flatten() {
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json"))
                && !self.folder.exists(part(id))
                && let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified())
            {
                records.push((modified.into_std(), id.to_owned()));
            }
        }
        records.sort();
        let surplus = records.len().saturating_sub(most);
        let mut surplus = records.iter().take(surplus);
        surplus.try_for_each(|(_, id)| self.remove_record(id))
    }

    /// Returns the id of each upload, and the metadata of its bytes.
    pub(super) fn parts(&self) -> io::Result<Vec<(String, Metadata)>> {
        let mut parts = Vec::new();
        for entry in self.folder.entries()? {
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

/// The name of the file with the bytes of an upload that cannot be resumed.
pub(super) fn tmp(id: &str) -> String {
    format!("{id}.tmp")
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
