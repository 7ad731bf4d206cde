//! Counts the bytes of a folder's files in slices. It needs only one descriptor, whatever the size
//! of the tree.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use cap_std::fs::ReadDir;

use super::{PARTIALS, Store};
use crate::accounts::Ledger;

/// Entries that are counted between two checks of the time.
const ENTRIES_PER_STEP: usize = 64;
/// Maximum number of counts in sequence. A new count begins if files changed during the last one.
/// After the last count, the larger one of its sum and the sum in the ledger is used.
const MAX_ROUNDS: u32 = 3;

/// A count that is under way.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// The number of changes in the ledger when the count began; `None` before that.
    begun: Option<i64>,
    rounds: u32,
    bytes: u64,
    /// Folders that are still to be counted.
    folders: Vec<PathBuf>,
    /// The folder that is being counted.
    folder: Option<(PathBuf, ReadDir)>,
}

impl Count {
    /// Counts until this time. Returns whether the count is complete and its sum is in the ledger.
    ///
    /// Files that are removed meanwhile do not count.
    ///
    /// # Errors
    /// A folder cannot be read: without it, the sum would be wrong.
    pub(super) fn advance(
        &mut self,
        store: &Store,
        ledger: &Ledger,
        until: Instant,
    ) -> io::Result<bool> {
        if self.begun.is_none() {
            let (_, changes) = ledger.folder_bytes().map_err(io::Error::other)?;
            *self = Count {
                begun: Some(changes),
                rounds: self.rounds + 1,
                folders: vec![PathBuf::from(".")],
                ..Count::default()
            };
        }
        loop {
            if !self.step(store)? {
                break;
            }
            if Instant::now() >= until {
                return Ok(false);
            }
        }
        let bytes = self.bytes.saturating_add(parts_of_nobody(store, ledger)?);
        let begun = self.begun.take().unwrap_or_default();
        ledger
            .set_folder_bytes(bytes, begun, self.rounds >= MAX_ROUNDS)
            .map_err(io::Error::other)
    }

    /// Counts some entries. Returns whether there are more.
    fn step(&mut self, store: &Store) -> io::Result<bool> {
        let Some((path, entries)) = &mut self.folder else {
            let Some(path) = self.folders.pop() else {
                return Ok(false);
            };
            match store.root().read_dir(&path) {
                Ok(entries) => self.folder = Some((path, entries)),
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    let why = format!("{}: {error}", path.display());
                    return Err(io::Error::new(error.kind(), why));
                }
            }
            return Ok(true);
        };
        for _ in 0..ENTRIES_PER_STEP {
            let Some(entry) = entries.next().transpose()? else {
                self.folder = None;
                break;
            };
            match entry.metadata() {
                Ok(metadata) if !metadata.is_dir() => {
                    self.bytes = self.bytes.saturating_add(metadata.len());
                }
                Ok(_) if entry.file_name() == PARTIALS => {}
                Ok(_) => self.folders.push(path.join(entry.file_name())),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The bytes of partial uploads that have no entry in the ledger, because a server without a ledger
/// left them.
fn parts_of_nobody(store: &Store, ledger: &Ledger) -> io::Result<u64> {
    let Some(staging) = store.existing_staging()? else {
        return Ok(0);
    };
    let mut bytes = 0_u64;
    for (id, metadata) in staging.parts()? {
        if !ledger.has_upload(&id).map_err(io::Error::other)? {
            bytes = bytes.saturating_add(metadata.len());
        }
    }
    Ok(bytes)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
