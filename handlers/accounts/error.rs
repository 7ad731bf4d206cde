//! Errors of the accounts file and of the operations on it.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use rusqlite::ErrorCode;

/// Why the accounts file cannot be read or changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum AccountsError {
    /// There is no such file.
    Missing(PathBuf),
    /// The file is not an accounts file.
    Foreign(PathBuf),
    /// A later version of this program wrote the file.
    Newer(PathBuf),
    /// The file cannot be created or read.
    Io(PathBuf, io::Error),
    /// Another process held the write lock for longer than the busy timeout.
    Locked(PathBuf),
    /// SQLite returned an error.
    Database(PathBuf, rusqlite::Error),
    /// A user with this name exists already.
    UserExists(String),
    /// No user has this name.
    NoSuchUser(String),
    /// The user has no mounted folder at that path.
    NoSuchMount(String),
    /// The user already has the maximum number of mounted folders.
    TooManyMounts,
    /// No share has this number.
    NoSuchShare(i64),
    /// The name is not a valid user name.
    BadName(String),
    /// The password is not valid. The text is the reason.
    BadPassword(&'static str),
    /// A password cannot be hashed, or a hash in the file is not a valid argon2id hash.
    Hash(String),
}

impl AccountsError {
    /// Converts an error of SQLite. The variants differ in what a user can do about them.
    pub(crate) fn of_database(path: &Path, error: rusqlite::Error) -> AccountsError {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => AccountsError::Foreign(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                AccountsError::Locked(path)
            }
            _ => AccountsError::Database(path, error),
        }
    }
}

impl fmt::Display for AccountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccountsError::Missing(path) => {
                write!(
                    f,
                    "{}: no such file; `socketserver users add` makes it",
                    path.display()
                )
            }
            AccountsError::Foreign(path) => {
                write!(f, "{}: this is not an accounts file", path.display())
            }
            AccountsError::Newer(path) => {
                write!(
                    f,
                    "{}: a later version of socketserver wrote this file; update this one",
                    path.display()
                )
            }
            AccountsError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            AccountsError::Locked(path) => {
                write!(
                    f,
                    "{}: locked, another process is writing to it; try again",
                    path.display()
                )
            }
            AccountsError::Database(path, error) => write!(f, "{}: {error}", path.display()),
            AccountsError::UserExists(name) => {
                write!(
                    f,
                    "there is a user '{name}' already; `users passwd` changes the password"
                )
            }
            AccountsError::NoSuchUser(name) => {
                write!(f, "unknown user '{name}': `users list` shows all users")
            }
            AccountsError::NoSuchMount(path) => {
                write!(
                    f,
                    "no folder is mounted at {path}: `users list` shows all mounted folders"
                )
            }
            AccountsError::TooManyMounts => {
                f.write_str("the user has 32 mounted folders already, which is the maximum")
            }
            AccountsError::NoSuchShare(id) => {
                write!(f, "unknown share {id}: `share list` shows all shares")
            }
            AccountsError::BadName(name) => {
                let name = name.escape_debug();
                write!(
                    f,
                    "invalid user name '{name}': use 1 to 64 characters, no control characters, \
                     no `:` or `/`"
                )
            }
            AccountsError::BadPassword(why) => write!(f, "the password {why}; choose another"),
            AccountsError::Hash(why) => write!(f, "password hash: {why}"),
        }
    }
}

impl std::error::Error for AccountsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AccountsError::Io(_, error) => Some(error),
            AccountsError::Database(_, error) => Some(error),
            _ => None,
        }
    }
}
