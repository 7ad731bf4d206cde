//! Removals and moves. Each is recorded in the ledger before it is done, so that the next server
//! can complete the entries of a server that was killed.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, params};

use super::{Ledger, REMOVE_ENTRY, Result, Transaction, saturated};

/// Maximum number of times that a change is recorded, because another file has got the path since
/// the last time.
const MAX_ATTEMPTS: u32 = 8;

const BEGIN: &str = "INSERT INTO changes (folder, process, begun, inode, source, target)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const END: &str = "DELETE FROM changes WHERE id = ?1";
/// Removes the entry at a path, and those in a range: the paths below a folder.
const REMOVE_ENTRIES: &str =
    "DELETE FROM files WHERE folder = ?1 AND (path = ?2 OR (path > ?3 AND path < ?4))";
const MOVE: &str = "UPDATE files SET path = CAST(?5 || substr(path, length(?2) + 1) AS BLOB)
    WHERE folder = ?1 AND (path = ?2 OR (path > ?3 AND path < ?4))";
const UNCOUNT: &str = "UPDATE folders SET bytes = NULL, changes = changes + 1 WHERE id = ?1";

/// A removal or move, by paths below the folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) source: &'a [u8],
    /// `None` for a removal.
    pub(crate) target: Option<&'a [u8]>,
}

impl Ledger {
    /// Removes or moves a file or folder. `act` does it, and returns the number of bytes that this
    /// has freed, or `None` if it failed. `inode` returns the inode of the file at the source.
    ///
    /// The change is recorded in a first transaction. `act` is called within a second one, which
    /// also updates the entries: between the change and its entries, no upload gets its name and
    /// nothing else is removed or moved. So a killed server leaves at most one change that is done
    /// but not entered.
    ///
    /// # Errors
    /// The file cannot be written, before or after `act`.
    pub(crate) fn change(
        &self,
        change: Change<'_>,
        inode: impl Fn() -> u64,
        act: impl FnOnce() -> Option<u64>,
    ) -> Result<()> {
        let mut act = Some(act);
        for attempt in 1..=MAX_ATTEMPTS {
            let known = inode();
            let id = self.begin_change(change, known)?;
            let is_done = self.with(|connection| {
                let transaction = Transaction::begin(connection)?;
                let is_first = transaction.prepare_cached(END)?.execute([id])? == 1;
                let is_known = inode() == known || attempt == MAX_ATTEMPTS;
                if let Some(act) = act.take_if(|_| is_known) {
                    if let Some(freed) = act() {
                        self.enter_change(&transaction, change)?;
                        self.add(&transaction, -saturated(freed))?;
                    }
                    if !is_first {
                        // Another server has recovered this change: it considered this server
                        // dead.
                        self.uncount(&transaction)?;
                    }
                }
                transaction.commit()?;
                Ok(is_known)
            })?;
            if is_done {
                break;
            }
        }
        Ok(())
    }

    /// Records a change of the file or folder with this inode that is about to be made. Returns
    /// the id of the record.
    pub(super) fn begin_change(&self, change: Change<'_>, inode: u64) -> Result<i64> {
        let (process, now) = (std::process::id(), seconds(SystemTime::now()));
        let Change { source, target } = change;
        let row = params![self.0.folder, process, now, inode as i64, source, target];
        self.with(|connection| {
            connection.prepare_cached(BEGIN)?.execute(row)?;
            Ok(connection.last_insert_rowid())
        })
    }

    fn enter_change(&self, connection: &Connection, change: Change<'_>) -> rusqlite::Result<()> {
        match change.target {
            Some(target) => self.move_entries(connection, change.source, target),
            None => {
                let file = params![self.0.folder, change.source];
                connection
                    .prepare_cached(REMOVE_ENTRY)?
                    .execute(file)
                    .map(drop)
            }
        }
    }

    pub(super) fn move_entries(
        &self,
        connection: &Connection,
        from: &[u8],
        to: &[u8],
    ) -> rusqlite::Result<()> {
        let folder = self.0.folder;
        let (begin, end) = below(to);
        let target = params![folder, to, begin, end];
        connection.prepare_cached(REMOVE_ENTRIES)?.execute(target)?;
        let (begin, end) = below(from);
        let source = params![folder, from, begin, end, to];
        connection.prepare_cached(MOVE)?.execute(source)?;
        Ok(())
    }

    /// Drops the sum of the folder's files, so that they are counted again.
    pub(super) fn uncount(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached(UNCOUNT)?
            .execute([self.0.folder])
            .map(drop)
    }
}

/// The range of the paths below a folder: from the first value to the second, which is excluded.
pub(super) fn below(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([path, b"/"].concat(), [path, b"0"].concat()) // `0` follows `/`
}

pub(super) fn seconds(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    saturated(since_1970.as_secs())
}
