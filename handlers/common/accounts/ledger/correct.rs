//! A user's entries are compared with the files in slices: others may have removed some.

use std::time::{Duration, Instant};

use rusqlite::{TransactionBehavior, params};

use super::{Ledger, Result, saturated};

/// A user's entries are compared with the files at most this often.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How many entries are compared with the files in one call.
const ENTRIES_PER_TURN: usize = 2000;

const NEXT: &str = "SELECT path, bytes FROM files
    WHERE folder = ?1 AND user = (SELECT id FROM users WHERE name = ?2) AND path > ?3
    ORDER BY path LIMIT ?4";
/// What somebody has changed meanwhile is right.
const SET_BYTES: &str =
    "UPDATE files SET bytes = ?4 WHERE folder = ?1 AND path = ?2 AND bytes = ?3";
const REMOVE_ENTRY: &str =
    "DELETE FROM files WHERE folder = ?1 AND path = ?2 AND bytes = ?3 AND ?4 IS NULL";

/// How far the entries of one user were compared.
#[derive(Debug, Default)]
pub(super) struct Correction {
    /// The last path that was compared; empty at the beginning.
    after: Vec<u8>,
    /// When the last entry was compared.
    ended: Option<Instant>,
}

/// What a call of [`Ledger::correct`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Corrected {
    /// All entries are compared.
    All,
    /// More are to be compared.
    Some,
    /// That was done a moment ago, so that it isn't repeated.
    Nothing,
}

impl Ledger {
    /// Compares the next entries of a user with the files: `actual` returns from a path and the
    /// bytes that are recorded how many they are, `None` if there is no file.
    ///
    /// # Errors
    /// The file can't be read or written.
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
        // The files are looked at while others use the connection.
        let wrong = entries.into_iter().filter_map(|(path, bytes)| {
            let actual = actual(&path, bytes.unsigned_abs()).map(saturated);
            (actual != Some(bytes)).then_some((path, bytes, actual))
        });
        let wrong: Vec<_> = wrong.collect();
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
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
