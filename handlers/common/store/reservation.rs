//! The bytes that an upload needs, reserved in the ledger while it is under way, so that all
//! processes count them.

use std::io;
use std::sync::Arc;

use super::note::Note;
use super::space::Space;
use super::staging::Staging;
use super::{Intent, Store, StoreError};
use crate::accounts::{AccountsError, Judgement, Permits, Placed, Result, Upload};

/// Maximum number of bytes that an upload of unknown size reserves in addition to the received
/// ones.
const MAX_AHEAD: u64 = 1024 * 1024;

/// An upload's reservation, which is released when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    space: Arc<Space>,
    id: String,
    quota_user: Option<String>,
    /// The path that the file is to get.
    target: Vec<u8>,
    /// The inode of the upload's file in the hidden folder.
    inode: u64,
    /// The bytes that are reserved; `None` if there is no row in the ledger.
    bytes: Option<u64>,
    /// Whether a file of the same name is replaced, as far as is known.
    replaces: bool,
    deferral: Deferral,
}

/// Whether the quota check and the entry of an upload can wait until it gets its name.
#[derive(Debug, Default)]
enum Deferral {
    /// No: the upload has, or may have, a row in the ledger.
    #[default]
    Impossible,
    /// Yes: the upload has no row in the ledger.
    Possible,
    /// It is deferred: the upload has a note in this hidden folder instead of a row.
    Noted(Arc<Staging>),
}

impl Reservation {
    /// A reservation of no bytes for an upload.
    pub(super) fn of(store: &Store, intent: &Intent, inode: u64, replaces: bool) -> Reservation {
        Reservation {
            space: Arc::clone(store.space()),
            id: intent.id(),
            quota_user: intent.quota_user.clone(),
            target: intent.name.as_bytes().to_vec(),
            inode,
            bytes: None,
            replaces,
            deferral: Deferral::default(),
        }
    }

    /// Allows [`defer`](Reservation::defer), because the ledger has no row of an earlier upload.
    pub(super) fn may_be_deferred(&mut self) {
        if self.bytes.is_none() {
            self.deferral = Deferral::Possible;
        }
    }

    /// Defers the reservation of a complete upload of `total` bytes: its quota is checked, and its
    /// file entered, when it gets its name. Returns `false` if the upload needs a reservation now.
    pub(super) fn defer(&mut self, staging: &Arc<Staging>, total: u64) -> Result<bool, StoreError> {
        let is_possible = matches!(self.deferral, Deferral::Possible) && self.bytes.is_none();
        if !is_possible || self.space.ledger.is_none() {
            return Ok(false);
        }
        self.space.check_size(total)?;
        let note = Note {
            quota_user: self.quota_user.clone(),
            inode: self.inode,
            target: self.target.clone(),
        };
        if let Err(error) = staging.write_note(&self.id, &note) {
            log::debug!("no note of an upload: {error}");
            return Ok(false);
        }
        self.deferral = Deferral::Noted(Arc::clone(staging));
        Ok(true)
    }

    /// Removes the note, after the upload has an entry, a row or no bytes.
    fn remove_note(&mut self) {
        if let Deferral::Noted(staging) = std::mem::take(&mut self.deferral)
            && let Err(error) = staging.remove_note(&self.id)
        {
            log::debug!("cannot remove the note of an upload: {error}");
        }
    }

    /// Reserves this many bytes in total. The size of a file that the upload replaces is free.
    pub(super) fn take(
        &mut self,
        store: &Store,
        bytes: u64,
        is_kept: bool,
    ) -> Result<(), StoreError> {
        let Some(ledger) = &self.space.ledger else {
            return Ok(());
        };
        let upload = Upload {
            is_kept,
            ..self.upload(store, bytes)
        };
        let quotas = self.space.quotas;
        store.judge(self.quota_user.as_deref(), || {
            ledger.reserve(upload, quotas).map_err(failed)
        })?;
        self.bytes = Some(bytes);
        Ok(())
    }

