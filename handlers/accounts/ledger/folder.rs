//! Finds the row of a served folder in the ledger. A folder is known by its path and its inode, so
//! that it keeps its row when it is renamed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::changes::below;

/// A folder's path and inode.
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

/// The id of the folder's row, which is inserted if there is none.
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
        // Another folder had this path before. It keeps its row, and is found by its inode if it
        // is served at another path.
        let free = "UPDATE folders SET path = CAST('gone ' || id AS BLOB) WHERE path = ?1";
        transaction.execute(free, [&found.path])?;
        let set = "UPDATE folders SET path = ?2 WHERE id = ?1";
        transaction.execute(set, params![id, found.path])?;
        return Ok(id);
    }
    // The path may be known with another inode: the folder was restored from a backup, or moved to
    // another disk.
    let enter = "INSERT INTO folders (path, inode) VALUES (?1, ?2)
        ON CONFLICT (path) DO UPDATE SET inode = excluded.inode, bytes = NULL RETURNING id";
    transaction.query_row(enter, params![found.path, found.inode], |row| row.get(0))
}

/// The row of a folder that has this inode and has left its recorded path.
fn renamed(transaction: &Transaction<'_>, found: &FolderIdentity) -> rusqlite::Result<Option<i64>> {
    let mut rows =
        transaction.prepare("SELECT id, path FROM folders WHERE inode = ?1 AND id <> 0")?;
    let rows = rows.query_map([found.inode], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    for row in rows {
        let (id, path) = row?;
        let path = PathBuf::from(OsString::from_vec(path));
        // Inodes are unique only within one file system: this may be another folder.
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
    // The update ignored the entries of paths that the folder has entries for.
    transaction.execute(remove, params![begin, end])?;
    Ok(())
}
