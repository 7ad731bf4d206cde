//! The ledger of quotas: which user has stored which file, the size of each of these files, and the
//! size of each served folder.
//!
//! A file counts for the user who stored it, from the beginning of its upload until it is removed
//! or replaced. Triggers in the accounts file keep the sums: `users.used` for each user, and
//! `folders.reserved` for the uploads under way. So a quota holds for all processes that share the
//! file.
//!
//! | table | a row is |
//! |---|---|
//! | `folders` | a served folder, with the size of all its files once they are counted |
//! | `files` | a file that a user has stored |
//! | `uploads` | an upload under way or one that can be resumed, with its reserved bytes |
//! | `changes` | a removal or move that has begun |
//!
//! A small file that arrives in one piece has no row in `uploads`. The store writes a note of it in
//! the hidden folder. When the file gets its name, one transaction checks the quotas and enters the
//! file.
//!
//! A server that is killed between a change of the folder and the end of the transaction leaves a
//! row in `uploads` or `changes`, or a note. The next server compares it with the folder
//! ([`recovery`]).

mod changes;
mod correct;
mod folder;
mod publish;
mod recovery;
mod transaction;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::store::saturated;
use super::{Account, Accounts, Result, Store};

pub(crate) use changes::Change;
pub(crate) use correct::Corrected;
use correct::Correction;
pub(crate) use recovery::{Found, UploadState};
use transaction::Transaction;

#[cfg(test)]
mod tests;

const USER: &str = "SELECT id FROM users WHERE name = ?1";
const RESERVE: &str = "INSERT INTO uploads (folder, id, user, target, inode, bytes, kept)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (folder, id) DO UPDATE SET user = excluded.user, target = excluded.target,
        inode = excluded.inode, bytes = excluded.bytes, kept = kept OR excluded.kept";
const GROW: &str = "UPDATE uploads SET bytes = ?3 WHERE folder = ?1 AND id = ?2";
const UPLOAD: &str = "SELECT bytes, user FROM uploads WHERE folder = ?1 AND id = ?2";
const RELEASE: &str = "DELETE FROM uploads WHERE folder = ?1 AND id = ?2";
const KEPT: &str = "SELECT count(*) FROM uploads WHERE user = ?1 AND kept AND id <> ?2";
const KEEP: &str =
    "UPDATE uploads SET kept = 1, bytes = min(bytes, ?3) WHERE folder = ?1 AND id = ?2";
const FITS_USER: &str = "SELECT quota IS NULL OR
    used + ?2 - coalesce((SELECT bytes FROM files WHERE folder = ?3 AND path = ?4 AND user = ?1), 0)
        <= quota
    FROM users WHERE id = ?1";
const FOLDER: &str = "SELECT bytes, reserved, changes FROM folders WHERE id = ?1";
const ADD: &str = "UPDATE folders SET bytes = max(0, bytes + ?2), changes = changes + 1
    WHERE id = ?1";
const REMOVE_ENTRY: &str = "DELETE FROM files WHERE folder = ?1 AND path = ?2";

/// The ledger of the files in one folder.
///
/// Paths are relative to the folder and contain no symbolic link. A user that was removed has no
/// quota and no entries.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    /// The id of its row in `folders`.
    folder: i64,
    /// How far the comparison of each user's entries with the files is.
    corrections: Mutex<HashMap<String, Correction>>,
}

/// An upload that is about to begin, or to be resumed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upload<'a> {
    /// The name of its files in the hidden folder, without the extension.
    pub(crate) id: &'a str,
    /// The user whose quota it uses; `None` if it counts only for the folder.
    pub(crate) user: Option<&'a str>,
    /// The path that the file is to get, below the folder.
    pub(crate) target: &'a [u8],
    /// The inode of the file in the hidden folder.
    pub(crate) inode: u64,
    /// The bytes to reserve.
    pub(crate) bytes: u64,
    /// The size of the file that it replaces; `None` if it replaces none, as far as is known.
    pub(crate) replaces: Option<u64>,
    /// Whether it can be resumed after its connection has ended.
    pub(crate) is_kept: bool,
}

/// The limits of uploads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quotas {
    /// Maximum size of all files in the folder. The quota of a user is in the accounts file.
    pub(crate) folder: Option<u64>,
    /// Maximum number of resumable uploads of one user.
    pub(crate) max_kept: u64,
}

/// Whether an upload fits into the quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Fits,
    /// The user's quota is used up.
    UserFull,
    /// The folder's quota is used up.
    FolderFull,
    /// The folder has a quota, and its files are not counted yet.
    Uncounted,
    /// The user has the maximum number of resumable uploads.
    TooMany,
    /// The user was removed, or may not store the file any more.
    NoUser,
}

/// Whether the account of an upload's user, as it is now, permits that the file is stored.
pub(crate) type Permits<'a> = &'a dyn Fn(&Account) -> bool;

/// A file that has got its name.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// Its path below the folder.
    pub(crate) path: Vec<u8>,
    /// The size of the file that it has replaced; 0 if there was none.
    pub(crate) replaced: u64,
}