    /// Reserves `total` bytes, and some more if they fit, so that most calls do not change the
    /// ledger.
    pub(super) fn grow(&mut self, store: &Store, total: u64) -> Result<(), StoreError> {
        self.space.check_size(total)?;
        let Some(ledger) = self
            .space
            .ledger
            .as_ref()
            .filter(|_| total > 0 && self.bytes < Some(total))
        else {
            return Ok(());
        };
        let quotas = self.space.quotas;
        let is_new = self.bytes.is_none();
        let reserve = |upload: Upload<'_>| {
            let judgement = if is_new {
                ledger.reserve(upload, quotas)
            } else {
                ledger.grow(upload, quotas)
            };
            judgement.map_err(failed)
        };
        let ahead = total.saturating_add(total.min(MAX_AHEAD));
        let upload = self.upload(store, ahead);
        if reserve(upload)? == Judgement::Fits {
            self.bytes = Some(ahead);
            return Ok(());
        }
        let upload = Upload {
            bytes: total,
            ..upload
        };
        store.judge(self.quota_user.as_deref(), || reserve(upload))?;
        self.bytes = Some(total);
        Ok(())
    }

    /// Calls `put`, which gives the upload its name, if the upload still fits into the quotas. It
    /// may not fit any more if the file that it was to replace was moved meanwhile. `replaced` is
    /// the current size of that file.
    pub(super) fn publish<T>(
        &mut self,
        store: &Store,
        staging: &Arc<Staging>,
        (bytes, replaced): (u64, Option<u64>),
        permits: Option<Permits<'_>>,
        put: impl Fn() -> Result<(T, Placed), StoreError>,
    ) -> Result<T, StoreError> {
        let is_noted = matches!(self.deferral, Deferral::Noted(_));
        if self.bytes.is_none() && !is_noted && !self.defer(staging, bytes)? {
            // An empty file needs an entry, too: only an entry shows that its user was removed.
            self.take(store, bytes, false)?;
        }
        let Some(ledger) = &self.space.ledger else {
            return put().map(|(name, _)| name);
        };
        let (upload, has_row) = (self.replacing(bytes, replaced), self.bytes.is_some());
        let mut outcome = None;
        let published = store.judge(self.quota_user.as_deref(), || {
            let put = || match put() {
                Ok((name, placed)) => {
                    outcome = Some(Ok(name));
                    Some(placed)
                }
                Err(error) => {
                    outcome = Some(Err(error));
                    None
                }
            };
            ledger
                .publish(upload, self.space.quotas, has_row, permits, put)
                .map_err(failed)
        });
        let Some(outcome) = outcome else {
            return Err(published.err().unwrap_or(StoreError::NoUser));
        };
        if outcome.is_ok() {
            // `publish` of the ledger has replaced the row by the file's entry. If the transaction
            // failed after `put`, the next start corrects the ledger.
            self.bytes = None;
            match &published {
                Ok(()) => self.remove_note(),
                Err(_) => self.deferral = Deferral::Impossible,
            }
        }
        if let Err(error) = published {
            log_failure(Err(error));
        }
        outcome
    }

    /// Keeps at most this many bytes reserved, so that the upload can be resumed. `false` if its
    /// user has the maximum number of interrupted uploads.
    pub(super) fn keep(&mut self, store: &Store, bytes: u64) -> bool {
        if matches!(self.deferral, Deferral::Noted(_)) {
            let is_kept = self.take(store, bytes, true).is_ok();
            // The row must stay after this value is dropped, so dropping must not release it.
            self.bytes = None;
            if is_kept {
                self.remove_note();
            }
            return is_kept;
        }
        let Some(ledger) = self.space.ledger.as_ref().filter(|_| self.bytes.is_some()) else {
            return true;
        };
        match ledger.keep(&self.id, bytes, self.space.quotas) {
            Ok(true) => {
                self.bytes = None;
                true
            }
            Ok(false) => false,
            Err(error) => {
                log_failure(Err(failed(error)));
                false
            }
        }
    }

    fn upload(&self, store: &Store, bytes: u64) -> Upload<'_> {
        let replaced = || {
            let path = super::resolve::path_of(&self.target);
            let metadata = store.root().symlink_metadata(path).ok()?;
            (!metadata.is_dir()).then(|| metadata.len())
        };
        self.replacing(bytes, self.replaces.then(replaced).flatten())
    }

    /// Describes the upload for the ledger, with the size of the replaced file if it is known.
    fn replacing(&self, bytes: u64, replaced: Option<u64>) -> Upload<'_> {
        Upload {
            id: &self.id,
            user: self.quota_user.as_deref(),
            target: &self.target,
            inode: self.inode,
            bytes,
            replaces: replaced.filter(|_| self.replaces),
            is_kept: false,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.remove_note();
        if let Some(ledger) = self.space.ledger.as_ref().filter(|_| self.bytes.is_some()) {
            log_failure(ledger.release(&self.id).map_err(failed));
        }
    }
}

/// Logs that the ledger could not be changed. It is corrected at the next start, or when a quota
/// seems to be used up.
pub(super) fn log_failure(result: Result<(), StoreError>) {
    if let Err(error) = result {
        log::error!("the ledger of quotas is not up to date: {error}");
    }
}

