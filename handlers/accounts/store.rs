//! Users in the accounts file.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, Rows, TransactionBehavior, params};

use super::{AccountsError, Prefix, Result, Rights, Rules, file};
pub use import::Imported;
pub use mounts::Mount;

mod import;
mod mounts;
#[cfg(test)]
mod tests;

/// Clients that give no name have the rights of this user. This user has no password.
pub const ANONYMOUS: &str = "anonymous";

/// Maximum number of characters of a name.
const MAX_NAME_LENGTH: usize = 64;

/// The statement whose rows [`read`] parses. It returns a row for each rule of a user, or one row
/// if the user has no rule, and a row for each mounted folder. A single statement sees one state of
/// the file, even while another process writes.
macro_rules! users {
    ($which:literal, $order:literal) => {
        concat!(
            "SELECT name, hash, home, quota, used, prefix, rights, rate_limit, max_sessions, NULL \
             FROM users LEFT JOIN rights ON user = id ",
            $which,
            " UNION ALL \
             SELECT name, hash, home, quota, used, path, NULL, rate_limit, max_sessions, folder \
             FROM users JOIN mounts ON user = id ",
            $which,
            $order
        )
    };
}

/// A user in the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The home directory, which the user cannot leave.
    pub home: Prefix,
    /// The home without symbolic links; `None` if it contains none.
    pub(super) real_home: Option<Prefix>,
    /// Maximum number of bytes that the user may store. `None`: no limit.
    pub quota: Option<u64>,
    /// Bytes that the user had stored, or had reserved for uploads, when the file was read: the sum
    /// of the user's entries in the ledger.
    pub used: u64,
    /// Maximum rate of all FTP sessions of the user, in bytes per second; 0: no limit. `None`: the
    /// limit of the server.
    pub rate_limit: Option<u64>,
    /// Maximum number of FTP sessions of the user. `None`: the limit of the server.
    pub max_sessions: Option<u32>,
    /// Rights per path.
    pub rules: Rules,
    /// Folders of the system that the user sees, sorted by path.
    pub mounts: Vec<Mount>,
    /// The PHC string of the password; the anonymous user has none.
    pub(super) hash: Option<String>,
}

impl Account {
    /// Returns the account with `real_home` as its home without symbolic links. Rights are checked
    /// for paths without links, but the rules are written for paths in the home. So a path below
    /// `real_home` is checked as the same path below the home.
    pub(crate) fn with_real_home(self, real_home: Prefix) -> Account {
        let real_home = (real_home != self.home).then_some(real_home);
        Account { real_home, ..self }
    }

    /// The path in the home that the rules are applied to; `None` for a path outside of the home.
    fn in_home<'a>(&self, path: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.home.covers(path) {
            return Some(Cow::Borrowed(path));
        }
        let below = self.real_home.as_ref()?.below(path)?;
        Some(
            [self.home.as_str().as_bytes(), b"/", &below]
                .concat()
                .into(),
        )
    }

    /// The rights at a path below the served directory; none outside of the home.
    pub fn rights(&self, path: &[u8]) -> Rights {
        self.in_home(path)
            .map_or(Rights::NONE, |path| self.rules.at(&path))
    }

    /// The rights at a path and at all paths below it, to remove, move or pack a directory.
    pub fn rights_throughout(&self, path: &[u8]) -> Rights {
        self.in_home(path)
            .map_or(Rights::NONE, |path| self.rules.throughout(&path))
    }

    /// The rights at a path or anywhere below it, to see that it exists.
    pub fn rights_anywhere(&self, path: &[u8]) -> Rights {
        self.in_home(path)
            .map_or(Rights::NONE, |path| self.rules.anywhere(&path))
    }

    /// Whether the user has a password, which a login needs.
    pub fn has_password(&self) -> bool {
        self.hash.is_some()
    }
}

/// Omits the hash, which must not get into a log.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

/// A user to be added.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// The name. No other user may have it.
    pub name: &'a str,
    /// The PHC string of the password; `None` for the anonymous user.
    pub hash: Option<String>,
    /// The home directory, which the user cannot leave.
    pub home: Prefix,
    /// Maximum number of bytes that the user may store. `None`: no limit.
    pub quota: Option<u64>,
    /// The rights in the home directory.
    pub rights: Rights,
}

/// An accounts file. All methods may be called from any thread, and after a fork.
///
/// A change by another process is visible immediately. The file must not be replaced by another
/// file while a server runs: SQLite would apply the write-ahead log of the old file to the new one.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// The value of SQLite's `PRAGMA synchronous`.
    synchronous: &'static str,
    /// The connection, with the id of the process that opened it. The first use opens it, so that a
    /// server that forks passes no open connection to its children: SQLite does not support a
    /// connection across a fork.
    connection: Mutex<Option<(u32, Connection)>>,
}

