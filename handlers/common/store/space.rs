//! Checks how much may still be stored: the quotas of the folder and of the users, and the free
//! space of the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::count::Count;
use super::reservation::{Reservation, failed};
use super::{Intent, Store, StoreError};
use crate::accounts::{Corrected, Judgement, Ledger, Quotas};
use crate::common::digest::CHUNK;

/// Minimum time between two counts of the folder's files. They are counted again because other
/// programs may have added or removed some.
const MIN_COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// The pause before the next count is this many times the duration of the last one. If the folder
/// seems to be full, the pause is a tenth of that.
const PAUSE_FACTOR: u32 = 50;
/// Duration of one turn of a count.
pub(super) const COUNT_TIME_PER_TURN: Duration = Duration::from_millis(20);

/// The limits of a store's folder, and the count of its files.
#[derive(Debug)]
pub(super) struct Space {
    max_size: Option<u64>,
    pub(super) quotas: Quotas,
    /// The ledger of the quotas; `None` if there are neither accounts nor a quota.
    pub(super) ledger: Option<Ledger>,
    count: Mutex<CountState>,
}

#[derive(Debug, Default)]
struct CountState {
    /// The count that is under way.
    under_way: Option<Count>,
    begun: Option<Instant>,
    /// When the last count ended, and its duration.
    ended: Option<(Instant, Duration)>,
}

impl CountState {
    /// Whether the pause since the last count was long enough: `factor` times the duration of that
    /// count.
    fn is_due(&self, factor: u32) -> bool {
        self.ended.is_none_or(|(ended, took)| {
            ended.elapsed() >= MIN_COUNT_INTERVAL.max(took.saturating_mul(factor))
        })
    }

    fn begin(&mut self) {
        self.under_way = Some(Count::default());
        self.begun = Some(Instant::now());
    }

    fn end(&mut self) {
        let took = self.begun.take().map(|begun| begun.elapsed());
        self.under_way = None;
        self.ended = Some((Instant::now(), took.unwrap_or_default()));
    }
}

impl Space {
    pub(super) fn new(max_size: Option<u64>, quotas: Quotas, ledger: Option<Ledger>) -> Space {
        Space {
            max_size,
            quotas,
            ledger,
            count: Mutex::default(),
        }
    }

    pub(super) fn check_size(&self, total: u64) -> Result<(), StoreError> {
        match self.max_size {
            Some(max) if total > max => Err(StoreError::TooLarge { max }),
            _ if i64::try_from(total).is_err() => Err(StoreError::TooLarge {
                max: i64::MAX as u64,
            }),
            _ => Ok(()),
        }
    }

    fn has_quota(&self) -> bool {
        self.quotas.folder.is_some()
    }
}

impl Store {
    /// Reserves the bytes of an upload of which `there` bytes are stored.
    pub(super) fn reserve(
        &self,
        intent: &Intent,
        inode: u64,
        there: u64,
        replaces: bool,
        is_kept: bool,
    ) -> Result<Reservation, StoreError> {
        let total = intent.size.unwrap_or(there);
        self.space().check_size(total)?;
        self.check_disk(total.saturating_sub(there))?;
        let mut reservation = Reservation::of(self, intent, inode, replaces);
        // An upload without bytes reserves nothing. Its first bytes create the row.
        if total > 0 || is_kept {
            reservation.take(self, total, is_kept)?;
        }
        Ok(reservation)
    }

    /// Checks that this many more bytes fit into the quotas and on the disk, for uploads of which
    /// only the total size is known. It reserves nothing. Without a user, only the folder's quota
    /// is checked.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], or those of the system.
    pub fn check_room(&self, quota_user: Option<&str>, bytes: u64) -> Result<(), StoreError> {
        self.check_disk(bytes)?;
        let space = self.space();
        let Some(ledger) = space.ledger.as_ref().filter(|_| bytes > 0) else {
            return Ok(());
        };
        self.judge(quota_user, || {
            ledger.fits(quota_user, bytes, space.quotas).map_err(failed)
        })
    }

    /// Checks that this many more bytes fit on the disk, whatever the quotas.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], or those of the system.
    pub fn check_disk(&self, bytes: u64) -> Result<(), StoreError> {
        // For a small file the check saves nothing, because the write itself fails as early.
        if bytes <= CHUNK as u64 {
            return Ok(());
        }
        let disk = rustix::fs::fstatvfs(self.root())?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if bytes > free {
            Err(StoreError::NoSpace("the disk has too little room for it"))
        } else {
            Ok(())
        }
    }

