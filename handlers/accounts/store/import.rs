//! Adds users, one or many at a time.

use rusqlite::{Transaction, TransactionBehavior, params};

use super::{NewUser, Store, saturated};
use crate::accounts::Result;

/// The result of importing one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// The user did not exist, and was added.
    Added,
    /// The user existed, and has the new password now. Everything else is unchanged.
    PasswordChanged,
    /// The user existed, and is unchanged.
    Exists,
}

impl Store {
    /// Adds users in one transaction. Their names must have been checked with
    /// [`check_name`](super::check_name). A user that exists keeps the old password unless
    /// `overwrite` is set.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn import(&self, users: &[NewUser<'_>], overwrite: bool) -> Result<Vec<Imported>> {
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut imported = Vec::with_capacity(users.len());
            for user in users {
                imported.push(if insert(&transaction, user)? {
                    Imported::Added
                } else if overwrite {
                    let set = "UPDATE users SET hash = ?2 WHERE name = ?1";
                    let mut set = transaction.prepare_cached(set)?;
                    set.execute(params![user.name, user.hash])?;
                    Imported::PasswordChanged
                } else {
                    Imported::Exists
                });
            }
            transaction.commit()?;
            Ok(imported)
        })
    }

    /// Replaces the PHC string of a password, unless it has changed since it was read.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(in crate::accounts) fn replace_hash(&self, name: &str, old: &str, new: &str) -> Result<()> {
        self.with(|connection| {
            let set = "UPDATE users SET hash = ?3 WHERE name = ?1 AND hash = ?2";
            connection.execute(set, [name, old, new]).map(drop)
        })
    }
}

/// Adds a user. Returns `false` if another user has the name.
pub(super) fn insert(transaction: &Transaction<'_>, user: &NewUser<'_>) -> rusqlite::Result<bool> {
    let enter = "INSERT INTO users (name, hash, home, quota) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (name) DO NOTHING";
    let home = user.home.as_str();
    let row = params![user.name, user.hash, home, user.quota.map(saturated)];
    if transaction.prepare_cached(enter)?.execute(row)? == 0 {
        return Ok(false);
    }
    let id = transaction.last_insert_rowid();
    let mut rule = transaction.prepare_cached("INSERT INTO rights VALUES (?1, ?2, ?3)")?;
    rule.execute(params![id, home, user.rights.to_string()])?;
    Ok(true)
}
