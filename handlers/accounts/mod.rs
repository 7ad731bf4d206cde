//! Accounts: who may log in, and what each user may do. Shared by http and ftp, changed by
//! `socketserver users`.
//!
//! One SQLite file holds everything: users with argon2id hashes, rights per path ([`rights`]),
//! quotas and the [`Ledger`] that they are judged by, share links. A server asks [`Accounts`],
//! which remembers for some minutes that a password was right; what somebody changes in the file
//! counts from the next request on, without a signal.

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

/// What a function of accounts gives, or why not.
pub type Result<T, E = AccountsError> = std::result::Result<T, E>;
