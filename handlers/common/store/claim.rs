//! What an upload takes of its payer's quota: entered in the ledger while it is under way, so that all processes see it.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;

use super::aside::{Aside, part};
use super::{Intent, Name, PARTIALS, StoreError};
use crate::common::accounts::{AccountsError, Ledger, Result};

const USED_UP: &str = "the user's quota is used up";

/// Uploads of unknown size claim ahead of what has come, but at most so far.
const MOST_AHEAD: u64 = 1024 * 1024;

/// An upload's claim to its payer's quota, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    ledger: Ledger,
    payer: String,
    /// Where its bytes lie, below the root.
    path: String,
    target: Name,
    /// What is entered; at 0 there is no entry.
    bytes: u64,
}

impl Claim {
    /// The claim of an upload that somebody pays for. It takes nothing yet.
    pub(super) fn of(ledger: &Ledger, id: &str, intent: &Intent) -> Option<Claim> {
        let payer = intent.payer.clone()?;
        Some(Claim { ledger: ledger.clone(), payer, path: path_of(id), target: intent.name.clone(), bytes: 0 })
    }

    /// Claims so many bytes in all. If the upload is to replace a file of the same payer, only the difference counts.
    pub(super) fn take(&mut self, root: &Dir, bytes: u64, replaces: bool) -> Result<(), StoreError> {
        if bytes > self.bytes {
            let (ledger, payer, path) = (&self.ledger, &*self.payer, &*self.path);
            let replaced = replaces.then(|| self.target.as_str());
            fit(ledger, root, payer, || ledger.enter(payer, path, bytes, replaced))?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// As [`take`](Claim::take), for an upload that grows: mostly, the next bytes are claimed along with these.
    pub(super) fn grow(&mut self, root: &Dir, bytes: u64, replaces: bool) -> Result<(), StoreError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let ahead = bytes.saturating_add(bytes.min(MOST_AHEAD));
        let replaced = replaces.then(|| self.target.as_str());
        if self.ledger.enter(&self.payer, &self.path, ahead, replaced).map_err(failed)? {
            self.bytes = ahead;
            return Ok(());
        }
        self.take(root, bytes, replaces)
    }

    /// Whether what is claimed still fits: the file that was to be replaced may be another's by now.
    pub(super) fn check(&self, root: &Dir, replaces: bool) -> Result<(), StoreError> {
        let replaced = replaces.then(|| self.target.as_str());
        let fits = || self.ledger.fits(&self.payer, 0, replaced);
        if self.bytes == 0 { Ok(()) } else { fit(&self.ledger, root, &self.payer, fits) }
    }

    /// The upload has become a file.
    pub(super) fn settle(mut self, name: &Name, bytes: u64) {
        self.bytes = 0;
        noted(self.ledger.settle(&self.payer, &self.path, name.as_str(), bytes));
    }

    /// The upload is under way, though nobody sends it now.
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.bytes > 0 {
            noted(self.ledger.strike(&self.path));
        }
    }
}

/// Where an upload's bytes lie, below the root.
pub(super) fn path_of(id: &str) -> String {
    format!("{PARTIALS}/{}", part(id))
}

/// What can't be noted any more is found out when the quota seems to be used up.
pub(super) fn noted(result: Result<()>) {
    if let Err(error) = result {
        log::error!("the ledger of quotas isn't right: {error}");
    }
}

/// Judges once more when the ledger was corrected: files may have been removed by others.
pub(super) fn fit(ledger: &Ledger, root: &Dir, payer: &str, fits: impl Fn() -> Result<bool>) -> Result<(), StoreError> {
    let corrected = || {
        let aside = Aside::existing(root).ok().flatten();
        ledger.correct(payer, |path, bytes| actual(ledger, aside.as_ref(), path, bytes)).map_err(failed)
    };
    if fits().map_err(failed)? || (corrected()? && fits().map_err(failed)?) {
        Ok(())
    } else {
        Err(StoreError::NoSpace(USED_UP))
    }
}

fn failed(error: AccountsError) -> StoreError {
    StoreError::Io(io::Error::other(error))
}

/// How many bytes an entry stands for; `None` if nothing is there.
fn actual(ledger: &Ledger, aside: Option<&Aside>, path: &Path, noted: u64) -> Option<u64> {
    let length = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Some(noted);
        }
        _ => return None,
    };
    if !path.parent().is_some_and(|folder| folder.ends_with(PARTIALS)) {
        return Some(length);
    }
    let id =
        path.strip_prefix(ledger.folder().join(PARTIALS)).ok().and_then(|file| file.to_str()?.strip_suffix(".part"));
    match aside.zip(id) {
        // What no record tells of and nobody writes is left over from a killed server.
        Some((aside, id)) if aside.read_record(id).is_none() && aside.lock_existing(id).is_ok() => Some(length),
        _ => Some(noted),
    }
}
