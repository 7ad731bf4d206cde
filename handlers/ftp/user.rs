//! Who is logged in, and what the user may do at which path.

use crate::common::accounts::{Account, Rights};

use super::limits::UserLimits;
use super::path::VirtualPath;

/// A user who is logged in.
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub name: String,
    /// Whether anybody may have this name.
    pub is_anonymous: bool,
    access: Access,
}

#[derive(Clone, Debug)]
enum Access {
    /// The server has no accounts: these rights hold everywhere.
    Everywhere(Rights),
    Account {
        account: Box<Account>,
        /// The same rights hold everywhere in the home directory, so that links lead to nothing
        /// else.
        is_uniform: bool,
    },
}

impl User {
    /// The anonymous user of a server without accounts.
    pub fn anonymous(rights: Rights) -> User {
        User {
            name: "anonymous".to_owned(),
            is_anonymous: true,
            access: Access::Everywhere(rights),
        }
    }

    /// A user of the accounts file.
    pub fn of_account(account: Account, is_anonymous: bool) -> User {
        let home = account.home.as_str().as_bytes();
        let everywhere = account.rights_throughout(home);
        let is_uniform = everywhere == account.rights_anywhere(home);
        User {
            name: account.name.clone(),
            is_anonymous,
            access: Access::Account {
                account: Box::new(account),
                is_uniform,
            },
        }
    }

    /// The account, if the server has accounts.
    pub fn account(&self) -> Option<&Account> {
        match &self.access {
            Access::Everywhere(_) => None,
            Access::Account { account, .. } => Some(account),
        }
    }

    /// The limits that the accounts file has for the user.
    pub fn limits(&self) -> UserLimits {
        let account = self.account();
        UserLimits {
            max_sessions: account
                .and_then(|account| account.max_sessions)
                .map(|max| max as usize),
            rate: account.and_then(|account| account.rate_limit),
        }
    }

    /// The home directory below the served one, without slashes at its ends; empty for the served
    /// directory itself.
    pub fn home(&self) -> &str {
        self.account()
            .map_or("", |account| account.home.as_str().trim_matches('/'))
    }

    /// Whether the same rights hold at every path.
    pub fn is_uniform(&self) -> bool {
        match &self.access {
            Access::Everywhere(_) => true,
            Access::Account { is_uniform, .. } => *is_uniform,
        }
    }

    fn look_up(&self, path: &VirtualPath, of: impl Fn(&Account, &[u8]) -> Rights) -> Rights {
        match &self.access {
            Access::Everywhere(rights) => *rights,
            Access::Account { account, .. } => {
                let full = [self.home().as_bytes(), path.as_bytes()].concat();
                of(account, &full)
            }
        }
    }

    /// The rights at a path of the user.
    pub fn rights(&self, path: &VirtualPath) -> Rights {
        self.look_up(path, Account::rights)
    }

    /// The rights at a path and everywhere below it.
    pub fn rights_throughout(&self, path: &VirtualPath) -> Rights {
        self.look_up(path, Account::rights_throughout)
    }

    /// The rights at a path or somewhere below it.
    pub fn rights_anywhere(&self, path: &VirtualPath) -> Rights {
        self.look_up(path, Account::rights_anywhere)
    }
}

/// The rights that a letter of the table of verbs stands for, in pyftpdlib's letters: `l` gives
/// `el`, `r` gives `r`, `w` gives `awmMT`, `d` gives `d`, and both together give `f`.
pub fn needed(letters: &str) -> Rights {
    letters.chars().fold(Rights::NONE, |rights, letter| {
        rights
            | match letter {
                'e' | 'l' => Rights::LIST,
                'r' => Rights::READ,
                'd' => Rights::DELETE,
                'f' => Rights::WRITE | Rights::DELETE,
                _ => Rights::WRITE,
            }
    })
}

/// The fact `perm` of MLST (RFC 3659 §7.5.5).
pub fn perm(rights: Rights, is_directory: bool) -> String {
    let (list, read) = (Rights::LIST, Rights::READ);
    let (write, delete) = (Rights::WRITE, Rights::DELETE);
    let letters: &[(Rights, char)] = if is_directory {
        &[
            (list, 'e'),
            (list, 'l'),
            (write, 'c'),
            (write, 'm'),
            (delete, 'd'),
            (delete, 'p'),
        ]
    } else {
        &[(read, 'r'), (write, 'a'), (delete, 'd')]
    };
    let mut perm: String = letters
        .iter()
        .filter(|(needed, _)| rights.contain(*needed))
        .map(|(_, letter)| *letter)
        .collect();
    if rights.contain(write | delete) {
        perm.push('f');
        if !is_directory {
            perm.push('w');
        }
    }
    perm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_for_stored_rights() {
        for (letters, rights) in [
            ("", "-"),
            ("el", "l"),
            ("awmMT", "w"),
            ("f", "wd"),
            ("d", "d"),
            ("r", "r"),
        ] {
            assert_eq!(needed(letters), rights.parse().unwrap(), "{letters}");
        }
    }

    #[test]
    fn the_fact_perm_shows_what_may_be_done() {
        for (rights, file, directory) in [
            ("lr", "r", "el"),
            ("lrw", "ra", "elcm"),
            ("lrwd", "radfw", "elcmdpf"),
            ("w", "a", "cm"),
            ("-", "", ""),
        ] {
            let rights = rights.parse().unwrap();
            assert_eq!(perm(rights, false), file);
            assert_eq!(perm(rights, true), directory);
        }
    }

    #[test]
    fn the_anonymous_user_has_the_same_rights_everywhere() {
        let user = User::anonymous(Rights::LIST | Rights::READ);
        let path = VirtualPath::default().join(b"a/b").unwrap();
        assert!(user.rights(&path).contain(Rights::READ) && user.is_uniform());
        assert!(!user.rights_anywhere(&path).contain(Rights::WRITE));
        assert_eq!((user.home(), user.account()), ("", None));
    }
}
