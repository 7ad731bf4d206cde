//! Registered uploads: a client registers an upload, gets its id, and sends the bytes in pieces
//! over any number of connections.
//!
//! The id cannot be guessed, because it depends on 128 random bits. A registered upload exists
//! before its first byte, and survives a restart of the server. After it has become a file, its
//! record is kept for a while, for a client that did not receive the response.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use super::background::is_past;
use super::partial::Begin;
use super::record::Record;
use super::staging::{Staging, part};
use super::{Intent, Name, OnDuplicate, Partial, Store, StoreError, unshared};

/// The state of a registered upload.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The announced properties of the file.
    pub intent: Intent,
    /// The progress of the upload.
    pub progress: Progress,
}

/// The progress of a registered upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The upload is not complete, or not published yet.
    Partial {
        /// Number of bytes received so far.
        offset: u64,
        /// Time when the upload is removed, unless more bytes are received before.
        expires: Option<SystemTime>,
    },
    /// The upload has become a file with this name; `None` if the server was killed before it could
    /// record the name.
    Stored(Option<Name>),
}

impl Store {
    /// Registers an upload of a known size. The memo of the intent is stored with it, and its owner
    /// is replaced by a random one.
    ///
    /// # Errors
    /// As for [`begin`](Store::begin).
    pub fn register(
        &self,
        intent: Intent,
        on_duplicate: OnDuplicate,
    ) -> Result<Partial, StoreError> {
        let intent = Intent {
            memo: Some(intent.memo.clone().unwrap_or_default()),
            ..unshared(intent)?
        };
        self.sweep_now_and_then();
        if self.has_partials(self.0.max_partials) {
            return Err(StoreError::TooManyPartials);
        }
        let mut partial = self.start(intent, on_duplicate, Begin::Registered)?;
        if let Err(error) = partial
            .staging
            .write_record(&partial.id, &Record::of(&partial.intent))
        {
            partial.discard()?;
            return Err(error.into());
        }
        partial.recorded = true;
        Ok(partial)
    }

    /// Returns the state of the upload with this id; `None` if there is none.
    ///
    /// # Errors
    /// Those of the system.
    pub fn registered(&self, id: &str) -> io::Result<Option<Registered>> {
        let Some(staging) = self.staging_for(id)? else {
            return Ok(None);
        };
        // The bytes are looked up before the record. If they become a file in between, the record
        // shows it.
        let part = staging.part_metadata(id)?;
        let Some((record, intent)) = read(&staging, id) else {
            return Ok(None);
        };
        let progress = match part {
            Some((length, modified)) => {
                let expires = self.expiry(modified);
                if is_past(expires) {
                    return Ok(None);
                }
                let offset = length.min(record.checked.unwrap_or(u64::MAX));
                Progress::Partial { offset, expires }
            }
            None => Progress::Stored(record.stored()),
        };
        Ok(Some(Registered { intent, progress }))
    }

    /// Resumes a registered upload.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another connection sends it; `NoSpace`; those of the system,
    /// including `NotFound`.
    pub fn resume_registered(&self, id: &str) -> Result<Partial, StoreError> {
        self.sweep_now_and_then();
        let staging = self.staging_for(id)?.ok_or_else(not_found)?;
        let (file, metadata) = staging.lock_existing(&part(id))?.ok_or_else(not_found)?;
        let (record, intent) = read(&staging, id).ok_or_else(not_found)?;
        if is_past(self.expiry(metadata.modified()?)) {
            return Err(not_found());
        }
        let there = metadata.len().min(record.checked.unwrap_or(u64::MAX));
        if record.checked.is_some() {
            file.set_len(there)?;
            staging.write_record(id, &Record::of(&intent))?;
        }
        // `publish` resolves name conflicts. Until then assume that the old file is replaced, which
        // favours the user's quota.
        let reservation = self.reserve(&intent, metadata.ino(), there, true, true)?;
        let mut partial = Partial::of(self.clone(), staging, intent, file, reservation);
        partial.recorded = true;
        partial.continue_at(there);
        Ok(partial)
    }

    /// Removes a registered upload. If it has become a file, the file stays.
    ///
    /// # Errors
    /// As for [`resume_registered`](Store::resume_registered).
    pub fn give_up(&self, id: &str) -> Result<(), StoreError> {
        let staging = self.staging_for(id)?.ok_or_else(not_found)?;
        let _locked = staging.lock_existing(&part(id))?;
        read(&staging, id).ok_or_else(not_found)?;
        staging.remove(id)?;
        self.release(id);
        Ok(())
    }

