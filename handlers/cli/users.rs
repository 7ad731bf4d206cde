//! `socketserver users`: the accounts that http and ftp share.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "doc comments are help texts here, where brackets are brackets"
)]

mod import;
mod list;
mod set;

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::accounts::{
    ANONYMOUS, AccountsError, Cost, NewUser, Prefix, Rights, Store, check_name, hash_password,
};
use crate::common::values::size;
use crate::service::Failure;

/// Maximum number of bytes of standard input that are read for a password. Any password is shorter.
const MAX_LINE_LENGTH: u64 = 8192;

/// What to do with the accounts.
#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// Add a user; asks for a password, except for `anonymous`: clients without a name have the
    /// rights of this user
    Add {
        #[command(flatten)]
        user: User,
        /// What the user may do below the home directory: letters of lrwd (list, read, write,
        /// delete), or -
        #[arg(
            long,
            value_name = "RIGHTS",
            default_value = "lr",
            allow_hyphen_values = true
        )]
        rights: Rights,
        /// The directory, below the served one, that the user can't leave
        #[arg(long, value_name = "PATH", default_value = "/")]
        home: Prefix,
        /// How much the user may have stored, in files that are still there and uploads that are
        /// under way: 64KiB, 10MB, or a number of bytes [default: no limit]
        #[arg(long, value_name = "SIZE", value_parser = size)]
        quota: Option<u64>,
        #[command(flatten)]
        password: Password,
    },
    /// Change a password
    Passwd {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        password: Password,
    },
    /// Change the home directory, the limits or the mounted folders of a user; rights stay those of
    /// the paths they were given for
    Set {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        settings: set::Settings,
    },
    /// Remove a user
    Remove {
        #[command(flatten)]
        user: User,
    },
    /// Add the users of a password file (htpasswd, passwd, shadow) with their passwords: hashes of
    /// bcrypt, SHA-crypt ($5$, $6$), yescrypt and argon2id; a line for each that cannot be imported
    Import(import::Import),
    /// Show all users; USED counts what each has stored and is still there, and uploads that are
    /// under way
    List {
        #[command(flatten)]
        file: AccountsFile,
        /// Show them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a user rights below a path, and print those that hold there then
    Allow(Change),
    /// Take rights from a user below a path, and print those that hold there then
    Deny(Change),
}

/// The file, as every command on it names it.
#[derive(Debug, Args)]
pub(super) struct AccountsFile {
    /// The accounts file
    #[arg(long, value_name = "FILE", env = "SOCKETSERVER_ACCOUNTS")]
    pub(super) accounts: PathBuf,
}

/// A user in a file.
#[derive(Debug, Args)]
pub(super) struct User {
    /// The user's name
    name: String,
    #[command(flatten)]
    file: AccountsFile,
}

/// Where a password comes from: never from the command line, which all processes of a machine can
/// read.
#[derive(Debug, Args)]
pub(super) struct Password {
    /// Take the password from the first line of standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
}

/// A change of rights.
#[derive(Debug, Args)]
pub(super) struct Change {
    #[command(flatten)]
    user: User,
    /// Letters of lrwd: list, read, write, delete
    rights: Rights,
    /// The path below the served directory; deeper paths that have rights of their own keep them
    #[arg(default_value = "/")]
    path: Prefix,
}

impl Users {
    pub(super) fn run(self) -> Result<u8, Failure> {
        match self {
            Users::Add {
                user,
                rights,
                home,
                quota,
                password,
            } => {
                // All errors are reported before the user types a password and before a file is
                // created.
                check_name(&user.name)?;
                match Store::open(&user.file.accounts) {
                    Ok(store) if store.account(&user.name)?.is_some() => {
                        return Err(AccountsError::UserExists(user.name).into());
                    }
                    Ok(_) | Err(AccountsError::Missing(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                let hash = if user.name == ANONYMOUS {
                    password.refuse()?
                } else {
                    Some(password.hash(&user.name)?)
                };
                let store = Store::create(&user.file.accounts)?;
                store.add_user(&NewUser {
                    name: &user.name,
                    hash,
                    home,
                    quota,
                    rights,
                })?;
            }
            Users::Passwd { user, password } => {
                let store = user.file.open()?;
                if user.name == ANONYMOUS {
                    return Err(Failure::usage(
                        "the user 'anonymous' has no password; `users remove` takes the rights",
                    ));
                }
                if store.account(&user.name)?.is_none() {
                    return Err(AccountsError::NoSuchUser(user.name).into());
                }
                store.set_hash(&user.name, &password.hash(&user.name)?)?;
            }
            Users::Set { user, settings } => settings.apply(&user.file.open()?, &user.name)?,
            Users::Remove { user } => user.file.open()?.remove_user(&user.name)?,
            Users::Import(import) => return import.run(),
            Users::List { file, json } => return list::print(&file.open()?.accounts()?, json),
            Users::Allow(change) => return change.run(|own, more| own | more),
            Users::Deny(change) => return change.run(|own, less| own & !less),
        }
        Ok(0)
    }
}

impl AccountsFile {
    pub(super) fn open(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.accounts)?)
    }
}

impl Change {
    fn run(self, change: fn(Rights, Rights) -> Rights) -> Result<u8, Failure> {
        let store = self.user.file.open()?;
        let rights =
            store.change_rights(&self.user.name, &self.path, |own| change(own, self.rights))?;
        super::print(format!("{} {rights}\n", self.path).as_bytes())
    }
}

impl Password {
    /// Asks for a password, and returns its hash.
    fn hash(&self, name: &str) -> Result<String, Failure> {
        let password = if self.password_stdin {
            first_line(io::stdin().lock())?
        } else {
            ask(name)?
        };
        Ok(hash_password(&password, Cost::OWASP)?)
    }

    fn refuse(&self) -> Result<Option<String>, Failure> {
        if self.password_stdin {
            return Err(Failure::usage(
                "the user 'anonymous' has no password; leave --password-stdin away",
            ));
        }
        Ok(None)
    }
}

/// Reads the first line, without its line end.
fn first_line(input: impl BufRead) -> Result<String, Failure> {
    let mut line = Vec::new();
    input
        .take(MAX_LINE_LENGTH)
        .read_until(b'\n', &mut line)
        .map_err(Failure::run)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_owned())
        .map_err(|_| Failure::usage("the password on standard input is not UTF-8"))
}

/// Asks for a password twice. The terminal does not show it.
fn ask(name: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "there is no terminal to ask for the password on; give it on standard input with \
             --password-stdin",
        ));
    }
    let ask = |prompt: String| rpassword::prompt_password(prompt).map_err(Failure::run);
    let password = ask(format!("Password for {name}: "))?;
    if ask("The same again: ".to_owned())? != password {
        return Err(Failure::usage(
            "the two passwords differ; nothing was changed",
        ));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_of_standard_input() {
        for (input, password) in [
            (&b"secret\n"[..], "secret"),
            (b"secret", "secret"),
            (b"secret\r\nmore\n", "secret"),
            (b" a:b@c \n", " a:b@c "),
            (b"", ""),
            ("wörd\n".as_bytes(), "wörd"),
        ] {
            assert_eq!(first_line(input), Ok(password.to_owned()));
        }
        assert!(first_line(&b"\xff\n"[..]).is_err());
    }
}
