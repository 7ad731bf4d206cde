//! Resumes an upload through another protocol than the one that began it. Each protocol announces
//! other properties of a file, so the upload is found by its name.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::io::Errno;

use super::background::is_past;
use super::record::Record;
use super::staging::{Staging, part};
use super::{Intent, Name, OnDuplicate, Partial, Store, StoreError};
use crate::common::digest::Hasher;
use crate::common::rename::rename_new;

/// An upload in the hidden folder that may be resumed.
struct Candidate {
    id: String,
    intent: Intent,
    bytes: u64,
    modified: SystemTime,
}

impl Store {
    /// Resumes the newest upload to this name, whichever protocol began it, with the size and
    /// digests that were announced then; `None` if there is none. Only uploads that count for the
    /// same user are found.
    ///
    /// The digests may have to be brought up to date: [`Partial::catch_up`].
    ///
    /// # Errors
    /// [`StoreError::Busy`] while it is being sent; otherwise as for [`begin`](Store::begin).
    pub fn resume_by_name(
        &self,
        name: &Name,
        quota_user: Option<&str>,
        on_duplicate: OnDuplicate,
    ) -> Result<Option<Partial>, StoreError> {
        self.sweep_now_and_then();
        let name = Name::of_bytes(&self.resolve_parent(name.as_bytes())?)?;
        let Some(staging) = self.existing_staging()? else {
            return Ok(None);
        };
        let candidates = self.candidates(&staging, &name, quota_user)?;
        let Some(found) = newest(candidates) else {
            return Ok(None);
        };
        let Some((file, metadata)) = staging.lock_existing(&part(&found.id))? else {
            return Ok(None);
        };
        let replaces = on_duplicate == OnDuplicate::Overwrite;
        let (inode, there) = (metadata.ino(), metadata.len());
        let is_kept = found.intent.memo.is_some();
        let reservation = self.reserve(&found.intent, inode, there, replaces, is_kept)?;
        let mut partial = Partial::of(self.clone(), staging, found.intent, file, reservation);
        partial.recorded = true;
        partial.continue_at(there);
        Ok(Some(partial))
    }

    /// The number of bytes of the upload that [`resume_by_name`](Store::resume_by_name) would
    /// resume; `None` if there is none.
    ///
    /// # Errors
    /// Those of the system.
    pub fn partial_size(
        &self,
        name: &Name,
        quota_user: Option<&str>,
    ) -> Result<Option<u64>, StoreError> {
        let name = Name::of_bytes(&self.resolve_parent(name.as_bytes())?)?;
        let Some(staging) = self.existing_staging()? else {
            return Ok(None);
        };
        let candidates = self.candidates(&staging, &name, quota_user)?;
        Ok(newest(candidates).map(|candidate| candidate.bytes))
    }