pub(super) fn failed(error: AccountsError) -> StoreError {
    StoreError::Io(io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::accounts::testing::{TestFile, add};
    use crate::accounts::{Accounts, Cost, Store as Users};
    use crate::common::store::tests::{Folder, code, intent};
    use crate::common::store::{OnDuplicate, StoreOptions};

    /// A store whose uploads use the quota of ada, which is 100 bytes.
    fn store(test: &str, folder: &Folder, partial_expiry: Duration) -> (TestFile, Users, Store) {
        let (file, users) = TestFile::new(test);
        add(&users, "ada", "x", "lrwd");
        users.set_quota("ada", Some(100)).unwrap();
        let accounts = Arc::new(Accounts::open(&file.path(), Cost::CHEAP).unwrap());
        let options = StoreOptions {
            partial_expiry,
            ..StoreOptions::default()
        };
        let store = Store::with_accounts(folder.path(), options, Some(accounts));
        (file, users, store.unwrap())
    }

    fn of_ada(name: &str, size: Option<u64>) -> Intent {
        Intent {
            size,
            quota_user: Some("ada".into()),
            ..intent(name, 0)
        }
    }

    fn used(users: &Users) -> u64 {
        users.account("ada").unwrap().unwrap().used
    }

    #[test]
    fn a_registered_upload_counts_until_it_has_expired() {
        let folder = Folder::new();
        let (_file, users, store) = store("reservation-expiry", &folder, Duration::ZERO);
        let partial = store
            .register(of_ada("a", Some(60)), OnDuplicate::Error)
            .unwrap();
        store.sweep().unwrap();
        assert_eq!(used(&users), 60, "somebody writes it");
        drop(partial);
        assert_eq!(used(&users), 60);
        store.sweep().unwrap();
        assert_eq!(used(&users), 0);
    }

    #[test]
    fn an_upload_that_is_given_up_or_dropped_counts_no_more() {
        let folder = Folder::new();
        let (_file, users, store) = store("reservation-dropped", &folder, Duration::from_secs(60));
        let partial = store
            .register(of_ada("a", Some(60)), OnDuplicate::Error)
            .unwrap();
        let id = partial.id().to_owned();
        drop(partial);
        store.give_up(&id).unwrap();
        assert_eq!(used(&users), 0);
        let mut partial = store
            .begin_unresumable(of_ada("a", None), OnDuplicate::Error)
            .unwrap();
        partial.write(&[0; 60]).unwrap();
        assert!(
            (60..=100).contains(&used(&users)),
            "what may come next is reserved as well"
        );
        assert_eq!(code(partial.write(&[0; 41])), "no_space");
        partial.write(&[0; 40]).unwrap();
        drop(partial);
        assert_eq!((used(&users), folder.names().len()), (0, 0));
    }

    #[test]
    fn an_upload_is_not_published_in_place_of_a_file_that_is_gone() {
        let folder = Folder::new();
        let (_file, users, store) = store("reservation-replaced", &folder, Duration::from_secs(60));
        let put = |name: &str| {
            let mut partial =
                store.begin_unresumable(of_ada(name, Some(60)), OnDuplicate::Overwrite)?;
            partial.write(&[0; 60])?;
            Ok(partial)
        };
        put("a").unwrap().publish(OnDuplicate::Overwrite).unwrap();
        let second = put("a").unwrap();
        assert_eq!((code(put("b")), used(&users)), ("no_space", 120));
        store.rename(b"a", b"c", false).unwrap();
        assert_eq!(code(second.publish(OnDuplicate::Overwrite)), "no_space");
        assert_eq!((used(&users), folder.names()), (60, vec!["c".to_owned()]));
    }

    #[test]
    fn an_empty_upload_needs_its_user_at_the_end() {
        let folder = Folder::new();
        let (_file, users, store) = store("reservation-empty", &folder, Duration::from_secs(60));
        let begin = |name| store.begin(of_ada(name, None), OnDuplicate::Error).unwrap();
        begin("a").publish(OnDuplicate::Error).unwrap();
        let second = begin("b");
        users.remove_user("ada").unwrap();
        let refused = second.publish(OnDuplicate::Error);
        assert!(matches!(refused, Err(StoreError::NoUser)), "{refused:?}");
        assert_eq!(folder.names(), ["a"]);
    }

    #[test]
    fn only_an_upload_that_pauses_has_a_record() {
        let folder = Folder::new();
        let store = folder.store();
        for (name, last, names) in [("whole", Some(0), 1), ("paused", None, 2)] {
            let mut partial = store.begin(intent(name, 0), OnDuplicate::Error).unwrap();
            partial.intent.size = None;
            let mut counts = [None, Some(3), last].into_iter();
            let mut source = |_: &mut [u8]| Ok(counts.next().flatten());
            partial.receive(&mut source, u64::MAX).unwrap();
            partial.receive(&mut source, u64::MAX).unwrap();
            assert_eq!(
                (partial.offset(), folder.names().len()),
                (3, names),
                "{name}"
            );
            partial.discard().unwrap();
        }
    }
}