impl Store {
    /// Opens an accounts file.
    ///
    /// # Errors
    /// The file is missing, or it is not an accounts file.
    pub fn open(path: &Path) -> Result<Store> {
        drop(file::open(path)?);
        Ok(Store {
            path: path.to_owned(),
            synchronous: "full",
            connection: Mutex::new(None),
        })
    }

    /// Opens an accounts file for a server, which counts bytes and uses of shares. Commits do not
    /// wait for the disk: after a power failure the last counts may be missing, but nothing else is
    /// lost.
    ///
    /// # Errors
    /// The file is missing, or it is not an accounts file.
    pub fn open_to_count(path: &Path) -> Result<Store> {
        Ok(Store {
            synchronous: "normal",
            ..Store::open(path)?
        })
    }

    /// Opens an accounts file. Creates it with mode 0600 if it is missing.
    ///
    /// # Errors
    /// The file cannot be created, or it is not an accounts file.
    pub fn create(path: &Path) -> Result<Store> {
        file::make(path)?;
        Store::open(path)
    }

    /// Calls `work` with the connection, which is opened if necessary.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut slot = self.connection.lock();
        let process = std::process::id();
        if let Some((owner, connection)) = slot.take() {
            match owner == process {
                true => *slot = Some((owner, connection)),
                // This is a copy of the parent's connection. Closing it could delete the
                // write-ahead log that the parent uses, so it stays open until this process ends.
                false => std::mem::forget(connection),
            }
        }
        let (_, connection) = match &mut *slot {
            Some(open) => open,
            None => {
                let connection = file::open(&self.path)?;
                let set = connection.pragma_update(None, "synchronous", self.synchronous);
                set.map_err(|error| AccountsError::of_database(&self.path, error))?;
                slot.insert((process, connection))
            }
        };
        work(connection).map_err(|error| AccountsError::of_database(&self.path, error))
    }

    /// Closes the connection until it is used again, so that no fork copies it.
    pub(crate) fn disconnect(&self) {
        let mut slot = self.connection.lock();
        if slot
            .as_ref()
            .is_some_and(|(owner, _)| *owner == std::process::id())
        {
            *slot = None;
        }
    }

    /// Returns the user with this name; `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn account(&self, name: &str) -> Result<Option<Account>> {
        self.with(|connection| account_of(connection, name))
    }

    /// Returns all users, sorted by name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn accounts(&self) -> Result<Vec<Account>> {
        self.with(|connection| {
            read(
                connection
                    .prepare(users!("", " ORDER BY name"))?
                    .query([])?,
            )
        })
    }

    /// Adds a user.
    ///
    /// # Errors
    /// The name is not valid or another user has it, or the file cannot be written.
    pub fn add_user(&self, user: &NewUser<'_>) -> Result<()> {
        check_name(user.name)?;
        let added = self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let added = import::insert(&transaction, user)?;
            transaction.commit()?;
            Ok(added)
        })?;
        if added {
            Ok(())
        } else {
            Err(AccountsError::UserExists(user.name.to_owned()))
        }
    }

    /// Replaces the stored hash of a user's password by this PHC string.
    ///
    /// # Errors
    /// The user does not exist, or the file cannot be written.
    pub fn set_hash(&self, name: &str, hash: &str) -> Result<()> {
        self.update(name, "UPDATE users SET hash = ?2 WHERE name = ?1", hash)
    }

    /// Changes the quota of a user in bytes. `None`: no limit.
    ///
    /// # Errors
    /// The user does not exist, or the file cannot be written.
    pub fn set_quota(&self, name: &str, quota: Option<u64>) -> Result<()> {
        self.update(
            name,
            "UPDATE users SET quota = ?2 WHERE name = ?1",
            quota.map(saturated),
        )
    }

    /// Changes the maximum rate of a user's FTP sessions in bytes per second. `None`: the limit of
    /// the server.
    ///
    /// # Errors
    /// The user does not exist, or the file cannot be written.
    pub fn set_rate_limit(&self, name: &str, rate: Option<u64>) -> Result<()> {
        self.update(
            name,
            "UPDATE users SET rate_limit = ?2 WHERE name = ?1",
            rate.map(saturated),
        )
    }

    /// Changes the maximum number of a user's FTP sessions, at least 1. `None`: the limit of the
    /// server.
    ///
    /// # Errors
    /// The user does not exist, or the file cannot be written.
    pub fn set_max_sessions(&self, name: &str, max: Option<u32>) -> Result<()> {
        self.update(
            name,
            "UPDATE users SET max_sessions = ?2 WHERE name = ?1",
            max,
        )
    }

    /// Changes the home directory of a user. The rights stay as they are.
    ///
    /// # Errors
    /// The user does not exist, or the file cannot be written.
    pub fn set_home(&self, name: &str, home: &Prefix) -> Result<()> {
        self.update(
            name,
            "UPDATE users SET home = ?2 WHERE name = ?1",
            home.as_str(),
        )
    }

    /// Removes a user, with the user's rights and mounts.
    ///
    /// # Errors
    /// The user does not exist, or the file cannot be written.
    pub fn remove_user(&self, name: &str) -> Result<()> {
        let removed = self
            .with(|connection| connection.execute("DELETE FROM users WHERE name = ?1", [name]))?;
        if removed == 1 {
            Ok(())
        } else {
            Err(AccountsError::NoSuchUser(name.to_owned()))
        }
    }

    /// Changes the rights at a prefix. `change` gets the current rights there and returns the new
    /// ones, which are also the result.
    ///
    /// # Errors
    /// The user does not exist, or the file cannot be written.
    pub fn change_rights(
        &self,
        name: &str,
        prefix: &Prefix,
        change: impl FnOnce(Rights) -> Rights,
    ) -> Result<Rights> {
        let changed = self.with(|connection| {
            // The transaction takes the write lock when it begins, so that no other process changes
            // the rules between the read and the write.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let found = read(
                transaction
                    .prepare(users!("WHERE name = ?1", ""))?
                    .query([name])?,
            )?
            .pop();
            let Some(account) = found else {
                return Ok(None);
            };
            let rights = change(account.rules.at(prefix.as_str().as_bytes()));
            let set = "INSERT OR REPLACE INTO rights SELECT id, ?2, ?3 FROM users WHERE name = ?1";
            transaction.execute(set, params![name, prefix.as_str(), rights.to_string()])?;
            transaction.commit()?;
            Ok(Some(rights))
        })?;
        changed.ok_or_else(|| AccountsError::NoSuchUser(name.to_owned()))
    }

    fn update(&self, name: &str, statement: &str, value: impl rusqlite::ToSql) -> Result<()> {
        let changed = self.with(|connection| {
            connection
                .prepare_cached(statement)?
                .execute(params![name, value])
        })?;
        if changed == 1 {
            Ok(())
        } else {
            Err(AccountsError::NoSuchUser(name.to_owned()))
        }
    }
}