    /// Calls `judge`. If the upload does not fit, corrects the ledger, and calls `judge` once more.
    pub(super) fn judge(
        &self,
        quota_user: Option<&str>,
        mut judge: impl FnMut() -> Result<Judgement, StoreError>,
    ) -> Result<(), StoreError> {
        self.begin_count(PAUSE_FACTOR);
        let mut judgement = judge()?;
        let is_corrected = match judgement {
            Judgement::Fits => return Ok(()),
            Judgement::UserFull => quota_user.is_some_and(|quota_user| self.correct(quota_user)),
            Judgement::FolderFull => self.begin_count(PAUSE_FACTOR / 10),
            Judgement::Uncounted => self.count_for_a_turn(),
            Judgement::TooMany | Judgement::NoUser => false,
        };
        if is_corrected {
            judgement = judge()?;
        }
        match judgement {
            Judgement::Fits => Ok(()),
            Judgement::UserFull => Err(StoreError::NoSpace("the user's quota is used up")),
            Judgement::FolderFull => Err(StoreError::NoSpace("the quota is used up")),
            Judgement::Uncounted => Err(StoreError::Unavailable(
                "the files of the folder are still being counted for its quota",
            )),
            Judgement::TooMany => Err(StoreError::TooManyPartials),
            Judgement::NoUser => Err(StoreError::NoUser),
        }
    }

    /// Compares a user's entries with the files, because other programs may have removed some.
    /// Returns whether any entry was compared.
    fn correct(&self, quota_user: &str) -> bool {
        let Some(ledger) = &self.space().ledger else {
            return false;
        };
        let root = self.root();
        let corrected = ledger.correct(quota_user, |path, recorded| {
            use std::io::ErrorKind::{NotADirectory, NotFound};
            use std::os::unix::ffi::OsStrExt;
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            match root.symlink_metadata(path) {
                Ok(metadata) if metadata.is_file() => Some(metadata.len()),
                Err(error) if !matches!(error.kind(), NotFound | NotADirectory) => Some(recorded),
                _ => None,
            }
        });
        corrected.unwrap_or_else(|error| {
            log::error!("the ledger of quotas cannot be corrected: {error}");
            Corrected::Nothing
        }) != Corrected::Nothing
    }

    /// Begins to count the files of the folder, unless a count is under way or the last one is less
    /// than `factor` times its own duration ago. A small folder is counted immediately. Returns
    /// whether the count is complete.
    pub(super) fn begin_count(&self, factor: u32) -> bool {
        if !self.space().has_quota() {
            return false;
        }
        // Another thread counts.
        let Some(mut state) = self.space().count.try_lock() else {
            return false;
        };
        if state.under_way.is_some() || !state.is_due(factor) {
            return false;
        }
        state.begin();
        drop(state);
        self.count_for_a_turn()
    }

    /// Marks the count as outdated, so that the first upload counts the files again: other programs
    /// may add some before it.
    pub(super) fn count_again_at_first_upload(&self) {
        self.space().count.lock().ended = None;
    }

    /// Continues the count of the folder's files for one turn. Returns whether it is complete.
    pub(super) fn count_for_a_turn(&self) -> bool {
        let Some(ledger) = self
            .space()
            .ledger
            .as_ref()
            .filter(|_| self.space().has_quota())
        else {
            return false;
        };
        // Another thread counts: do not wait for it.
        let Some(mut state) = self.space().count.try_lock() else {
            return false;
        };
        if state.under_way.is_none() {
            // After a count that failed, there is a pause, too.
            if !state.is_due(0) {
                return false;
            }
            state.begin();
        }
        let Some(count) = &mut state.under_way else {
            return false;
        };
        let until = Instant::now() + COUNT_TIME_PER_TURN;
        match count.advance(self, ledger, until) {
            Ok(false) => {
                drop(state);
                self.work_in_background();
                false
            }
            Ok(true) => {
                state.end();
                true
            }
            Err(error) => {
                // A later upload begins a new count.
                state.end();
                log::error!("the files of the folder cannot be counted for its quota: {error}");
                false
            }
        }
    }

    /// Whether a count is under way.
    pub(super) fn is_counting(&self) -> bool {
        self.space()
            .count
            .try_lock()
            .is_none_or(|state| state.under_way.is_some())
    }

    pub(super) fn space(&self) -> &Arc<Space> {
        &self.0.space
    }
}
