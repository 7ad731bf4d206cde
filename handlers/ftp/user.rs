//! The user of a session, and the user's rights at each path.

use crate::accounts::{Account, Rights};

use super::limits::UserLimits;
use super::path::VirtualPath;

/// A user who is logged in.
#[derive(Clone, Debug)]
pub struct User {
    /// The user name.
    pub name: String,
    /// Whether the user is anonymous, so that different people may use the name.
    pub is_anonymous: bool,
    access: Access,
}

/// Where the rights of a user come from.
#[derive(Clone, Debug)]
enum Access {
    /// The server has no accounts. These rights hold at every path.
    Everywhere(Rights),
    /// The rights are in the accounts file.
    Account {
        account: Box<Account>,
        /// Whether the same rights hold at every path of the home directory. Then the targets of
        /// symbolic links need no check.
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

    /// A user of the accounts file; the anonymous user may have an account, too.
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

    /// The account; `None` if the server has no accounts.
    pub fn account(&self) -> Option<&Account> {
        match &self.access {
            Access::Everywhere(_) => None,
            Access::Account { account, .. } => Some(account),
        }
    }

    /// The user's own limits in the accounts file.
    pub fn limits(&self) -> UserLimits {
        let account = self.account();
        UserLimits {
            max_sessions: account
                .and_then(|account| account.max_sessions)
                .map(|max| max as usize),
            rate: account.and_then(|account| account.rate_limit),
        }
    }

    /// The home directory relative to the served directory, without slashes at its ends; empty for
    /// the served directory itself.
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

    /// The rights that the function `of` finds at a path, which is relative to the home directory.
    fn look_up(&self, path: &VirtualPath, of: impl Fn(&Account, &[u8]) -> Rights) -> Rights {
        match &self.access {
            Access::Everywhere(rights) => *rights,
            Access::Account { account, .. } => {
                let full = [self.home().as_bytes(), path.as_bytes()].concat();
                of(account, &full)
            }
        }
    }

    /// The rights at a path, which is relative to the home directory.
    pub fn rights(&self, path: &VirtualPath) -> Rights {
        self.look_up(path, Account::rights)
    }

    /// The rights that hold at a path and everywhere below it.
    pub fn rights_throughout(&self, path: &VirtualPath) -> Rights {
        self.look_up(path, Account::rights_throughout)
    }

    /// The rights that hold at a path or at any path below it.
    pub fn rights_anywhere(&self, path: &VirtualPath) -> Rights {
        self.look_up(path, Account::rights_anywhere)
    }
}

/// Converts the letters of pyftpdlib in the table of verbs to rights of the accounts file. `e` and
/// `l` need the right `l`; `r` needs `r`; `d` needs `d`; `f` needs `w` and `d`; `a`, `w`, `m`, `M`
/// and `T` need `w`.
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

/// The value of the fact `perm` of MLST (RFC 3659 §7.5.5).
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
    fn letters_of_pyftpdlib_need_stored_rights() {
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