impl Ledger {
    /// The ledger of an existing folder. No connection stays open, so that a server may fork.
    ///
    /// # Errors
    /// Those of the system, and of the accounts file.
    pub fn new(accounts: Arc<Accounts>, folder: &Path) -> io::Result<Ledger> {
        Ledger::of_store(accounts.shared_store(), folder)
    }

    /// The ledger of a folder in a file of its own, for a server without accounts. The file is made
    /// if it is missing.
    pub(crate) fn without_accounts(file: &Path, folder: &Path) -> io::Result<Ledger> {
        let store = Store::create(file).and_then(|_| Store::open_to_count(file));
        Ledger::of_store(Arc::new(store.map_err(io::Error::other)?), folder)
    }

    fn of_store(store: Arc<Store>, folder: &Path) -> io::Result<Ledger> {
        let found = folder::find(folder)?;
        let folder = store
            .with(|connection| folder::enter(connection, &found))
            .map_err(io::Error::other)?;
        store.disconnect();
        Ok(Ledger(Arc::new(Inner {
            store,
            folder,
            corrections: Mutex::default(),
        })))
    }

    /// Ends the connection to the file, before a fork.
    pub(crate) fn disconnect(&self) {
        self.0.store.disconnect();
    }

    /// Whether a user may store this many more bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn fits(&self, user: Option<&str>, bytes: u64, quotas: Quotas) -> Result<Judgement> {
        self.with(|connection| {
            let user = match user_id(connection, user)? {
                Ok(user) => user,
                Err(judgement) => return Ok(judgement),
            };
            let wanted = Wanted {
                user,
                bytes,
                path: b"",
                replaces: 0,
            };
            self.judge(connection, wanted, quotas)
        })
    }

    /// Reserves room for an upload, or changes what an earlier call reserved.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn reserve(&self, upload: Upload<'_>, quotas: Quotas) -> Result<Judgement> {
        self.in_transaction(|transaction| {
            let user = match user_id(transaction, upload.user)? {
                Ok(user) => user,
                Err(judgement) => return Ok(judgement),
            };
            if upload.is_kept && kept_beside(transaction, user, upload.id)? >= quotas.max_kept {
                return Ok(Judgement::TooMany);
            }
            self.insert_row(transaction, user, &upload)?;
            if upload.bytes == 0 {
                return Ok(Judgement::Fits);
            }
            let replaces = upload.replaces;
            let wanted = Wanted::nothing_more(user, upload.target, replaces);
            self.judge(transaction, wanted, quotas)
        })
    }

    /// Inserts or replaces the row of an upload.
    fn insert_row(
        &self,
        connection: &Connection,
        user: Option<i64>,
        upload: &Upload<'_>,
    ) -> rusqlite::Result<()> {
        let row = params![
            self.0.folder,
            upload.id,
            user,
            upload.target,
            upload.inode as i64,
            saturated(upload.bytes),
            upload.is_kept
        ];
        connection.prepare_cached(RESERVE)?.execute(row).map(drop)
    }

    /// Changes the number of bytes that are reserved for an upload.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn grow(&self, upload: Upload<'_>, quotas: Quotas) -> Result<Judgement> {
        self.in_transaction(|transaction| {
            let Some((before, user)) = self.upload(transaction, upload.id)? else {
                return Ok(upload.user.map_or(Judgement::Fits, |_| Judgement::NoUser));
            };
            let bytes = params![self.0.folder, upload.id, saturated(upload.bytes)];
            transaction.prepare_cached(GROW)?.execute(bytes)?;
            if upload.bytes <= before {
                return Ok(Judgement::Fits);
            }
            let wanted = Wanted::nothing_more(user, upload.target, upload.replaces);
            self.judge(transaction, wanted, quotas)
        })
    }

    /// Keeps an upload so that it can be resumed, with at most this many bytes reserved. `false` if
    /// its user has the maximum number of such uploads.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn keep(&self, id: &str, bytes: u64, quotas: Quotas) -> Result<bool> {
        let kept = self.in_transaction(|transaction| {
            let Some((_, user)) = self.upload(transaction, id)? else {
                return Ok(Judgement::NoUser);
            };
            if kept_beside(transaction, user, id)? >= quotas.max_kept {
                return Ok(Judgement::TooMany);
            }
            let upload = params![self.0.folder, id, saturated(bytes)];
            transaction.prepare_cached(KEEP)?.execute(upload)?;
            Ok(Judgement::Fits)
        });
        kept.map(|judgement| judgement == Judgement::Fits)
    }

    /// Removes an upload that has ended without a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn release(&self, id: &str) -> Result<()> {
        let row = params![self.0.folder, id];
        self.with(|connection| connection.prepare_cached(RELEASE)?.execute(row).map(drop))
    }

    /// The size of all files in the folder, `None` while they are not counted, and the number of
    /// changes so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn folder_bytes(&self) -> Result<(Option<u64>, i64)> {
        self.with(|connection| {
            let folder = [self.0.folder];
            connection.prepare_cached(FOLDER)?.query_row(folder, |row| {
                let bytes: Option<i64> = row.get(0)?;
                Ok((bytes.map(i64::unsigned_abs), row.get(2)?))
            })
        })
    }

    /// Sets the size of all files in the folder, which were counted since the number of changes was
    /// `changes`. If there was a change meanwhile, it returns `false` and sets nothing, unless it
    /// `must`: then the larger of the two sizes holds.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn set_folder_bytes(&self, bytes: u64, changes: i64, must: bool) -> Result<bool> {
        self.with(|connection| {
            let set = "UPDATE folders SET bytes = CASE WHEN changes = ?3 THEN ?2
                    ELSE max(?2, coalesce(bytes, 0)) END
                WHERE id = ?1 AND (changes = ?3 OR ?4)";
            let row = params![self.0.folder, saturated(bytes), changes, must];
            Ok(connection.prepare_cached(set)?.execute(row)? == 1)
        })
    }

    fn judge(
        &self,
        connection: &Connection,
        wanted: Wanted<'_>,
        quotas: Quotas,
    ) -> rusqlite::Result<Judgement> {
        let Wanted {
            user,
            bytes,
            path,
            replaces,
        } = wanted;
        if let Some(user) = user {
            let fits = params![user, saturated(bytes), self.0.folder, path];
            let fits = connection
                .prepare_cached(FITS_USER)?
                .query_row(fits, |row| row.get(0));
            if !fits.optional()?.unwrap_or(true) {
                return Ok(Judgement::UserFull);
            }
        }
        let Some(quota) = quotas.folder else {
            return Ok(Judgement::Fits);
        };
        let folder = connection
            .prepare_cached(FOLDER)?
            .query_row([self.0.folder], |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?))
            })?;
        let (Some(counted), reserved) = folder else {
            return Ok(Judgement::Uncounted);
        };
        let total = i128::from(counted) + i128::from(reserved) + i128::from(bytes);
        Ok(if total - i128::from(replaces) <= i128::from(quota) {
            Judgement::Fits
        } else {
            Judgement::FolderFull
        })
    }

    /// The reserved bytes and the user of an upload.
    fn upload(
        &self,
        connection: &Connection,
        id: &str,
    ) -> rusqlite::Result<Option<(u64, Option<i64>)>> {
        let row = connection
            .prepare_cached(UPLOAD)?
            .query_row(params![self.0.folder, id], |row| {
                Ok((count(row.get(0)?), row.get(1)?))
            });
        row.optional()
    }

    /// Adds to the size of all files in the folder, or subtracts from it.
    fn add(&self, connection: &Connection, bytes: i64) -> rusqlite::Result<()> {
        connection
            .prepare_cached(ADD)?
            .execute(params![self.0.folder, bytes])?;
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.0.store.with(work)
    }

    /// Calls `work` in a transaction, which is committed only if the upload fits.
    fn in_transaction(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Judgement>,
    ) -> Result<Judgement> {
        self.with(|connection| {
            let transaction = Transaction::begin(connection)?;
            let judgement = work(&transaction)?;
            if judgement == Judgement::Fits {
                transaction.commit()?;
            }
            Ok(judgement)
        })
    }
}