    /// The hidden folder of the upload with this id; `None` if the id is malformed or the folder
    /// does not exist.
    fn staging_for(&self, id: &str) -> io::Result<Option<Arc<Staging>>> {
        let is_id = id.len() == 32
            && id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_id {
            self.existing_staging()
        } else {
            Ok(None)
        }
    }

    /// Returns the time when an upload expires, if its last byte was received at `last`.
    pub(super) fn expiry(&self, last: SystemTime) -> Option<SystemTime> {
        last.checked_add(self.0.partial_expiry)
    }
}

impl Partial {
    /// The id of the upload, if it is registered.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The time when the upload expires, unless more bytes are received before.
    ///
    /// # Errors
    /// Those of the system.
    pub fn expires(&self) -> io::Result<Option<SystemTime>> {
        Ok(self.store.expiry(self.file.metadata()?.modified()?))
    }

    /// Records the name of the file that the upload has become.
    pub(super) fn remember(&self, name: &Name) {
        let mut record = Record::of(&self.intent);
        record.set_stored(name);
        if let Err(error) = self.staging.write_record(&self.id, &record) {
            log::debug!("cannot record that {name} is stored: {error}");
        }
        self.store.trim_records_now_and_then(&self.staging);
    }
}

fn not_found() -> StoreError {
    StoreError::Io(io::ErrorKind::NotFound.into())
}

/// The record of a registered upload.
fn read(staging: &Staging, id: &str) -> Option<(Record, Intent)> {
    let record = staging.read_record(id)?;
    let intent = record.intent()?;
    (intent.memo.is_some() && intent.id() == id).then_some((record, intent))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::common::store::tests::{Folder, code, intent};

    fn offset(store: &Store, id: &str) -> Option<u64> {
        match store.registered(id).unwrap()?.progress {
            Progress::Partial { offset, .. } => Some(offset),
            Progress::Stored(_) => None,
        }
    }

    #[test]
    fn a_registered_upload_is_found_by_its_id_alone() {
        let folder = Folder::new();
        let store = folder.store();
        let partial = store.register(intent("a", 3), OnDuplicate::Error).unwrap();
        let id = partial.id().to_owned();
        assert_eq!(
            (code(store.resume_registered(&id)), offset(&store, &id)),
            ("busy", Some(0))
        );
        drop(partial);
        store.resume_registered(&id).unwrap().write(b"ab").unwrap();
        assert_eq!(offset(&folder.store(), &id), Some(2));
        let mut partial = store.resume_registered(&id).unwrap();
        partial.write(b"c").unwrap();
        assert_eq!(code(partial.publish(OnDuplicate::Error)), "ok");
        assert_eq!(folder.read("a").unwrap(), b"abc");
        let stored = Progress::Stored(Some(Name::path("a").unwrap()));
        assert_eq!(store.registered(&id).unwrap().unwrap().progress, stored);
        store.give_up(&id).unwrap();
        assert!(store.registered(&id).unwrap().is_none());
    }

    #[test]
    fn uploads_of_other_protocols_and_names_that_are_no_ids_are_not_found() {
        let folder = Folder::new();
        let store = folder.store();
        let mut other = store.begin(intent("a", 3), OnDuplicate::Error).unwrap();
        other.write(b"ab").unwrap();
        let id = other.id().to_owned();
        drop(other);
        for id in [&*id, "", "../a", &id.to_uppercase(), &id[1..]] {
            assert!(
                store.registered(id).unwrap().is_none() && store.resume_registered(id).is_err(),
                "{id}"
            );
            assert!(store.give_up(id).is_err(), "{id}");
        }
        assert_eq!(store.partials().unwrap().len(), 1);
    }

    #[test]
    fn an_expired_upload_is_not_found_and_swept() {
        let folder = Folder::new();
        let id = folder
            .store()
            .register(intent("a", 3), OnDuplicate::Error)
            .unwrap()
            .id()
            .to_owned();
        let store = folder.store_with(|options| options.partial_expiry = Duration::from_nanos(1));
        assert!(store.registered(&id).unwrap().is_none() && store.resume_registered(&id).is_err());
        assert!(folder.names().is_empty());
    }
}
