//! The accounts file: how it is made, opened, and told from other files.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::{AccountsError, Result};

/// `sskt`: says whose SQLite file it is (`PRAGMA application_id`).
const APPLICATION: i32 = 0x7373_6b74;
/// The schema's version (`PRAGMA user_version`).
const VERSION: i32 = 2;
/// The one without a ledger.
const WITHOUT_LEDGER: i32 = 1;
/// A writer waits so long for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the key that signs share links.
const SHARE_KEY: usize = 32;

/// `AUTOINCREMENT`: the number of a share that is gone is never given again, or an old link would
/// open another one.
const SCHEMA: &str = "
CREATE TABLE users (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL UNIQUE,
    hash  TEXT,
    home  TEXT NOT NULL,
    quota INTEGER CHECK (quota >= 0),
    used  INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0)
) STRICT;
CREATE TABLE rights (
    user   INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    prefix TEXT NOT NULL,
    rights TEXT NOT NULL,
    PRIMARY KEY (user, prefix)
) STRICT, WITHOUT ROWID;
CREATE TABLE shares (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    path     TEXT NOT NULL,
    expires  INTEGER,
    max_uses INTEGER,
    used     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What version 2 adds. Paths are absolute; the triggers keep `used` the sum of a user's bytes.
const LEDGER: &str = "
CREATE TABLE files (
    path  BLOB PRIMARY KEY,
    user  INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX files_of_user ON files (user);
CREATE TRIGGER file_entered AFTER INSERT ON files BEGIN
    UPDATE users SET used = used + new.bytes WHERE id = new.user;
END;
CREATE TRIGGER file_changed AFTER UPDATE OF bytes ON files BEGIN
    UPDATE users SET used = used - old.bytes + new.bytes WHERE id = new.user;
END;
CREATE TRIGGER file_struck AFTER DELETE ON files BEGIN
    UPDATE users SET used = used - old.bytes WHERE id = old.user;
END;
";

/// Makes the file if there is none; readable for its owner only.
///
/// It is written under another name and linked to its own when it is whole: of two processes that
/// make it at the same time one wins, and nobody sees half of it.
pub(super) fn make(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let name = path
        .file_name()
        .ok_or_else(|| AccountsError::Foreign(path.to_owned()))?;
    let number =
        getrandom::u64().map_err(|error| AccountsError::Io(path.to_owned(), error.into()))?;
    let aside = path.with_file_name(format!(".{}.{number:016x}.new", name.to_string_lossy()));
    let made = write_new(&aside).and_then(|()| match fs::hard_link(&aside, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(AccountsError::Io(path.to_owned(), error))
        }
        _ => Ok(()),
    });
    // Whatever happened, this name is of no use any more; that it may not be there is no failure.
    let _ = fs::remove_file(&aside);
    made.map_err(|error| match error {
        // The user knows the file by its own name.
        AccountsError::Io(_, error) => AccountsError::Io(path.to_owned(), error),
        error => error,
    })
}

fn write_new(path: &Path) -> Result<()> {
    let io = |error: io::Error| AccountsError::Io(path.to_owned(), error);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    let mut key = [0; SHARE_KEY];
    getrandom::fill(&mut key).map_err(|error| io(error.into()))?;
    let fill = |mut connection: Connection| {
        connection.pragma_update(None, "journal_mode", "wal")?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.execute_batch(LEDGER)?;
        transaction.execute("INSERT INTO secrets VALUES ('share', ?1)", params![key])?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
        connection.close().map_err(|(_, error)| error)
    };
    connect(path)
        .and_then(fill)
        .map_err(|error| AccountsError::of_database(path, error))
}

/// Opens the file, and makes sure that it is one of ours.
///
/// It must not be opened in any other way: closing it would drop the locks that SQLite holds for
/// this process (fcntl(2), as explained in SQLite's "How To Corrupt", §2.2).
pub(super) fn open(path: &Path) -> Result<Connection> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => AccountsError::Missing(path.to_owned()),
        _ => AccountsError::Io(path.to_owned(), error),
    })?;
    if !metadata.is_file() {
        return Err(AccountsError::Foreign(path.to_owned()));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        log::warn!(
            "{}: others may read the accounts; `chmod 600` it",
            path.display()
        );
    }
    let read = |connection: Connection| {
        let application: i32 =
            connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((connection, application, version))
    };
    match connect(path)
        .and_then(read)
        .map_err(|error| AccountsError::of_database(path, error))?
    {
        (connection, APPLICATION, VERSION) => Ok(connection),
        (connection, APPLICATION, WITHOUT_LEDGER) => {
            upgrade(connection).map_err(|error| AccountsError::of_database(path, error))
        }
        (_, APPLICATION, _) => Err(AccountsError::Newer(path.to_owned())),
        _ => Err(AccountsError::Foreign(path.to_owned())),
    }
}

/// Gives a file of an earlier version what it lacks. Nobody knows who stored what is there: it
/// counts for nobody.
fn upgrade(mut connection: Connection) -> rusqlite::Result<Connection> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // Another process may have been faster.
    if version == WITHOUT_LEDGER {
        transaction.execute_batch(LEDGER)?;
        transaction.execute("UPDATE users SET used = 0", [])?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Never makes a file; a mutex around the connection is the store's business.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Else a statement is planned anew for every value that is bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}
