//! Accounts: the users who may log in, and the rights of each user. HTTP and FTP share them, and
//! `socketserver users` changes them.
//!
//! One SQLite file contains users with argon2id hashes, rights per path ([`rights`]), quotas with
//! the [`Ledger`] of stored files, and share links. A server verifies logins with [`Accounts`],
//! which remembers correct passwords for five minutes. A change of the file takes effect with the
//! next request, without a signal.

mod backoff;
pub mod basic;
mod error;
mod file;
mod foreign;
mod hash;
mod ledger;
mod remembered;
pub mod rights;
mod schema;
pub mod share;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod verify;

pub use error::AccountsError;
pub use foreign::check_hash;
pub use hash::{Cost, hash_password};
pub use ledger::Ledger;
pub(crate) use ledger::{
    Change, Corrected, Found, Judgement, Permits, Placed, Quotas, Upload, UploadState,
};
pub(crate) use remembered::hmac;
pub use rights::{Prefix, Rights, Rules};
pub use store::{ANONYMOUS, Account, Imported, Mount, NewUser, Store, check_name};
pub use verify::{Accounts, Counts, Verdict};

/// The result of functions of this module.
pub type Result<T, E = AccountsError> = std::result::Result<T, E>;
