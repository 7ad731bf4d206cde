//! The folders of the system that users have mounted.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{TransactionBehavior, params};

use super::{Prefix, Store};
use crate::accounts::{AccountsError, Result};

/// Maximum number of mounted folders of a user.
const MAX_MOUNTS: i64 = 32;

/// A folder outside of the served directory that a user sees below the home directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The path at which the user sees the folder, as a path below the home directory.
    pub at: Prefix,
    /// The absolute path of the folder.
    pub folder: PathBuf,
}

impl Mount {
    /// Returns the path of the mount below the served directory, for a user with this home
    /// directory, without slashes at its ends.
    pub(crate) fn below_root(&self, home: &Prefix) -> String {
        let path = format!("{home}{}", self.at);
        path.trim_matches('/').replace("//", "/")
    }
}

impl Store {
    /// Mounts a folder for a user. It replaces a folder that is mounted at the same path.
    ///
    /// # Errors
    /// The user does not exist or already has 32 mounted folders, or the file cannot be written.
    pub fn mount(&self, name: &str, at: &Prefix, folder: &str) -> Result<()> {
        let (entered, count) = self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let enter = "INSERT OR REPLACE INTO mounts (user, path, folder)
                SELECT id, ?2, ?3 FROM users WHERE name = ?1";
            let entered = transaction.execute(enter, [name, at.as_str(), folder])?;
            let count = "SELECT count(*) FROM mounts JOIN users ON user = id WHERE name = ?1";
            let count: i64 = transaction.query_row(count, [name], |row| row.get(0))?;
            if count <= MAX_MOUNTS {
                transaction.commit()?;
            }
            Ok((entered, count))
        })?;
        match (entered, count) {
            (0, _) => Err(AccountsError::NoSuchUser(name.to_owned())),
            (_, count) if count > MAX_MOUNTS => Err(AccountsError::TooManyMounts),
            _ => Ok(()),
        }
    }

    /// Removes the mounted folder at a path.
    ///
    /// # Errors
    /// The user does not exist, nothing is mounted at this path, or the file cannot be written.
    pub fn unmount(&self, name: &str, at: &Prefix) -> Result<()> {
        let remove = "DELETE FROM mounts
            WHERE path = ?2 AND user = (SELECT id FROM users WHERE name = ?1)";
        let row = params![name, at.as_str()];
        let removed = self.with(|connection| connection.execute(remove, row))?;
        match removed {
            0 if self.account(name)?.is_none() => Err(AccountsError::NoSuchUser(name.to_owned())),
            0 => Err(AccountsError::NoSuchMount(at.to_string())),
            _ => Ok(()),
        }
    }

    /// Whether the accounts file is in a folder. Such a folder must not be served.
    ///
    /// # Errors
    /// Those of the system.
    pub fn lies_in(&self, folder: &Path) -> io::Result<bool> {
        Ok(self
            .path
            .canonicalize()?
            .starts_with(folder.canonicalize()?))
    }
}
