//! Brings the ledger up to date with the folder after a server was killed: at the start, and with
//! each sweep of expired uploads.

use cap_std::fs::{Dir, MetadataExt};

use super::reservation::{failed, log_failure};
use super::resolve::path_of;
use super::staging::{Staging, tmp};
use super::{Name, Store};
use crate::common::accounts::{Found, Placed, UploadRow, UploadState};

/// Maximum number of numbered names (`a (1).txt`) among which the file of an upload is searched.
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
            state.unwrap_or_else(|| placed(root, row))
        });
        log_failure(recovered.map_err(failed));
    }
}

/// The state of an upload that has a file in the hidden folder; `None` if it has none.
fn state_of(staging: &Staging, id: &str) -> Option<UploadState> {
    if !matches!(staging.part_metadata(id), Ok(None)) {
        return Some(UploadState::Alive);
    }
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

/// The state of an upload without a file in the hidden folder: it has got its name, or is gone.
fn placed(root: &Dir, row: &UploadRow) -> UploadState {
    let Ok(target) = Name::of_bytes(&row.target) else {
        return UploadState::Gone;
    };
    let numbered = (1..=MAX_NUMBERS).map(|number| target.numbered(number));
    for name in [target.clone()].into_iter().chain(numbered) {
        match find(root, name.as_bytes()) {
            Some(found) if found.inode == row.inode => {
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
