//! Creates and opens the accounts file, and distinguishes it from other files.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::schema::{STEPS, VERSION};
use super::{AccountsError, Result};

/// Marks a SQLite file as an accounts file (`PRAGMA application_id`): `sskt` in ASCII.
const APPLICATION: i32 = 0x7373_6b74;
/// Maximum time that a writer waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Length in bytes of the key that signs share links.
const SHARE_KEY: usize = 32;

/// Creates the file if it is missing. Only its owner can read it.
///
/// The file is written under a temporary name, and then linked to its own name. If two processes
/// create it at the same time, one of them wins, and no process sees an incomplete file.
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
    // The temporary name is not needed any more. It may be missing, so an error is ignored.
    let _ = fs::remove_file(&aside);
    made.map_err(|error| match error {
        // The user does not know the temporary name, so the error names the file itself.
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
        STEPS
            .iter()
            .try_for_each(|step| transaction.execute_batch(step))?;
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

/// Opens the file, and checks that it is an accounts file.
///
/// No other code may open this file: closing another descriptor would drop the locks that SQLite
/// holds for this process (fcntl(2), explained in SQLite's "How To Corrupt", §2.2).
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
        (connection, APPLICATION, 1..VERSION) => {
            upgrade(connection).map_err(|error| AccountsError::of_database(path, error))
        }
        (_, APPLICATION, _) => Err(AccountsError::Newer(path.to_owned())),
        _ => Err(AccountsError::Foreign(path.to_owned())),
    }
}

/// Brings a file of an earlier version up to the current schema.
fn upgrade(mut connection: Connection) -> rusqlite::Result<Connection> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read within the transaction: another process may have upgraded the file meanwhile.
    let version: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or_default();
    for (from, step) in STEPS.iter().enumerate().skip(version) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", from as i32 + 1)?;
    }
    transaction.commit()?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // These flags never create a file. SQLite needs no mutex of its own, because `Store` has one.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Otherwise SQLite plans a statement again for each value that is bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}
