//! Brings the ledger up to date with the folder after a server was killed: at the start, and with
//! each sweep of expired uploads.

use std::io;

use cap_std::fs::{Dir, MetadataExt};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::note::Note;
use super::reservation::{failed, log_failure};
use super::resolve::path_of;
use super::staging::{Staging, part, tmp};
use super::{Name, Store, StoreError};
use crate::accounts::{Found, Ledger, Placed, Upload, UploadState};

/// Maximum number in the numbered names (`a (1).txt`) that are searched for the file of an upload.
const MAX_NUMBERS: u32 = 10_000;

impl Store {
    /// Brings the changes and uploads of killed servers up to date in the ledger.
    pub(super) fn recover_ledger(&self) {
        let Some(ledger) = &self.space().ledger else {
            return;
        };
        let root = self.root();
        log_failure(
            ledger
                .recover_changes(|path| find(root, path))
                .map_err(failed),
        );
        let staging = match self.existing_staging() {
            Ok(staging) => staging,
            Err(error) => return log_failure(Err(error.into())),
        };
        let recovered = ledger.recover_uploads(|row| {
            let state = staging
                .as_deref()
                .and_then(|staging| state_of(staging, &row.id));
            state.unwrap_or_else(|| placed(root, &row.target, row.inode))
        });
        log_failure(recovered.map_err(failed));
        if let Some(staging) = staging {
            let recovered = self.recover_notes(ledger, &staging);
            log_failure(recovered.map_err(StoreError::from));
        }
    }

    /// Enters the uploads that killed servers have noted, and removes the notes.
    fn recover_notes(&self, ledger: &Ledger, staging: &Staging) -> io::Result<()> {
        for (id, note) in staging.notes()? {
            let upload = Upload {
                id: &id,
                user: note.quota_user.as_deref(),
                target: &note.target,
                inode: note.inode,
                bytes: 0,
                replaces: None,
                is_kept: true,
            };
            let state = || state_of_noted(staging, self.root(), &id, &note);
            let is_entered = ledger.recover_unreserved(upload, state);
            if is_entered.map_err(io::Error::other)? {
                staging.remove_note(&id)?;
            }
        }
        Ok(())
    }
}

/// The state of an upload with a note. Its server holds a lock on its bytes until the note is
/// removed, also after they have got their name.
fn state_of_noted(staging: &Staging, root: &Dir, id: &str, note: &Note) -> UploadState {
    match staging.lock_existing(&part(id)) {
        Ok(None) => {}
        Ok(Some((_, metadata))) => return UploadState::Interrupted(metadata.len()),
        Err(_) => return UploadState::Alive,
    }
    if let Some(state) = left_over(staging, id) {
        return state;
    }
    match placed(root, &note.target, note.inode) {
        UploadState::Stored(placed, _) if is_locked(root, &placed.path) => UploadState::Alive,
        state => state,
    }
}

/// Whether another server holds a lock on a file.
fn is_locked(root: &Dir, path: &[u8]) -> bool {
    let file = root.open(path_of(path));
    file.is_ok_and(|file| {
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    })
}

/// The state of an upload that has a file in the hidden folder; `None` if it has none.
fn state_of(staging: &Staging, id: &str) -> Option<UploadState> {
    if !matches!(staging.part_metadata(id), Ok(None)) {
        return Some(UploadState::Alive);
    }
    left_over(staging, id)
}

/// The state of an upload that cannot be resumed and has a file in the hidden folder; `None` if it
/// has none. The file of a killed server is removed.
fn left_over(staging: &Staging, id: &str) -> Option<UploadState> {
    match staging.lock_existing(&tmp(id)) {
        Ok(None) => None,
        Ok(Some(_left_over)) => {
            let removed = staging.remove_file(&tmp(id));
            Some(if removed.is_ok() {
                UploadState::Gone
            } else {
                UploadState::Alive
            })
        }
        Err(_) => Some(UploadState::Alive),
    }
}

/// The state of an upload without a file in the hidden folder: it is stored under its name, or does
/// not exist any more.
fn placed(root: &Dir, target: &[u8], inode: u64) -> UploadState {
    let Ok(target) = Name::of_bytes(target) else {
        return UploadState::Gone;
    };
    let numbered = (1..=MAX_NUMBERS).map(|number| target.numbered(number));
    for name in [target.clone()].into_iter().chain(numbered) {
        match find(root, name.as_bytes()) {
            Some(found) if found.inode == inode => {
                let path = name.as_bytes().to_vec();
                // The size of the replaced file does not matter: the files are counted again.
                return UploadState::Stored(Placed { path, replaced: 0 }, found.bytes);
            }
            Some(_) => {}
            None => break,
        }
    }
    UploadState::Gone
}

/// The file or folder at a path.
fn find(root: &Dir, path: &[u8]) -> Option<Found> {
    let metadata = root.symlink_metadata(path_of(path)).ok()?;
    Some(Found {
        inode: metadata.ino(),
        bytes: if metadata.is_dir() { 0 } else { metadata.len() },
    })
}
