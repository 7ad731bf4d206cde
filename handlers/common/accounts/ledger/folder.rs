//! Which row of the ledger is a folder's: the one with its inode, also after it was renamed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::changes::below;

/// A folder, as the system knows it.
pub(super) struct FolderIdentity {
    /// Absolute and resolved.
    path: Vec<u8>,
    inode: i64,
}

pub(super) fn find(folder: &Path) -> io::Result<FolderIdentity> {
    let path = folder.canonicalize()?;
    let inode = fs::metadata(&path)?.ino() as i64;
    let path = path.into_os_string().into_vec();
    Ok(FolderIdentity { path, inode })
}

/// The folder's row, made if there is none.
pub(super) fn enter(connection: &mut Connection, found: &FolderIdentity) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let id = match same(&transaction, found)? {
        Some(id) => id,
        None => enter_new_path(&transaction, found)?,
    };
    take_over(&transaction, id, &found.path)?;
    transaction.commit()?;
    Ok(id)
}

fn same(transaction: &Transaction<'_>, found: &FolderIdentity) -> rusqlite::Result<Option<i64>> {
    let same = "SELECT id FROM folders WHERE path = ?1 AND inode = ?2";
    let row = params![found.path, found.inode];
    transaction
        .query_row(same, row, |row| row.get(0))
        .optional()
}

fn enter_new_path(transaction: &Transaction<'_>, found: &FolderIdentity) -> rusqlite::Result<i64> {
    let renamed = renamed(transaction, found)?;
    if let Some(id) = renamed {
        // Another folder was here before, and may be found elsewhere by its inode.
        let free = "UPDATE folders SET path = CAST('gone ' || id AS BLOB) WHERE path = ?1";
        transaction.execute(free, [&found.path])?;
        let set = "UPDATE folders SET path = ?2 WHERE id = ?1";
        transaction.execute(set, params![id, found.path])?;
        return Ok(id);
    }
    // A folder that was restored from a copy, or moved to another disk, has the same path.
    let enter = "INSERT INTO folders (path, inode) VALUES (?1, ?2)
        ON CONFLICT (path) DO UPDATE SET inode = excluded.inode, bytes = NULL RETURNING id";
    transaction.query_row(enter, params![found.path, found.inode], |row| row.get(0))
}

/// The row of a folder with this inode that is not any more where it was.
fn renamed(transaction: &Transaction<'_>, found: &FolderIdentity) -> rusqlite::Result<Option<i64>> {
    let mut rows =
        transaction.prepare("SELECT id, path FROM folders WHERE inode = ?1 AND id <> 0")?;
    let rows = rows.query_map([found.inode], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    for row in rows {
        let (id, path) = row?;
        let path = PathBuf::from(OsString::from_vec(path));
        // An inode is unique on its disk only.
        let is_there = fs::metadata(&path).is_ok_and(|folder| folder.ino() as i64 == found.inode);
        if !is_there {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Moves the entries of version 2 that lie in this folder from folder 0 to it. The entries of
/// partial uploads become rows of `uploads`.
fn take_over(transaction: &Transaction<'_>, id: i64, path: &[u8]) -> rusqlite::Result<()> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let (begin, end) = if path.is_empty() {
        (Vec::new(), vec![0xff])
    } else {
        below(path)
    };
    let (hidden, hidden_end) = below(&[&begin, &b".socketserver-partial"[..]].concat());
    let uploads = "INSERT OR IGNORE INTO uploads (folder, id, user, target, inode, bytes, kept)
        SELECT ?1, replace(CAST(substr(path, ?2) AS TEXT), '.part', ''), user, x'', 0, bytes, 1
        FROM files WHERE folder = 0 AND path >= ?3 AND path < ?4";
    let id_begin = hidden.len() as i64 + 1;
    transaction.execute(uploads, params![id, id_begin, hidden, hidden_end])?;
    let remove = "DELETE FROM files WHERE folder = 0 AND path >= ?1 AND path < ?2";
    transaction.execute(remove, params![hidden, hidden_end])?;
    let files = "UPDATE OR IGNORE files SET folder = ?1, path = substr(path, ?2)
        WHERE folder = 0 AND path >= ?3 AND path < ?4";
    transaction.execute(files, params![id, begin.len() as i64 + 1, begin, end])?;
    // Entries that the folder has already.
    transaction.execute(remove, params![begin, end])?;
    Ok(())
}
