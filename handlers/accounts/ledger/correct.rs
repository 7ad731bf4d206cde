//! A user's entries are compared with the files, in slices: other programs may have removed or
//! changed some.

use std::time::{Duration, Instant};

use rusqlite::params;

use super::{Ledger, Result, Transaction, saturated};

/// Minimum time between two comparisons of a user's entries with the files.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of entries that one call compares.
const ENTRIES_PER_TURN: usize = 2000;

const NEXT: &str = "SELECT path, bytes FROM files
    WHERE folder = ?1 AND user = (SELECT id FROM users WHERE name = ?2) AND path > ?3
    ORDER BY path LIMIT ?4";
/// An entry that was changed since it was read is left as it is.
const SET_BYTES: &str =
    "UPDATE files SET bytes = ?4 WHERE folder = ?1 AND path = ?2 AND bytes = ?3";
const REMOVE_ENTRY: &str =
    "DELETE FROM files WHERE folder = ?1 AND path = ?2 AND bytes = ?3 AND ?4 IS NULL";

/// How far the comparison of one user's entries is.
#[derive(Debug, Default)]
pub(super) struct Correction {
    /// The path that was compared last; empty at the beginning.
    after: Vec<u8>,
    /// When the last comparison was complete.
    ended: Option<Instant>,
}

/// The result of [`Ledger::correct`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Corrected {
    /// All entries have been compared.
    All,
    /// Some entries have been compared; the next call continues.
    Some,
    /// No entry was compared, because the last comparison is less than a second old.
    Nothing,
}

impl Ledger {
    /// Compares the next entries of a user with the files, and corrects those that are wrong.
    /// `actual` gets a path and its recorded size. It returns the file's size, or `None` if the
    /// file does not exist.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn correct(
        &self,
        user: &str,
        actual: impl Fn(&[u8], u64) -> Option<u64>,
    ) -> Result<Corrected> {
        let mut correction = {
            let mut corrections = self.0.corrections.lock();
            let correction = corrections.entry(user.to_owned()).or_default();
            if correction
                .ended
                .is_some_and(|ended| ended.elapsed() < MIN_INTERVAL)
            {
                return Ok(Corrected::Nothing);
            }
            std::mem::take(correction)
        };
        let next = params![
            self.0.folder,
            user,
            correction.after,
            ENTRIES_PER_TURN as i64
        ];
        let entries: Vec<(Vec<u8>, i64)> = self.with(|connection| {
            let mut statement = connection.prepare_cached(NEXT)?;
            statement
                .query_map(next, |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let is_last = entries.len() < ENTRIES_PER_TURN;
        correction.after = match entries.last() {
            Some((path, _)) if !is_last => path.clone(),
            _ => Vec::new(),
        };
        correction.ended = is_last.then(Instant::now);
        // Outside of `with`: other threads use the connection meanwhile.
        let wrong = entries.into_iter().filter_map(|(path, bytes)| {
            let actual = actual(&path, bytes.unsigned_abs()).map(saturated);
            (actual != Some(bytes)).then_some((path, bytes, actual))
        });
        let wrong: Vec<_> = wrong.collect();
        self.with(|connection| {
            let transaction = Transaction::begin(connection)?;
            for (path, recorded, actual) in wrong {
                let correct = if actual.is_some() {
                    SET_BYTES
                } else {
                    REMOVE_ENTRY
                };
                let row = params![self.0.folder, path, recorded, actual];
                transaction.prepare_cached(correct)?.execute(row)?;
            }
            transaction.commit()
        })?;
        self.0
            .corrections
            .lock()
            .insert(user.to_owned(), correction);
        Ok(if is_last {
            Corrected::All
        } else {
            Corrected::Some
        })
    }
}