/// A request for room in the quotas.
struct Wanted<'a> {
    user: Option<i64>,
    /// Bytes beside those that are reserved already.
    bytes: u64,
    /// The path of the file that is replaced. If it counts for the same user, its size is free.
    path: &'a [u8],
    /// The size of that file, which is free in the folder.
    replaces: u64,
}

impl Wanted<'_> {
    /// The request of an upload that has already reserved all of its bytes.
    fn nothing_more(user: Option<i64>, target: &[u8], replaces: Option<u64>) -> Wanted<'_> {
        let path = if replaces.is_some() { target } else { b"" };
        Wanted {
            user,
            bytes: 0,
            path,
            replaces: replaces.unwrap_or(0),
        }
    }
}

/// The id of an upload's user, `None` if it has none; `Err` if the user was removed.
fn user_id(
    connection: &Connection,
    name: Option<&str>,
) -> rusqlite::Result<std::result::Result<Option<i64>, Judgement>> {
    let Some(name) = name else {
        return Ok(Ok(None));
    };
    let row = connection
        .prepare_cached(USER)?
        .query_row([name], |row| row.get(0));
    Ok(row.optional()?.map(Some).ok_or(Judgement::NoUser))
}

/// How many uploads that can be resumed a user has, without the one with this id; 0 without a user.
fn kept_beside(connection: &Connection, user: Option<i64>, id: &str) -> rusqlite::Result<u64> {
    let others = connection
        .prepare_cached(KEPT)?
        .query_row(params![user, id], |row| row.get(0));
    others.map(count)
}

/// SQLite's integers are signed. The counts of the ledger are never negative.
fn count(number: i64) -> u64 {
    number.unsigned_abs()
}