/// Reads a user through the connection, within its open transaction if there is one. `None` if no
/// user has this name.
pub(super) fn account_of(connection: &Connection, name: &str) -> rusqlite::Result<Option<Account>> {
    let mut users = connection.prepare_cached(users!("WHERE name = ?1", ""))?;
    Ok(read(users.query([name])?)?.pop())
}

/// Builds the users with their rules from rows. All rows of a user must be adjacent.
fn read(mut rows: Rows<'_>) -> rusqlite::Result<Vec<Account>> {
    let mut accounts: Vec<Account> = Vec::new();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str()?;
        if accounts.last().is_none_or(|last| last.name != name) {
            accounts.push(Account {
                name: name.to_owned(),
                hash: row.get(1)?,
                home: parsed(2, row.get_ref(2)?.as_str()?)?,
                real_home: None,
                quota: row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
                used: row.get::<_, i64>(4)?.unsigned_abs(),
                rate_limit: row.get::<_, Option<i64>>(7)?.map(i64::unsigned_abs),
                max_sessions: row.get(8)?,
                rules: Rules::default(),
                mounts: Vec::new(),
            });
        }
        let path = row.get_ref(5)?.as_str_or_null()?;
        let (Some(account), Some(path)) = (accounts.last_mut(), path) else {
            continue;
        };
        let path: Prefix = parsed(5, path)?;
        match row.get::<_, Option<String>>(9)? {
            Some(folder) => account.mounts.push(Mount {
                at: path,
                folder: folder.into(),
            }),
            None => {
                let rights = parsed(6, row.get_ref(6)?.as_str()?)?;
                account.rules.set(path, rights);
            }
        }
    }
    for account in &mut accounts {
        account.mounts.sort_by(|one, other| one.at.cmp(&other.at));
    }
    Ok(accounts)
}

/// Parses a text value of the file. It can be malformed, because other programs may have written to
/// the file.
fn parsed<T: std::str::FromStr<Err = String>>(column: usize, text: &str) -> rusqlite::Result<T> {
    text.parse().map_err(|why: String| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
    })
}

/// Converts a number of bytes to a signed integer of SQLite. Numbers above 2^63 - 1 become that
/// maximum.
pub(super) fn saturated(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Checks a user name: it must fit into `NAME:PASSWORD` (RFC 7617 §2), into a line of FTP, and on a
/// terminal.
///
/// # Errors
/// [`AccountsError::BadName`] if the name is not valid.
pub fn check_name(name: &str) -> Result<()> {
    let bad = |c: char| c.is_control() || matches!(c, ':' | '/');
    let fits = (1..=MAX_NAME_LENGTH).contains(&name.chars().count())
        && name.trim() == name
        && !name.contains(bad);
    if fits {
        Ok(())
    } else {
        Err(AccountsError::BadName(name.to_owned()))
    }
}
