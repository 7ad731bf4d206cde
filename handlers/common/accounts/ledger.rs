//! The ledger: who has stored which file, and how large it is. Quotas are judged by it.
//!
//! A file counts for the user who stored it, from the beginning of its upload until it is removed
//! or replaced. Triggers in the accounts file keep the sum in `used`, so that a quota holds for all
//! processes that share the file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::store::saturated;
use super::{Accounts, Result};

#[cfg(test)]
mod tests;

/// A user's entries are compared with the files at most so often.
const CORRECT_EVERY: Duration = Duration::from_secs(1);

const ENTER: &str = "INSERT INTO files SELECT ?2, id, ?3 FROM users WHERE name = ?1
    ON CONFLICT (path) DO UPDATE SET bytes = excluded.bytes";
const STRIKE: &str = "DELETE FROM files WHERE path = ?1";
/// The range holds what lies below a folder.
const STRIKE_ALL: &str = "DELETE FROM files WHERE path = ?1 OR (path > ?2 AND path < ?3)";
const MOVE: &str = "UPDATE files SET path = CAST(?4 || substr(path, length(?1) + 1) AS BLOB)
    WHERE path = ?1 OR (path > ?2 AND path < ?3)";
const FITS: &str = "SELECT quota IS NULL OR
    used + ?2 - coalesce((SELECT bytes FROM files WHERE path = ?3 AND user = id), 0) <= quota
    FROM users WHERE name = ?1";
const OF_USER: &str = "SELECT path, bytes FROM files JOIN users ON user = id WHERE name = ?1";

/// The ledger of the files in one folder.
///
/// Paths are relative to the folder. In the accounts file they are absolute, as servers of other
/// folders may share it. A user who was removed has no quota and no entries.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    accounts: Arc<Accounts>,
    folder: PathBuf,
    /// When which user's entries were compared last.
    corrected: Mutex<HashMap<String, Instant>>,
}

impl Ledger {
    /// The ledger of an existing folder.
    ///
    /// # Errors
    /// Those of the system: its absolute path can't be found out.
    pub fn new(accounts: Arc<Accounts>, folder: &Path) -> io::Result<Ledger> {
        Ok(Ledger(Arc::new(Inner {
            accounts,
            folder: folder.canonicalize()?,
            corrected: Mutex::default(),
        })))
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Whether a user may store so many bytes more, when a file of his at the path `replaced` is
    /// gone.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn fits(&self, user: &str, bytes: u64, replaced: Option<&str>) -> Result<bool> {
        let replaced = replaced.map(|path| self.key(path.as_bytes()));
        self.with(|connection| fits(connection, user, bytes, replaced.as_deref()))
    }

