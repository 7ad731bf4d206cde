//! Compares the uploads and changes that a killed server left in the ledger with the folder.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};
use rustix::process::{Pid, test_kill_process};

use super::changes::{below, seconds};
use super::{
    Ledger, Placed, RELEASE, REMOVE_ENTRY, Result, Transaction, Upload, saturated, user_id,
};

/// A change that is older than this is considered abandoned, even if there is a process with the
/// recorded id: ids are used again.
const MAX_CHANGE_TIME: Duration = Duration::from_secs(60);

const UPLOADS: &str = "SELECT id, user, target, inode FROM uploads WHERE folder = ?1";
const CHANGES: &str =
    "SELECT id, process, begun, inode, source, target FROM changes WHERE folder = ?1";
const AT_OR_BELOW: &str =
    "SELECT path, bytes FROM files WHERE folder = ?1 AND (path = ?2 OR (path > ?3 AND path < ?4))";

/// A row of `uploads`.
#[derive(Debug)]
pub(crate) struct UploadRow {
    pub(crate) id: String,
    /// The path that the file was to get.
    pub(crate) target: Vec<u8>,
    /// The inode of its file, which is in the hidden folder or has its final name already.
    pub(crate) inode: u64,
    user: Option<i64>,
}

/// The state of an upload, as the folder shows it.
#[derive(Debug)]
pub(crate) enum UploadState {
    /// The upload is under way, or can be resumed.
    Alive,
    /// The server of the upload was killed. The upload can be resumed behind this many bytes.
    Interrupted(u64),
    /// The upload has no file any more.
    Gone,
    /// The file of the upload has its final name, and this size.
    Stored(Placed, u64),
}

/// A file or folder at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) inode: u64,
    pub(crate) bytes: u64,
}

impl Ledger {
    /// Brings the entries of all uploads up to date. `state` returns the state of each. Meanwhile
    /// no upload gets its name.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn recover_uploads(&self, state: impl Fn(&UploadRow) -> UploadState) -> Result<()> {
        self.with(|connection| {
            let transaction = Transaction::begin(connection)?;
            let mut is_changed = false;
            for row in self.upload_rows(&transaction)? {
                let state = state(&row);
                if matches!(state, UploadState::Alive | UploadState::Interrupted(_)) {
                    continue;
                }
                let upload = params![self.0.folder, row.id];
                transaction.prepare_cached(RELEASE)?.execute(upload)?;
                if let UploadState::Stored(placed, bytes) = state {
                    self.enter_file(&transaction, row.user, &placed, bytes)?;
                }
                is_changed = true;
            }
            if is_changed {
                self.uncount(&transaction)?;
            }
            transaction.commit()
        })
    }

    /// Enters an upload that has no row, because its server was killed before it entered the file.
    /// `state` returns its state; meanwhile no upload gets its name. Returns whether nothing is
    /// left to be entered.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn recover_unreserved(
        &self,
        upload: Upload<'_>,
        state: impl FnOnce() -> UploadState,
    ) -> Result<bool> {
        self.with(|connection| {
            let transaction = Transaction::begin(connection)?;
            let state = state();
            // If the user was removed, the file counts for no user.
            let user = user_id(&transaction, upload.user)?.unwrap_or_default();
            match state {
                UploadState::Alive => return Ok(false),
                UploadState::Gone => return Ok(true),
                UploadState::Interrupted(bytes) => {
                    let upload = Upload { bytes, ..upload };
                    self.insert_row(&transaction, user, &upload)?;
                }
                UploadState::Stored(placed, bytes) => {
                    self.enter_file(&transaction, user, &placed, bytes)?;
                }
            }
            self.uncount(&transaction)?;
            transaction.commit()?;
            Ok(true)
        })
    }

    /// Whether there is an upload with this id.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn has_upload(&self, id: &str) -> Result<bool> {
        self.with(|connection| Ok(self.upload(connection, id)?.is_some()))
    }

    /// Brings the entries up to date with the removals and moves of servers that were killed.
    /// `find` returns the file or folder at a path.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn recover_changes(&self, find: impl Fn(&[u8]) -> Option<Found>) -> Result<()> {
        self.with(|connection| {
            let transaction = Transaction::begin(connection)?;
            for change in self.dead_changes(&transaction)? {
                if let Some(target) = &change.target {
                    let is_there = |found: Found| found.inode == change.inode;
                    if find(target).is_some_and(is_there)
                        && !find(&change.source).is_some_and(is_there)
                    {
                        self.move_entries(&transaction, &change.source, target)?;
                    }
                    self.verify(&transaction, target, &find)?;
                }
                self.verify(&transaction, &change.source, &find)?;
                transaction.execute("DELETE FROM changes WHERE id = ?1", [change.id])?;
                self.uncount(&transaction)?;
            }
            transaction.commit()
        })
    }

    /// Corrects the entries at and below a path.
    fn verify(
        &self,
        connection: &Connection,
        path: &[u8],
        find: impl Fn(&[u8]) -> Option<Found>,
    ) -> rusqlite::Result<()> {
        let folder = self.0.folder;
        let (begin, end) = below(path);
        let mut statement = connection.prepare_cached(AT_OR_BELOW)?;
        let rows: Vec<(Vec<u8>, i64)> = statement
            .query_map(params![folder, path, begin, end], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        for (path, bytes) in rows {
            match find(&path).map(|found| saturated(found.bytes)) {
                None => connection
                    .prepare_cached(REMOVE_ENTRY)?
                    .execute(params![folder, path])?,
                Some(actual) if actual != bytes => {
                    let set = "UPDATE files SET bytes = ?3 WHERE folder = ?1 AND path = ?2";
                    connection
                        .prepare_cached(set)?
                        .execute(params![folder, path, actual])?
                }
                Some(_) => 0,
            };
        }
        Ok(())
    }

    fn upload_rows(&self, connection: &Connection) -> rusqlite::Result<Vec<UploadRow>> {
        let mut statement = connection.prepare_cached(UPLOADS)?;
        let rows = statement.query_map([self.0.folder], |row| {
            Ok(UploadRow {
                id: row.get(0)?,
                user: row.get(1)?,
                target: row.get(2)?,
                inode: row.get::<_, i64>(3)? as u64,
            })
        })?;
        rows.collect()
    }

    fn dead_changes(&self, connection: &Connection) -> rusqlite::Result<Vec<DeadChange>> {
        let mut statement = connection.prepare_cached(CHANGES)?;
        let now = seconds(SystemTime::now());
        let rows = statement.query_map([self.0.folder], |row| {
            let change = DeadChange {
                id: row.get(0)?,
                inode: row.get::<_, i64>(3)? as u64,
                source: row.get(4)?,
                target: row.get(5)?,
            };
            let is_alive = is_alive(row.get(1)?)
                && now.saturating_sub(row.get(2)?) < saturated(MAX_CHANGE_TIME.as_secs());
            Ok((!is_alive).then_some(change))
        })?;
        rows.filter_map(rusqlite::Result::transpose).collect()
    }
}

/// A row of `changes` whose process is dead.
struct DeadChange {
    id: i64,
    inode: u64,
    source: Vec<u8>,
    target: Option<Vec<u8>>,
}

fn is_alive(process: i32) -> bool {
    Pid::from_raw(process)
        .is_some_and(|process| !matches!(test_kill_process(process), Err(rustix::io::Errno::SRCH)))
}