    /// If this upload has no bytes yet, it takes over the bytes of an upload to the same name that
    /// was begun without a size or digests, by a protocol that does not announce them.
    pub(super) fn adopt(&self, intent: &Intent) -> io::Result<()> {
        let (Some(staging), id) = (self.existing_staging()?, intent.id()) else {
            return Ok(());
        };
        if staging.part_metadata(&id)?.is_some() {
            return Ok(());
        }
        let fits = |candidate: &Candidate| {
            let known = &candidate.intent;
            known.size.is_none_or(|size| Some(size) == intent.size)
                && known.digests.difference(&intent.digests).is_none()
                && known.owner == intent.owner
                && known.memo.is_none()
                && intent.size.is_none_or(|size| candidate.bytes <= size)
        };
        let candidates = self.candidates(&staging, &intent.name, intent.quota_user.as_deref())?;
        let Some(found) = newest(candidates.into_iter().filter(fits)) else {
            return Ok(());
        };
        let Ok(Some(_locked)) = staging.lock_existing(&part(&found.id)) else {
            return Ok(());
        };
        let folder = staging.folder();
        match rename_new(folder, part(&found.id), folder, part(&id)) {
            Ok(()) => {}
            // Another connection was faster, or the file system does not support it.
            Err(Errno::EXIST | Errno::NOENT | Errno::INVAL | Errno::NOSYS) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        staging.write_record(&id, &Record::of(intent))?;
        staging.remove_record(&found.id)?;
        self.release(&found.id);
        Ok(())
    }

    /// The uploads to this name, by this user, that have not expired. Their number is limited by
    /// [`StoreOptions::max_partials`](super::StoreOptions).
    fn candidates(
        &self,
        staging: &Arc<Staging>,
        name: &Name,
        quota_user: Option<&str>,
    ) -> io::Result<Vec<Candidate>> {
        let mut found = Vec::new();
        for (id, metadata) in staging.parts()? {
            let modified = metadata.modified()?.into_std();
            if is_past(self.expiry(modified)) {
                continue;
            }
            let intent = staging.read_record(&id).and_then(|record| {
                // The bytes of an interrupted chunk were not checked.
                record.intent().filter(|_| record.checked.is_none())
            });
            let Some(intent) = intent else {
                continue;
            };
            if intent.name == *name
                && intent.quota_user.as_deref() == quota_user
                && intent.id() == id
            {
                let bytes = metadata.len();
                found.push(Candidate {
                    id,
                    intent,
                    bytes,
                    modified,
                });
            }
        }
        Ok(found)
    }
}

fn newest(candidates: impl IntoIterator<Item = Candidate>) -> Option<Candidate> {
    candidates
        .into_iter()
        .max_by_key(|candidate| candidate.modified)
}

impl Partial {
    /// Drops the bytes behind an offset, for a client that resumes there.
    ///
    /// # Errors
    /// Those of the system; `InvalidInput` if fewer bytes are there.
    pub fn rewind(&mut self, offset: u64) -> io::Result<()> {
        if offset > self.offset {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if offset < self.offset {
            self.file.set_len(offset)?;
            self.hasher = Hasher::of(&self.intent.digests);
            self.continue_at(offset);
            self.is_synced = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::digest::Digests;
    use crate::common::store::tests::{Folder, code, intent};
    use crate::common::store::{Progress, Resumed};

    fn unknown(name: &str) -> Intent {
        Intent::new(Name::path(name).unwrap())
    }

    fn begin(store: &Store, intent: Intent, bytes: &[u8]) {
        let mut partial = store.begin(intent, OnDuplicate::Error).unwrap();
        partial.write(bytes).unwrap();
    }

    #[test]
    fn an_upload_of_unknown_size_is_resumed_by_a_protocol_that_announces_the_size() {
        let folder = Folder::new();
        let store = folder.store();
        begin(&store, unknown("a"), b"hel");
        let wanted = Digests {
            md5: Some(crate::common::digest::from_hex("5d41402abc4b2a76b9719d911017c592").unwrap()),
            ..Digests::default()
        };
        for (other, known) in [
            (
                "by another owner",
                Intent {
                    owner: Some("x".into()),
                    ..intent("a", 5)
                },
            ),
            (
                "counted for another user",
                Intent {
                    quota_user: Some("x".into()),
                    ..intent("a", 5)
                },
            ),
            ("of another name", intent("b", 5)),
            ("too short", intent("a", 2)),
        ] {
            let Ok(Resumed::Partial(partial)) = store.resume_at_once(known, OnDuplicate::Error)
            else {
                panic!("{other}");
            };
            assert_eq!(partial.offset(), 0, "{other}");
        }
        let known = Intent {
            digests: wanted,
            ..intent("a", 5)
        };
        let Ok(Resumed::Partial(mut partial)) = store.resume_at_once(known, OnDuplicate::Error)
        else {
            panic!("it is not complete");
        };
        assert_eq!(partial.offset(), 3);
        partial.write(b"lo").unwrap();
        assert_eq!(code(partial.publish(OnDuplicate::Error)), "ok");
        assert_eq!(
            (folder.read("a").unwrap(), folder.names()),
            (b"hello".to_vec(), vec!["a".into()])
        );
    }

    #[test]
    fn an_upload_is_found_by_its_name_alone() {
        let folder = Folder::new();
        let store = folder.store();
        let by_name = |quota_user| {
            let name = Name::path("a").unwrap();
            store.resume_by_name(&name, quota_user, OnDuplicate::Error)
        };
        assert!(by_name(None).unwrap().is_none());
        let mut registered = store.register(intent("a", 5), OnDuplicate::Error).unwrap();
        let id = registered.id().to_owned();
        registered.write(b"helLO").unwrap();
        assert_eq!(code(by_name(None)), "busy");
        drop(registered);
        assert!(by_name(Some("ada")).unwrap().is_none());
        let mut partial = by_name(None).unwrap().unwrap();
        assert_eq!((partial.offset(), partial.remaining()), (5, Some(0)));
        assert!(partial.rewind(6).is_err());
        partial.rewind(3).unwrap();
        partial.write(b"lo").unwrap();
        assert_eq!(code(partial.publish(OnDuplicate::Error)), "ok");
        assert_eq!(folder.read("a").unwrap(), b"hello");
        let progress = store.registered(&id).unwrap().unwrap().progress;
        assert_eq!(progress, Progress::Stored(Some(Name::path("a").unwrap())));
    }
}