    /// Enters a file of a user, or changes its size. `false`, and nothing is changed, if it doesn't
    /// fit; see [`fits`](Ledger::fits).
    ///
    /// # Errors
    /// The file can't be written.
    pub fn enter(
        &self,
        user: &str,
        path: &str,
        bytes: u64,
        replaced: Option<&str>,
    ) -> Result<bool> {
        let (path, replaced) = (
            self.key(path.as_bytes()),
            replaced.map(|path| self.key(path.as_bytes())),
        );
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction
                .prepare_cached(ENTER)?
                .execute(params![user, path, saturated(bytes)])?;
            let fits = fits(&transaction, user, 0, replaced.as_deref())?;
            if fits {
                transaction.commit()?
            } else {
                transaction.rollback()?
            }
            Ok(fits)
        })
    }

    /// Puts a file that is entered under one path at another: `put` does it, and tells where; what
    /// stood there is gone. `false`, and nothing is done, if its bytes don't fit any more; see
    /// [`fits`](Ledger::fits).
    ///
    /// No other process sees the file at a path at which it isn't entered. `put` must not take
    /// long.
    ///
    /// # Errors
    /// The file can't be written, before or after `put`.
    pub fn settle(
        &self,
        user: &str,
        entered: &str,
        bytes: u64,
        replaced: Option<&str>,
        put: impl FnOnce() -> Option<String>,
    ) -> Result<bool> {
        let (entered, replaced) = (
            self.key(entered.as_bytes()),
            replaced.map(|path| self.key(path.as_bytes())),
        );
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if bytes > 0 && !fits(&transaction, user, 0, replaced.as_deref())? {
                return Ok(false);
            }
            let Some(path) = put() else { return Ok(true) };
            let path = self.key(path.as_bytes());
            for gone in [&entered, &path] {
                transaction.prepare_cached(STRIKE)?.execute([gone])?;
            }
            transaction
                .prepare_cached(ENTER)?
                .execute(params![user, path, saturated(bytes)])?;
            transaction.commit()?;
            Ok(true)
        })
    }

    /// Strikes a file off, whether it is there or not.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn strike(&self, path: &str) -> Result<()> {
        let path = self.key(path.as_bytes());
        self.with(|connection| connection.prepare_cached(STRIKE)?.execute([path]).map(drop))
    }

    /// Strikes off a file that was removed, unless somebody has stored one there again.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn removed(&self, path: &[u8]) -> Result<()> {
        let path = self.key(path);
        self.with(|connection| {
            // Whoever stores one there now waits for the end of this transaction.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if Path::new(OsStr::from_bytes(&path))
                .symlink_metadata()
                .is_err()
            {
                transaction.prepare_cached(STRIKE)?.execute([path])?;
            }
            transaction.commit()
        })
    }

    /// A file or folder has got another path; what stood there is gone.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn moved(&self, from: &[u8], to: &[u8]) -> Result<()> {
        let (from, to) = (self.key(from), self.key(to));
        let below = |path: &[u8]| ([path, b"/"].concat(), [path, b"0"].concat()); // `0` follows `/`
        let ((from_begin, from_end), (to_begin, to_end)) = (below(&from), below(&to));
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction
                .prepare_cached(STRIKE_ALL)?
                .execute(params![to, to_begin, to_end])?;
            transaction
                .prepare_cached(MOVE)?
                .execute(params![from, from_begin, from_end, to])?;
            transaction.commit()
        })
    }

    /// Compares a user's entries with the files: `actual` tells from an absolute path and the bytes
    /// that are noted how many they are, `None` if there is no file. `false` if that was done a
    /// moment ago, so that it isn't repeated.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn correct(&self, user: &str, actual: impl Fn(&Path, u64) -> Option<u64>) -> Result<bool> {
        let now = Instant::now();
        let last = self.0.corrected.lock().insert(user.to_owned(), now);
        if last.is_some_and(|last| now.duration_since(last) < CORRECT_EVERY) {
            return Ok(false);
        }
        let entries: Vec<(Vec<u8>, i64)> = self.with(|connection| {
            let mut statement = connection.prepare_cached(OF_USER)?;
            statement
                .query_map([user], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        // The files are looked at while others use the connection.
        let noted = |path: &[u8], bytes: i64| {
            actual(Path::new(OsStr::from_bytes(path)), bytes.unsigned_abs())
        };
        let corrected = entries.into_iter().filter_map(|(path, bytes)| {
            let actual = noted(&path, bytes).map(saturated);
            (actual != Some(bytes)).then_some((path, bytes, actual))
        });
        let corrected: Vec<_> = corrected.collect();
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (path, noted, actual) in corrected {
                // What somebody has changed meanwhile is right.
                let correct = match actual {
                    Some(_) => "UPDATE files SET bytes = ?3 WHERE path = ?1 AND bytes = ?2",
                    None => "DELETE FROM files WHERE path = ?1 AND bytes = ?2 AND ?3 IS NULL",
                };
                transaction
                    .prepare_cached(correct)?
                    .execute(params![path, noted, actual])?;
            }
            transaction.commit()
        })?;
        Ok(true)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.0.accounts.store().with(work)
    }

    fn key(&self, path: &[u8]) -> Vec<u8> {
        self.0
            .folder
            .join(OsStr::from_bytes(path))
            .into_os_string()
            .as_bytes()
            .to_vec()
    }
}

fn fits(
    connection: &Connection,
    user: &str,
    bytes: u64,
    replaced: Option<&[u8]>,
) -> rusqlite::Result<bool> {
    let row = |row: &rusqlite::Row<'_>| row.get(0);
    let fits = connection
        .prepare_cached(FITS)?
        .query_row(params![user, saturated(bytes), replaced], row);
    Ok(fits.optional()?.unwrap_or(true))
}
